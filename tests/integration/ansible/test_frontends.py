"""Frontends are changed one after the other; each has a certificate. Nothing needs a lab host."""

from pathlib import Path

import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook


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
