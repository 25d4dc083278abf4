"""What uninstall.yml refuses. Only its checks are run, for the hosts are this machine."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook

LAST_CHECK = "Check that no host that stays needs this one"
OWN = "id=7 addr=192.0.2.1:41000 laddr=192.0.2.1:6379 name= user=nova lib-ver=5"
ANNS = "id=8 addr=127.0.0.1:41000 laddr=127.0.0.1:6379 name= user=admin lib-ver=5"
OTHERS = "id=9 addr=192.0.2.12:41000 laddr=192.0.2.1:6379 name= user=nova lib-ver=5"
SIXES = "id=9 addr=[2001:db8::2]:41000 laddr=[2001:db8::1]:6379 name= user=nova lib-ver=5"
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the checks for hosts of a fleet; `clients` is what their Redis says of its clients."""
    [play] = yaml.safe_load((ANSIBLE / "playbooks" / "uninstall.yml").read_text())
    checks = [task["name"] for task in play["tasks"]].index(LAST_CHECK) + 1
    play |= {"become": False, "tasks": play["tasks"][:checks]}
    playbook = tmp_path / "uninstall.yml"
    playbook.write_text(yaml.safe_dump([play]))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    children: dict[str, Any] = {"redis": {"hosts": {"data1": {}}}}
    fleet = {"hosts": {"data1": {}, "work1": {}}, "children": children, "vars": local}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"nova": fleet}))

    def refusal(hosts: str, clients: str = "") -> str:
        program = tmp_path / "nova-redis-cli"
        program.write_text(f"#!/bin/sh\necho '{clients}'\n")
        program.chmod(0o755)
        done = ansible_playbook(
            *(f"--inventory={inventory}", "--limit", hosts, "-e", f"confirm={hosts}", playbook),
            PATH=f"{tmp_path}:{os.environ['PATH']}",
        )
        words = " ".join((done.stdout + done.stderr).split())
        return "" if done.returncode == 0 else words

    return refusal


def test_the_redis_host_of_others_is_refused(run: Run) -> None:
    assert "data1 is in the group redis, and work1 would lose that Redis" in run("data1")


def test_other_hosts_and_the_whole_fleet_are_not_refused(run: Run) -> None:
    assert run("work1") == ""
    assert run("nova", OTHERS) == ""


@pytest.mark.parametrize(
    ("client", "address"), [(OTHERS, "192.0.2.12"), (SIXES, "[2001:db8::2]")], ids=["IPv4", "IPv6"]
)
def test_a_redis_that_nova_uses_from_elsewhere_is_refused(
    run: Run, client: str, address: str
) -> None:
    """Although the inventory does not have it any more."""
    words = run("work1", f"{OWN}\n{ANNS}\n{client}")
    assert f"work1 has a Redis that Nova uses from {address}; run site.yml" in words


def test_a_redis_that_only_its_own_host_uses_is_not_refused(run: Run) -> None:
    assert run("work1", f"{OWN}\n{ANNS}") == ""
