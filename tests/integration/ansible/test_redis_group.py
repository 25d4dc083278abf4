"""What the role's program does about hosts that leave a group, on a group of real servers.

Each host is a loopback address with the same ports, as the program wants it.
"""

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from scripts.local.redis_server import find_redis_server, free_port
from tests.conftest import wait_until

ADMIN = "p" * 16
HOSTS = {name: f"127.0.0.{number}" for number, name in enumerate("abcd", start=2)}


def is_open(address: str, port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


class Group:
    """Four Redis servers, the first of which leads, and sentinels on the first three."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.sentinel_port = free_port(), free_port()
        self.processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def begin(self) -> None:
        """Start all, and wait until every sentinel knows all."""
        for name in HOSTS:
            self.start_server(name, follows="" if name == "a" else "a")
        for name in "abc":
            self.start_sentinel(name)
        wait_until(lambda: all(self.knows(name) == (3, 2) for name in "abc"))

    def end(self) -> None:
        """Kill what runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, kind: str, name: str, lines: list[str], *options: str) -> None:
        """Start a server or sentinel with these lines in its file, and wait until it listens."""
        home = self.folder / name / kind
        home.mkdir(parents=True, exist_ok=True)
        common = [f"bind {HOSTS[name]}", f'dir "{home}"', f'logfile "{home / "log"}"']
        user = f"user admin on >{ADMIN} ~* &* +@all"
        file = home.with_suffix(".conf")
        file.write_text("\n".join([*common, user, "protected-mode no", *lines]) + "\n")
        self.processes[kind, name] = subprocess.Popen(
            [find_redis_server(), str(file), *options], stdout=subprocess.DEVNULL
        )
        port = self.port if kind == "redis" else self.sentinel_port
        wait_until(lambda: is_open(HOSTS[name], port))

    def start_server(self, name: str, follows: str) -> None:
        """Start a server, which follows another or none; one that is gone is soon not counted."""
        lines = [f"port {self.port}", 'save ""', "repl-timeout 3", "repl-ping-replica-period 1"]
        lines += [f"replica-announce-ip {HOSTS[name]}", "shutdown-timeout 0"]
        self.start(
            "redis",
            name,
            lines + ([f"replicaof {HOSTS[follows]} {self.port}"] if follows else []),
        )

    def start_sentinel(self, name: str) -> None:
        """Start a sentinel that watches the first server."""
        watched = f"sentinel monitor nova {HOSTS['a']} {self.port} 2"
        fast = "sentinel down-after-milliseconds nova 1000"
        announced = f"sentinel announce-ip {HOSTS[name]}"
        lines = [f"port {self.sentinel_port}", watched, fast, announced]
        self.start("sentinel", name, lines, "--sentinel")

    def stop(self, kind: str, name: str) -> None:
        """End a server or sentinel, as systemctl does."""
        process = self.processes[kind, name]
        process.terminate()
        process.wait(timeout=30)
        del self.processes[kind, name]

    def leave(self, name: str) -> None:
        """Stop all that a host has."""
        for kind, other in list(self.processes):
            if other == name:
                self.stop(kind, name)

    def sentinel(self, name: str) -> dict[str, Any]:
        with redis.Redis(HOSTS[name], self.sentinel_port, decode_responses=True) as client:
            found: dict[str, Any] = client.sentinel_master("nova")
        return found

    def knows(self, name: str) -> tuple[int, int] | None:
        """How many replicas, and how many others, a sentinel knows."""
        try:
            state = self.sentinel(name)
        except redis.RedisError:
            return None
        return state["num-slaves"], state["num-other-sentinels"]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    """It runs, and every sentinel knows it."""
    made = Group(tmp_path)
    try:
        made.begin()
        yield made
    finally:
        made.end()


@pytest.fixture
def host(group: Group, program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The program's view of a host of a group of some hosts; sentinels are on the first three."""

    def view(name: str, hosts: str = "abcd", **request: Any) -> Any:
        monkeypatch.setattr(program, "FOLDER", group.folder / name)
        (group.folder / name / "root.password").write_text("password-of-root")
        me = {"name": name, "address": HOSTS[name], "local": HOSTS[name], "port": group.port}
        defaults = {
            "me": me | {"sentinel_port": group.sentinel_port, "sentinel": name in hosts[:3]},
            "peers": [[other, HOSTS[other], ""] for other in hosts],
            "sentinels": 3,
            "master": "nova",
            "users": {"admin": {"password": ADMIN, "rules": "~* &* +@all"}},
            "tls": {},
            "check": False,
        }
        return program.Host(defaults | request)

    return view


def forgotten(looking: Any) -> list[str]:
    """Let a sentinel forget; return what was changed."""
    looking.forget()
    changes: list[str] = looking.changes
    return changes


def test_a_host_that_left_is_forgotten_by_one_sentinel_after_the_other(
    group: Group, host: Callable[..., Any]
) -> None:
    """A replica with a sentinel. The fourth host gets one in its place, and all know each other."""
    group.leave("b")
    group.start_sentinel("d")
    for name in "acd":
        looking = host(name, "acd")
        assert forgotten(looking) == ([] if name == "d" else [f"{HOSTS['b']} forgotten"])
        assert looking.unseen(looking.sentinel) == set()
    assert {name: group.knows(name) for name in "acd"} == dict.fromkeys("acd", (2, 2))
    assert forgotten(host("a", "acd")) == []


def test_nothing_is_forgotten_while_a_host_that_stays_is_lost(
    group: Group, host: Callable[..., Any], program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the primary. A sentinel that has forgotten a lost host could not find it again."""
    monkeypatch.setattr(program, "HELLO", 1)
    for name in "bc":  # so that no other is elected meanwhile
        with redis.Redis(HOSTS[name], group.sentinel_port) as client:
            client.execute_command("SENTINEL", "SET", "nova", "quorum", "3")
    group.leave("d")
    group.leave("a")
    looking = host("b", "abc")
    wait_until(lambda: looking.strangers(looking.sentinel) == {HOSTS["d"]: False})
    wait_until(lambda: group.sentinel("b")["flags"] != "master")
    assert forgotten(looking) == []
    [note] = looking.notes
    assert note.startswith(f"{HOSTS['d']} stays known to Sentinel until {HOSTS['a']}")
    assert group.knows("b") == (3, 2)


def test_a_host_that_is_to_have_no_sentinel_any_more_loses_it(
    group: Group, host: Callable[..., Any], program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server stays: another host stands before it in redis_hosts now."""
    group.start_sentinel("d")
    assert host("a", "abdc").watched()["primary"] == HOSTS["a"]
    stopped: list[str] = []
    monkeypatch.setattr(program, "run", lambda *words, **_: stopped.append(" ".join(words)))
    leaving = host("c", "abdc")
    leaving.no_watcher()
    assert stopped == ["systemctl disable --now --quiet redis-sentinel"]
    assert not (group.folder / "c" / "sentinel.conf").exists()
    assert leaving.gone == [HOSTS["c"]]
    group.stop("sentinel", "c")
    for name in "abd":
        forgotten(host(name, "abdc"))
    assert {name: group.knows(name) for name in "abd"} == dict.fromkeys("abd", (3, 2))


def test_a_host_that_was_taken_out_and_still_runs_is_named(
    group: Group, host: Callable[..., Any], program: ModuleType
) -> None:
    """It would go on as one of the group, with nobody who looks after it."""
    assert host("a").watched()["primary"] == HOSTS["a"]
    with pytest.raises(program.ProblemError, match=f"{HOSTS['d']} is of the group and no host of"):
        host("a", "abc").watched()
    with pytest.raises(program.ProblemError, match=f"primary is {HOSTS['a']}, which is no host"):
        host("b", "bcd").watched()


def test_a_sentinel_that_could_not_log_in_connects_anew(
    group: Group, host: Callable[..., Any]
) -> None:
    """It was told of a password before a server was, and would see that server down for good."""

    def server(name: str, *words: str) -> None:
        with redis.Redis(HOSTS[name], group.port, username="admin", password=ADMIN) as client:
            client.execute_command(*words)

    for name in "abcd":
        server(name, "ACL", "SETUSER", "sentinel", "on", ">new", "~*", "&*", "+@all")
    server("c", "ACL", "SETUSER", "sentinel", "resetpass", ">old")
    server("c", "ACL", "SETUSER", "default", "off")
    with redis.Redis(HOSTS["a"], group.sentinel_port) as client:
        tell = ("SENTINEL", "SET", "nova")
        client.execute_command(*tell, "down-after-milliseconds", "5000")
        client.execute_command(*tell, "auth-user", "sentinel", "auth-pass", "new")

    def flags() -> str:
        with redis.Redis(HOSTS["a"], group.sentinel_port, decode_responses=True) as client:
            [told] = [s["flags"] for s in client.sentinel_slaves("nova") if s["ip"] == HOSTS["c"]]
        return str(told)

    wait_until(lambda: "s_down" in flags())
    server("c", "ACL", "SETUSER", "sentinel", ">new")
    looking = host("a", sentinel_options={"auth-pass": "new"})
    looking.log_in_again(looking.sentinel)
    assert looking.changes == [f"Sentinel connects anew, it does not see {HOSTS['c']}"]
    wait_until(lambda: "s_down" not in flags())
    looking = host("a", sentinel_options={"auth-pass": "new"})
    looking.log_in_again(looking.sentinel)
    assert looking.changes == []


def test_addresses_are_compared_as_sentinel_writes_them(program: ModuleType) -> None:
    assert program.canonical("fd00:0:0::AB") == "fd00::ab"
    assert program.canonical("redis1.example.com") == "redis1.example.com"


def test_a_replica_that_nobody_knows_follows_the_primary_of_now(
    group: Group, host: Callable[..., Any]
) -> None:
    """It came back with a configuration of before, which names a replica of now."""
    group.leave("d")
    for name in "abc":
        host(name, "abc").forget()
    group.start_server("d", follows="b")
    looking = host("d", reports={"a": {"sentinel": {"primary": HOSTS["a"], "epoch": "0"}}})
    looking.primary = HOSTS["a"]
    looking.follow(looking.server)
    assert looking.changes == [f"replica of {HOSTS['a']}"]
    assert looking.server("ROLE")[1] == HOSTS["a"]


def test_a_replica_leaves_when_its_file_holds_what_it_has_copied(
    group: Group, host: Callable[..., Any]
) -> None:
    """Until then Redis refuses to stop, and a reboot of its host would never begin."""
    with redis.Redis(HOSTS["a"], group.port) as primary:
        primary.mset({f"key{number}": number for number in range(20)})
    with redis.Redis(HOSTS["d"], group.port, decode_responses=True) as server:
        server.config_set("appendonly", "yes")
        wait_until(lambda: server.info("persistence")["aof_rewrite_in_progress"] == 0)
        before = server.info("persistence")["aof_rewrites"]
        # What only this one has makes it copy all anew; a file of 20 keys takes it 2 s then.
        server.replicaof("NO", "ONE")
        server.set("another", "one")
        server.config_set("rdb-key-save-delay", 100_000)
        server.replicaof(HOSTS["a"], group.port)
        wait_until(lambda: server.info("replication")["master_link_status"] == "up")
        host("d").leave()
        after = server.info("persistence")
        assert (after["aof_rewrites"], after["aof_rewrite_in_progress"]) == (before + 1, 0)
    group.stop("redis", "d")
