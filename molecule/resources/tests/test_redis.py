"""Redis: closed to strangers, safe for queues, and back with its data after a restart."""

import base64
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://redis?sudo=true"]

AS_NOVA_USER = (
    "REDISCLI_AUTH=$(cat /etc/nova/credentials/nova_redis_password) redis-cli --user nova "
)


def as_admin(host: Host, lab_secrets: dict[str, str], command: str) -> str:
    """Run a Redis command as the user for people; sudo logs commands, so it sees no password."""
    encoded = base64.b64encode(lab_secrets["nova_redis_admin_password"].encode()).decode()
    password = f"REDISCLI_AUTH=$(echo {encoded} | base64 -d)"
    return str(host.check_output(f"{password} redis-cli --user admin {command}"))


def test_redis_is_active_enabled_and_recent(host: Host) -> None:
    """Redis runs, starts at boot, and has the commands that Nova needs (7.0)."""
    service = host.service("redis-server")
    assert service.is_running
    assert service.is_enabled
    version = host.check_output(AS_NOVA_USER + "info server | sed -n 's/^redis_version://p'")
    assert int(version.split(".")[0]) >= 7


def test_strangers_are_refused(host: Host) -> None:
    """Without a user and password Redis answers nothing, not even ping."""
    assert "NOAUTH" in host.run("redis-cli ping").stdout
    assert "WRONGPASS" in host.run("redis-cli -a wrong ping 2>&1").stdout


@pytest.mark.parametrize("command", ["flushall", "config get requirepass", "shutdown", "acl list"])
def test_novas_user_may_not_administrate(host: Host, command: str) -> None:
    """The user of Nova's processes cannot wipe, reconfigure or stop Redis."""
    assert "NOPERM" in host.run(AS_NOVA_USER + command).stdout


@pytest.mark.parametrize(
    ("setting", "value"), [("appendonly", "yes"), ("maxmemory-policy", "noeviction")]
)
def test_nothing_is_ever_dropped(
    host: Host, lab_secrets: dict[str, str], setting: str, value: str
) -> None:
    """The running server logs every write and evicts nothing."""
    assert as_admin(host, lab_secrets, f"config get {setting}").split() == [setting, value]


def test_it_listens_only_where_told(host: Host) -> None:
    """Redis listens on loopback and on the host's own address, not on every address."""
    assert host.socket("tcp://127.0.0.1:6379").is_listening
    assert not host.socket("tcp://0.0.0.0:6379").is_listening
    assert not host.socket("tcp://:::6379").is_listening


def test_a_restart_keeps_data_and_workers_come_back(
    host: Host, fleet: Any, wait_until: Callable[..., None]
) -> None:
    """After a restart what a script wrote is still there, and every worker does work again."""
    key, value = f"nova:test:{secrets.token_hex(4)}", secrets.token_hex(8)
    # Two writes in one script: a transaction, which Redis replays in another way than one write.
    script = "redis.call('set', KEYS[1], ARGV[1]) redis.call('expire', KEYS[1], 600)"
    host.check_output(AS_NOVA_USER + f'eval "{script}" 1 {key} {value}')
    host.check_output("systemctl restart redis-server")
    wait_until(lambda: "PONG" in host.run(AS_NOVA_USER + "ping").stdout, "Redis answers")
    assert host.check_output(AS_NOVA_USER + f"getdel {key}") == value
    assert fleet.ask_workers(fleet.workers())["missing"] == {}
