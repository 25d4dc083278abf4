"""What the role's program sets on a real Redis: only what differs, and cutting nobody off."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from scripts.local.redis_server import LocalRedis
from tests.integration.tls import make_certificates

RULES = "~* &* +@all -@admin -@dangerous +info"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis with a file of users, beside the password that LocalRedis gives the default user."""
    users = tmp_path / "redis.acl"
    running = LocalRedis.create(tmp_path / "data", f"aclfile {users}")
    lines = f"user default on >{running.password} ~* &* +@all\n"
    users.write_text(lines + "user root on sanitize-payload >password-of-root ~* &* +@all\n")
    with running:
        yield running


def host(program: ModuleType, server: LocalRedis, **request: Any) -> Any:
    """The program's view of a host with that Redis alone."""
    me = {"name": "a", "address": "127.0.0.1", "local": "127.0.0.1", "port": server.port}
    users = {"admin": {"password": "p" * 16, "rules": "~* &* +@all"}}
    users["nova"] = {"password": request.pop("nova", "n" * 16), "rules": RULES}
    defaults = {
        "me": me | {"sentinel_port": 1, "sentinel": False},
        "peers": [["a", "127.0.0.1", ""]],
        "sentinels": 0,
        "users": users,
        "tls": {},
        "check": False,
        "keep_passwords": False,
        "no_users": ["monitor"],
    }
    return program.Host(defaults | request)


def set_users(looking: Any) -> list[str]:
    """Set the users; return what was changed."""
    looking.set_users(looking.server, looking.request["users"])
    changes: list[str] = looking.changes
    return changes


def other_passwords(looking: Any) -> list[str]:
    """Users whose passwords in use are not those asked for."""
    names: list[str] = looking.other_passwords(looking.server)
    return names


def may_log_in(server: LocalRedis, password: str) -> bool:
    """Whether the user nova may log in with a password."""
    with redis.Redis(port=server.port, username="nova", password=password) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return False


def test_users_are_set_once(program: ModuleType, server: LocalRedis) -> None:
    """The second run finds the rules as they are, in Redis' own words, and changes nothing."""
    assert set_users(host(program, server)) == ["users admin, nova, default set"]
    assert set_users(host(program, server)) == []
    assert may_log_in(server, "n" * 16)


def test_users_that_could_not_be_saved_are_saved_by_the_next_run(
    program: ModuleType, server: LocalRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis knows them, and would not after its next start."""
    looking = host(program, server)
    kind = type(looking.server)
    call = kind.__call__

    def no_space(connection: Any, *words: Any) -> Any:
        if words == ("ACL", "SAVE"):
            raise program.RefusedError("ERR There was an error trying to save the ACLs")
        return call(connection, *words)

    with monkeypatch.context() as full:
        full.setattr(kind, "__call__", no_space)
        with pytest.raises(program.RefusedError):
            set_users(looking)
    assert set_users(host(program, server)) == ["users saved"]
    assert set_users(host(program, server)) == []


def test_a_check_changes_no_user(program: ModuleType, server: LocalRedis) -> None:
    assert set_users(host(program, server, check=True)) != []
    assert not may_log_in(server, "n" * 16)


def test_both_passwords_are_valid_while_they_change(
    program: ModuleType, server: LocalRedis
) -> None:
    """Kept beside the old one, then alone; a connection that stands is never cut."""
    set_users(host(program, server))
    with redis.Redis(port=server.port, username="nova", password="n" * 16) as standing:
        connection = standing.client_id()
        assert "nova" in other_passwords(host(program, server, nova="m" * 16))
        set_users(host(program, server, nova="m" * 16, keep_passwords=True))
        assert may_log_in(server, "n" * 16)
        assert may_log_in(server, "m" * 16)
        assert set_users(host(program, server, nova="m" * 16, keep_passwords=True)) == []
        set_users(host(program, server, nova="m" * 16))
        assert not may_log_in(server, "n" * 16)
        assert may_log_in(server, "m" * 16)
        assert standing.client_id() == connection


def test_only_options_that_differ_are_set(program: ModuleType, server: LocalRedis) -> None:
    options = {"maxmemory": "64mb", "appendfsync": "everysec"}
    looking = host(program, server, options=options)
    with pytest.raises(program.ProblemError, match="takes no change of maxmemory, appendfsync"):
        looking.set_options(looking.server)  # without a file there is nothing to rewrite
    again = host(program, server, options=options)
    with pytest.raises(program.ProblemError, match="takes no change of what was set"):
        again.set_options(again.server)  # it knows them, and would not after a restart
    (program.FOLDER / ".options.unsaved").unlink()
    again = host(program, server, options=options)
    again.set_options(again.server)
    assert again.changes == []


def test_tls_comes_and_goes_on_the_same_port(
    program: ModuleType, server: LocalRedis, tmp_path: Path
) -> None:
    """While Redis runs; where it takes no certificate, it is reached as before."""

    def answers(tls: bool) -> bool:
        options: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "none"} if tls else {}
        # The other way there is no answer at all.
        options |= {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": None}
        with redis.Redis(port=server.port, password=server.password, **options) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    files = make_certificates(tmp_path)
    here, plain = str(server.port), {"port": str(server.port), "tls-port": "0"}
    tls = {"tls-cert-file": str(files.certificate), "tls-key-file": str(files.key)}
    tls |= {"tls-ca-cert-file": str(files.ca), "tls-auth-clients": "no"}
    tls |= {"port": "0", "tls-port": here}
    connection = host(program, server).server
    with pytest.raises(program.RefusedError):
        program.change_options(connection, tls | {"tls-cert-file": "/no/such/file"}, plain)
    assert (answers(tls=False), answers(tls=True)) == (True, False)
    program.change_options(connection, tls, plain)
    assert (answers(tls=False), answers(tls=True)) == (False, True)
    program.change_options(connection, plain, tls)
    assert (answers(tls=False), answers(tls=True)) == (True, False)


def test_a_redis_that_hangs_is_waited_for_and_then_set(
    program: ModuleType, server: LocalRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that found no answer and went on would leave it as it was, and say nothing."""
    monkeypatch.setattr(program, "OTHER_WAY", 0.2)
    monkeypatch.setattr(program, "START", 1)
    monkeypatch.setattr(program.Host, "ours", lambda *_: True)
    monkeypatch.setattr(program.Host, "enable", lambda *_: None)  # there is no systemd here
    (program.FOLDER / "redis.conf").touch()
    looking = host(program, server, options={"maxmemory": "0"})
    looking.primary = "127.0.0.1"
    server.freeze()
    with pytest.raises(program.ProblemError, match="an answer of Redis"):
        looking.redis()
    assert looking.changes == []
    monkeypatch.setattr(program.Host, "enable", lambda *_: server.resume())
    looking.redis()
    assert looking.changes == ["users admin, nova, default set"]


def test_a_server_with_data_of_its_own_is_not_made_a_replica(
    program: ModuleType, server: LocalRedis
) -> None:
    """It would be emptied."""
    with redis.Redis.from_url(server.url) as client:
        client.set(secrets.token_hex(4), "1")
    looking = host(program, server, reports={"a": {}})
    looking.primary = "192.0.2.1"
    with pytest.raises(program.ProblemError, match="has data of its own"):
        looking.follow(looking.server)


@pytest.mark.parametrize("database", [0, 3])
def test_a_server_that_ran_before_is_not_emptied_by_a_group_that_it_joins(
    program: ModuleType, server: LocalRedis, database: int
) -> None:
    """Debian's own, which somebody has used; nothing of it is changed."""
    with redis.Redis.from_url(server.url, db=database) as client:
        client.set("mine", "1")
        client.config_set("appendonly", "no")
        joining = host(program, server)
        joining.primary = "192.0.2.1"
        with pytest.raises(program.ProblemError, match="has data of its own"):
            joining.adopt()
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.get("mine") == b"1"


def test_a_replica_that_is_to_be_alone_is_refused(
    program: ModuleType, server: LocalRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a group that was made one server in the inventory alone: Nova could not write."""
    monkeypatch.setattr(program.Host, "ours", lambda *_: True)
    assert host(program, server).look()["server"]["role"] == "master"
    with redis.Redis.from_url(server.url) as client:
        client.replicaof("192.0.2.1", 6379)
    with pytest.raises(program.ProblemError, match=r"follows the one at 192\.0\.2\.1"):
        host(program, server).look()


def test_a_server_of_somebody_else_is_left_alone(program: ModuleType, server: LocalRedis) -> None:
    (program.FOLDER / "root.password").write_text("another")
    with pytest.raises(program.ProblemError, match="was set up by somebody else"):
        host(program, server).own(server.port)


def test_a_kernel_that_a_host_may_not_set_is_told_and_changes_nothing(
    program: ModuleType, server: LocalRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container: its host has to set it. More than Redis wants is fine."""
    monkeypatch.setattr(program.os, "access", lambda *_: False)
    value = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
    kernel = {"vm.overcommit_memory": "9", "net.core.somaxconn": "1", "vm.nova": "1"}
    looking = host(program, server, kernel=kernel)
    looking.kernel()
    assert looking.changes == []
    assert looking.notes == [
        f"vm.overcommit_memory is {value}, Redis wants 9; set it on the container's host",
        "vm.nova is not to be seen on this host (a container?)",
    ]
    wanted = host(program, server, kernel={"vm.overcommit_memory": value})
    wanted.kernel()
    assert (wanted.changes, wanted.notes) == ([], [])
