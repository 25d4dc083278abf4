"""Redis: closed to strangers, safe for queues, and back with its data after a restart."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

from scripts.lab.plays import play

testinfra_hosts = ["ansible://redis?sudo=true"]

UNITS = {"redis-server", "redis-sentinel"}
HIGHEST_EXPOSURE = 2.0
AS_ROOT = "nova-redis-cli "


def as_user(host: Host, user: str, command: str) -> str:
    """Run a Redis command as Nova's processes or as nobody; return what is answered."""
    login = {
        "nova": "REDISCLI_AUTH=$(cat /etc/nova/credentials/nova_redis_password)",
        "nobody": "",
    }
    name = "" if user == "nobody" else f"--user {user}"
    folder = "/etc/redis/nova/tls"
    tls = f"--tls --cacert {folder}/ca.crt" if host.file(folder).exists else ""
    return str(host.run(f"{login[user]} redis-cli {name} {tls} {command} 2>&1").stdout)


def units(host: Host) -> set[str]:
    """Return which of Redis' units the host has."""
    return {unit for unit in UNITS if host.exists(unit)}


def test_redis_is_active_enabled_and_recent(host: Host) -> None:
    """Redis, and Sentinel where it is, run and start at boot; commands that Nova needs (7.0)."""
    for unit in units(host):
        assert host.service(unit).is_running
        assert host.service(unit).is_enabled
    version = host.check_output(AS_ROOT + "info server | sed -n 's/^redis_version://p'")
    assert int(version.split(".")[0]) >= 7


def test_units_are_hardened(host: Host) -> None:
    """systemd's own exposure score of Redis and Sentinel is at most 2.0 of 10."""
    for unit in units(host):
        score = host.check_output(
            "systemd-analyze security --no-pager %s | sed -n 's/.*exposure level for .*: "
            "\\([0-9.]*\\).*/\\1/p'",
            unit,
        )
        assert float(score) <= HIGHEST_EXPOSURE, unit


def test_units_stop_within_a_bound(host: Host) -> None:
    """The package's units wait for ever for a Redis that refuses to stop; so would a reboot."""
    for unit in units(host):
        assert host.check_output("systemctl show -P TimeoutStopUSec %s", unit) != "infinity", unit


def test_redis_may_load_its_data_for_as_long_as_it_takes(host: Host) -> None:
    """systemd hears that it is ready only after that, and would kill it after 90 seconds."""
    assert host.check_output("systemctl show -P TimeoutStartUSec redis-server") == "infinity"


def test_strangers_are_refused(host: Host) -> None:
    """Without a user and password Redis answers nothing, not even ping."""
    assert "NOAUTH" in as_user(host, "nobody", "ping")
    assert "WRONGPASS" in as_user(host, "nobody", "--pass wrong ping")


@pytest.mark.parametrize(
    "command",
    ["flushall", "config get requirepass", "shutdown", "acl list", "publish elsewhere hello"],
)
def test_novas_user_may_not_administrate(host: Host, command: str) -> None:
    """The user of Nova's processes cannot wipe, reconfigure or stop Redis, or use any channel."""
    assert "NOPERM" in as_user(host, "nova", command)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")],
)
def test_nothing_is_ever_dropped(host: Host, setting: str, value: str) -> None:
    """The running server logs every write and evicts nothing."""
    assert host.check_output(AS_ROOT + f"config get {setting}").split() == [setting, value]


def test_memory_is_limited_by_what_the_host_has(host: Host) -> None:
    """By default Redis takes at most two fifths of the memory, and has some."""
    limit = int(host.check_output(AS_ROOT + "config get maxmemory").split()[1])
    total = int(host.check_output("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
    assert 0 < limit <= total * 1024 * 0.4


def test_the_kernel_is_as_redis_wants_it_or_the_role_says_so(host: Host) -> None:
    """A container may not set it; then each converge names what its host has to set."""
    lines = host.check_output("grep -v ^# /etc/sysctl.d/60-nova-redis.conf").splitlines()
    wanted = dict(line.split(" = ") for line in lines)
    assert set(wanted) == {"vm.overcommit_memory", "net.core.somaxconn"}
    found = {name: host.check_output(f"sysctl --values {name}") for name in wanted}
    differing = {name: value for name, value in found.items() if value != wanted[name]}
    if int(found["net.core.somaxconn"]) > int(wanted["net.core.somaxconn"]):
        del differing["net.core.somaxconn"]  # more connections may wait than Redis lets
    if differing:
        words = play("site", "--check", "--limit", host.backend.host).words
        for name, value in differing.items():
            assert f"{name} is {value}, Redis wants {wanted[name]}" in words


def test_it_listens_only_where_told(host: Host) -> None:
    """Redis listens on loopback and on the host's own address, not on every address."""
    assert host.socket("tcp://127.0.0.1:6379").is_listening
    assert not host.socket("tcp://0.0.0.0:6379").is_listening
    assert not host.socket("tcp://:::6379").is_listening


def test_no_secret_of_redis_is_for_others(host: Host) -> None:
    """Users, passwords and keys of Redis open for root and for Redis alone."""
    assert host.check_output("find /etc/redis -perm /007 -type f -path '*/nova/*'") == ""
    assert oct(host.file("/etc/redis/nova").mode) == "0o750"
    assert host.file("/etc/redis/nova/root.password").user == "root"


def test_no_upgrade_restarts_redis_unasked(host: Host) -> None:
    """apt itself reads that unattended upgrades leave Redis alone."""
    dump = host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert '"^redis"' in dump


def test_a_restart_keeps_data_and_workers_come_back(
    host: Host, fleet: Any, wait_until: Callable[..., None]
) -> None:
    """After a restart what a script wrote is still there, and every worker does work again."""
    key, value = f"nova:test:{secrets.token_hex(4)}", secrets.token_hex(8)
    # Two writes in one script: a transaction, which Redis replays in another way than one write.
    script = "redis.call('set', KEYS[1], ARGV[1]) redis.call('expire', KEYS[1], 600)"
    primary = fleet.redis_primary()
    primary.check_output(AS_ROOT + f'eval "{script}" 1 {key} {value}')
    wait_until(lambda: host.run(AS_ROOT + f"get {key}").stdout.strip() == value, "it is here")
    host.check_output("systemctl restart redis-server")
    wait_until(lambda: host.run(AS_ROOT + f"get {key}").stdout.strip() == value, "it is back")
    wait_until(lambda: "1" in fleet.redis_primary().run(AS_ROOT + f"del {key}").stdout, "gone")
    assert fleet.ask_workers(fleet.workers())["missing"] == {}
