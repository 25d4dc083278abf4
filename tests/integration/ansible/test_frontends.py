"""Frontends are changed one after the other; each has a certificate. Nothing needs a lab host."""

import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook, run_playbook


def test_frontends_of_the_fleet_are_changed_one_after_the_other() -> None:
    """A changed unit restarts haproxy: with two at once nobody would answer."""
    plays = yaml.safe_load((ANSIBLE / "playbooks" / "site.yml").read_text())
    [frontends] = [play for play in plays if play.get("name") == "Frontends"]
    assert frontends["serial"] == 1


def test_each_batch_makes_the_certificates_of_its_own_hosts(tmp_path: Path) -> None:
    """The hosts of later batches have not said yet what they are called; a second run is silent."""
    include = {"name": "frontend", "tasks_from": "certificates"}
    play = {
        "hosts": "all",
        "serial": 1,
        "gather_facts": False,
        "vars": {
            "frontend_tls_folder": str(tmp_path / "tls"),
            "frontend_name": "{{ inventory_hostname }}.example.com",
        },
        "tasks": [{"ansible.builtin.include_role": include}],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))

    def run() -> str:
        done = ansible_playbook("--inventory=front1,front2,", "--connection=local", playbook)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run().count("changed=1") == 2
    names = sorted(path.name for path in (tmp_path / "tls").glob("front*.crt"))
    assert names == ["front1.crt", "front2.crt"]
    assert (tmp_path / "tls" / "front2.address").read_text() == "front2.example.com\n"
    assert run().count("changed=0") == 2


@pytest.mark.parametrize(
    ("part", "consequence"),
    [
        ("drain", "may go on to send requests to api1"),
        ("resume", "may send no requests to api1 until: sudo nova-frontend resume api1"),
    ],
)
def test_a_frontend_that_cannot_be_reached_is_a_failure_and_not_the_end(
    tmp_path: Path, part: str, consequence: str
) -> None:
    """What its play does after a failure is done: scale-in.yml frees the lock there.

    In a roll, whose plays ignore what is unreachable, too.
    """
    hosts = {
        "api1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        "front1": {"ansible_host": "127.0.0.1", "ansible_port": 1},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    change = {
        "ansible.builtin.include_role": {"name": "frontend", "tasks_from": part},
        "vars": {"frontend_hosts": ["front1"]},
    }
    freed = {"ansible.builtin.debug": {"msg": "the lock is freed"}}
    play = {
        "hosts": "api1",
        "gather_facts": False,
        "ignore_unreachable": part == "resume",
        "tasks": [{"block": [change], "rescue": [freed]}],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))
    said = run_playbook(f"--inventory={inventory}", playbook)
    assert f"front1 cannot be reached, and {consequence}" in said
    assert "the lock is freed" in said
