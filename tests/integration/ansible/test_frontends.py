"""Frontends are changed one after the other; each has a certificate. Nothing needs a lab host."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
ANSIBLE = ROOT / "ansible"


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
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("--inventory=front1,front2,", "--connection=local", str(playbook)),
            ],
            env=os.environ
            | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run().count("changed=1") == 2
    names = sorted(path.name for path in (tmp_path / "tls").glob("front*.crt"))
    assert names == ["front1.crt", "front2.crt"]
    assert (tmp_path / "tls" / "front2.address").read_text() == "front2.example.com\n"
    assert run().count("changed=0") == 2
