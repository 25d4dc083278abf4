"""A frontend leaves its host, and comes back."""

from typing import Any

import httpx

from scripts.lab.plays import play, play_in_vain


def test_uninstall_removes_a_frontend_and_site_makes_it_anew(fleet: Any, front_door: Any) -> None:
    """Confirmed by name; haproxy stays as Debian installs it, stopped."""
    [name] = fleet.hosts("frontend")
    front = fleet.one("frontend")
    play_in_vain("uninstall", "--limit", name)
    assert front.service("haproxy").is_running
    play("uninstall", "--limit", name, "-e", f"confirm={name}")
    assert not front.service("haproxy").is_running
    assert not front.service("haproxy").is_enabled
    assert front.run("ls -d /etc/haproxy/nova /usr/local/sbin/nova-*").stdout == ""
    assert front.package("haproxy").is_installed

    play("site")
    answer = httpx.get(f"{front_door.url}/readyz", verify=front_door.trust)
    assert answer.status_code == httpx.codes.OK


def test_uninstall_removes_the_firewall_of_a_host(fleet: Any) -> None:
    """Once more changes nothing; site.yml makes all anew."""
    name, host = list(fleet.hosts("api").items())[-1]
    options = ("--limit", name, "-e", f"confirm={name}")
    assert "table inet nova" in host.check_output("nft list ruleset")
    play("uninstall", *options)
    assert "table inet nova" not in host.check_output("nft list ruleset")
    assert play("uninstall", *options).changed == {}
    assert host.run("ls -d /etc/nova* /opt/nova /usr/local/sbin/nova-*").stdout == ""
    play("site")
    assert "table inet nova" in host.check_output("nft list ruleset")
    host.check_output("nova-host await --seconds 60")
