"""The firewall: only those whom the rules name reach a port, and a mistake heals by itself."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

from scripts.lab.plays import play

testinfra_hosts = ["ansible://api?sudo=true"]

API_PORT = 8000
HIGHEST_EXPOSURE = 2.0
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"
#: Cuts off everybody, SSH too; with the table's own way to go.
CUT_ALL = """table inet nova
delete table inet nova
table inet nova {
    chain input {
        type filter hook input priority filter; policy drop;
    }
}
"""


def reaches(source: Host, address: str, port: int) -> bool:
    """Whether a host can connect to a port."""
    return bool(source.run("python3 -c %s %s %s", CONNECT, address, str(port)).rc == 0)


def test_the_frontend_reaches_the_api_and_a_stranger_does_not(host: Host, fleet: Any) -> None:
    """This machine is a stranger in the hosts' network; SSH stays open to it."""
    address = host.ansible.get_variables()["ansible_host"]
    assert reaches(fleet.one("frontend"), address, API_PORT)
    with pytest.raises(TimeoutError):
        socket.create_connection((address, API_PORT), timeout=3).close()
    socket.create_connection((address, 22), timeout=3).close()


def test_only_hosts_of_the_fleet_reach_redis(fleet: Any) -> None:
    address = fleet.variables("redis")["ansible_host"]
    for member in fleet.hosts("api").values():
        assert reaches(member, address, 6379)
    assert not reaches(fleet.one("frontend"), address, 6379)


def test_rules_that_cut_off_the_controller_take_themselves_back(
    host: Host, wait_until: Callable[..., None]
) -> None:
    """Nobody confirms them: the host returns to the rules that were confirmed.

    Few connections are tried: sshd shuts out for a while who opens many and does not log in.
    """
    folder = "/etc/nova-firewall"
    before = host.check_output("nft list table inet nova")
    wanted = host.check_output(f"cat {folder}/wanted.nft")
    address = host.ansible.get_variables()["ansible_host"]
    try:
        host.check_output(f"printf %s > {folder}/wanted.nft", CUT_ALL)
        host.run("nohup sh -c 'sleep 1; nova-firewall apply 10' > /dev/null 2>&1 &")
        wait_until(lambda: not is_open(address, 22), "the host is cut off", seconds=20)
        wait_until(lambda: is_open(address, 22), "the host is back", seconds=60)
    finally:
        host.check_output(f"printf '%%s\\n' %s > {folder}/wanted.nft", wanted)
    assert without_counts(host.check_output("nft list table inet nova")) == without_counts(before)


def without_counts(rules: str) -> list[str]:
    """Return rules without the numbers of packets."""
    return [word for word in rules.split() if not word.isdecimal()]


def is_open(address: str, port: int) -> bool:
    """Whether this machine can connect."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def test_other_tables_are_left_alone(host: Host) -> None:
    """A restart of the unit replaces Nova's table and no other."""
    host.check_output("nft add table inet somebody")
    try:
        host.check_output("systemctl restart nova-firewall.service")
        tables = host.check_output("nft list tables").splitlines()
        assert {"table inet nova", "table inet somebody"} <= set(tables)
    finally:
        host.check_output("nft delete table inet somebody")


def test_a_firewall_that_is_not_wanted_goes_also_when_that_was_interrupted(fleet: Any) -> None:
    """A check says so and leaves it; as it says that it would come back, and does not put it up."""
    name, host = list(fleet.hosts("api").items())[-1]
    site = ("site", "--limit", name)
    without = (*site, "-e", '{"firewall_enabled": false}')
    files = "ls -d /etc/nova-firewall /usr/local/sbin/nova-firewall 2> /dev/null"
    assert name in play(*without, "--check").changed
    assert "table inet nova" in host.check_output("nft list ruleset")

    # As the play does, as far as it came.
    host.check_output("systemctl disable --now nova-firewall.service")
    host.check_output("rm /etc/systemd/system/nova-firewall.service")
    try:
        assert name in play(*without).changed
        assert host.run(files).stdout == ""
        assert play(*without).changed == {}
        assert name in play(*site, "--check").changed
        assert host.run(files).stdout == ""
        assert "table inet nova" not in host.check_output("nft list ruleset")
    finally:
        play(*site)
    assert "table inet nova" in host.check_output("nft list ruleset")
    assert play(*site).changed == {}


def test_rules_that_nobody_has_confirmed_go_with_the_firewall(fleet: Any) -> None:
    """A first run that died before the unit was started: nothing of it stays in the kernel."""
    name, host = list(fleet.hosts("api").items())[-1]
    site = ("site", "--limit", name)
    host.check_output("systemctl disable --now nova-firewall.service")
    host.check_output("rm /etc/nova-firewall/rules.nft")
    try:
        host.check_output("nova-firewall apply 600")
        assert "table inet nova" in host.check_output("nft list ruleset")
        assert name in play(*site, "-e", '{"firewall_enabled": false}').changed
        assert "table inet nova" not in host.check_output("nft list ruleset")
        assert not host.file("/etc/nova-firewall").exists
        assert not host.service("nova-firewall-back.timer").is_running
    finally:
        play(*site)


def test_rules_that_somebody_has_flushed_are_said_by_a_check_and_come_back(fleet: Any) -> None:
    name, host = list(fleet.hosts("api").items())[-1]
    site = ("site", "--limit", name)
    host.check_output("nft delete table inet nova")
    assert name in play(*site, "--check").changed
    assert "table inet nova" not in host.check_output("nft list ruleset")
    assert name in play(*site).changed
    assert "table inet nova" in host.check_output("nft list ruleset")
    assert play(*site, "--check").changed == {}


def test_the_rules_are_loaded_at_boot(host: Host) -> None:
    service = host.service("nova-firewall.service")
    assert service.is_enabled
    assert service.is_running


def test_the_unit_is_hardened(host: Host) -> None:
    score = host.check_output(
        "systemd-analyze security --no-pager nova-firewall.service | sed -n 's/.*exposure level "
        "for .*: \\([0-9.]*\\).*/\\1/p'"
    )
    assert float(score) <= HIGHEST_EXPOSURE
