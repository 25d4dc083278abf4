"""Frontend, firewall, Redis and all the rest leave their hosts, and come back."""

from pathlib import Path
from typing import Any

import httpx
import yaml

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


def test_the_redis_of_hosts_that_stay_is_not_uninstalled(fleet: Any) -> None:
    """Not even confirmed."""
    [name] = fleet.hosts("redis")
    refused = play_in_vain("uninstall", "--limit", name, "-e", f"confirm={name}")
    assert f"{name} is in the group redis, and" in refused.words
    assert fleet.one("redis").service("redis-server").is_running


def test_the_whole_fleet_is_uninstalled_and_comes_back_with_its_data(
    fleet: Any, root: Path
) -> None:
    """Redis' data stays, until it is told otherwise; the packages stay in any case."""
    role = yaml.safe_load((root / "ansible/roles/redis/vars/main.yml").read_text())
    of_redis = " ".join(role["__redis_paths"])
    host = fleet.one("redis")
    host.check_output("nova-redis-cli set nova:test:kept 1")
    whole = ("--limit", "nova", "-e", "confirm=nova")
    play("uninstall", *whole)
    assert host.run(f"ls -d {of_redis} /etc/nova /opt/nova").stdout == ""
    assert not host.service("redis-server").is_running
    assert not host.service("redis-server").is_enabled
    assert host.package("redis-server").is_installed
    assert play("uninstall", *whole).changed == {}
    play("site")
    assert host.check_output("nova-redis-cli getdel nova:test:kept") == "1"

    play("uninstall", *whole, "-e", "remove_data=true")
    assert host.check_output("ls -A /var/lib/redis") == ""
    assert host.run("ls -d /var/lib/nova /var/log/nova /var/backups/nova").stdout == ""
    play("site")
    for each in fleet.hosts("nova").values():
        each.check_output("nova-host await --seconds 60")
