"""Playbooks that would harm a host that is left out refuse to leave one out.

Ansible itself runs them on hosts that are this machine; they are refused before anything is done.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook

Run = Callable[..., str]


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    """The playbooks, in a folder in which a test may put another in the place of one."""
    folder = tmp_path / "playbooks"
    shutil.copytree(ANSIBLE / "playbooks", folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, playbooks: Path) -> Run:
    """Run a playbook that is to fail on a fleet of three hosts; return what Ansible printed."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    fleet = {"hosts": {"a": {}, "b": {}, "c": {}}, "children": {"redis": {"hosts": {"c": {}}}}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"nova": fleet | {"vars": local}}))

    def play(name: str, *options: str) -> str:
        done = ansible_playbook(f"--inventory={inventory}", playbooks / name, *options)
        assert done.returncode != 0, done.stdout
        return " ".join((done.stdout + done.stderr).split())

    return play


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("rotate-passwords.yml",), "and would be shut out without the new passwords"),
        (("rotate-certificates.yml", "-e", "new_ca=true"), "and would not trust the new CA"),
        (("restore.yml", "-e", "backup=latest"), "so nobody knows whether Nova runs there"),
    ],
    ids=["passwords", "certificates", "restore"],
)
def test_a_host_that_is_left_out_is_named_before_anything_is_done(
    run: Run, command: tuple[str, ...], why: str
) -> None:
    output = run(*command, "--limit", "redis")
    assert f"a, b did not answer, or were left out by --limit, {why}" in output
    assert output.count("PLAY [") == 1
    assert output.count("TASK [") == 1


def test_the_old_passwords_stay_valid_when_a_host_was_lost_on_the_way(
    run: Run, playbooks: Path
) -> None:
    """It may have kept them; the first site.yml that all hosts get through ends it."""
    lost = {"name": "Be lost", "ansible.builtin.fail": {"msg": "gone"}}
    lost["when"] = "inventory_hostname == 'b'"
    site = [{"name": "Converge", "hosts": "nova", "gather_facts": False, "tasks": [lost]}]
    (playbooks / "site.yml").write_text(yaml.safe_dump(site))
    output = run("rotate-passwords.yml")
    assert "b did not answer, or was left out by --limit, and may still have the old" in output
    assert "PLAY [Converge]" in output
    assert "TASK [redis : " not in output


def test_certificates_that_are_not_there_are_not_rotated(run: Run) -> None:
    """Without redis_tls nothing would be new, and the screen would be green all the same."""
    output = run("rotate-certificates.yml")
    assert "c has no certificate of Nova's own CA: redis_tls is not set" in output
    assert "Survey" not in output
