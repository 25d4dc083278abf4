"""Hosts that are taken out of service, in vain: it is noted, the lock is free, nothing is stopped.

`nova` is a program of the test's own, which notes what it is asked; what the survey says is given.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook

Run = Callable[..., tuple[str, list[str]]]
SURVEY = {
    "hostname": "nova2",
    "release": "1.0-old",
    "releases": ["1.0-old"],
    "pending": False,
    "lock_token": 0,
    "units": {"celery-worker@gov.service": {}},
    "workers": ["gov"],
}
LOCKS = f"""case "$2" in lock) echo '{json.dumps({"token": 8})}';; esac"""
#: A worker that does not finish what it runs.
DRAINS_IN_VAIN = (
    'case "$NOVA_WORKER_ALLOW_UNKNOWN $*" in "1 worker drain gov@nova2") '
    'echo "gov@nova2 runs 1 task" >&2; exit 1;; esac'
)


@pytest.fixture
def run(tmp_path: Path, programs: Path) -> Run:
    """Run a playbook for nova2, with a `nova` that does what a script says.

    Returns what was printed, after the exit code, and what `nova` was asked.
    """
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    parts: dict[str, Any] = {part: {"hosts": {"nova1": {}}} for part in ("redis", "beat", "api")}
    parts |= {"flower": {"hosts": {"nova1": {}}}, "workers": {"hosts": {"nova1": {}, "nova2": {}}}}
    hosts: dict[str, Any] = {"nova1": {}, "nova2": {}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        yaml.safe_dump({"nova": {"hosts": hosts, "children": parts, "vars": local}})
    )
    notes = tmp_path / "asked"
    notes.touch()

    def play(name: str, script: str) -> tuple[str, list[str]]:
        program = programs / "nova"
        program.write_text(f"#!/bin/sh\necho \"$*\" >> '{notes}'\n{script}\n")
        program.chmod(0o755)
        [found] = yaml.safe_load((ANSIBLE / "playbooks" / name).read_text())
        found["tasks"] = [
            {"ansible.builtin.set_fact": {"base_survey": SURVEY}}
            if task["name"] == "Survey each host"
            else task
            for task in found["tasks"]
        ]
        found |= {"become": False, "environment": {"PATH": f"{programs}:{os.environ['PATH']}"}}
        playbook = tmp_path / name
        playbook.write_text(yaml.safe_dump([found]))
        done = ansible_playbook(f"--inventory={inventory}", "--limit=nova2", playbook)
        said = " ".join((done.stdout + done.stderr).split())
        return f"exit {done.returncode} {said}", notes.read_text().splitlines()

    return play


def test_a_drain_that_ends_in_vain_is_noted(run: Run) -> None:
    """And says what to do: the workers that are drained stay so."""
    said, asked = run("drain.yml", DRAINS_IN_VAIN)
    assert said.startswith("exit 2"), said[-1500:]
    assert "gov@nova2 runs 1 task" in said
    assert "mend what is said above and run it again, or resume.yml" in said
    [note] = [line for line in asked if line.startswith("fleet note")]
    assert "--action=drain --result=failed --detail=nova2" in note


def test_a_host_whose_workers_do_not_drain_stays_in_the_fleet(run: Run) -> None:
    """The lock is free again, no unit is stopped, and Redis forgets no worker."""
    said, asked = run("scale-in.yml", f"{LOCKS}\n{DRAINS_IN_VAIN}")
    assert said.startswith("exit 2"), said[-1500:]
    assert "the hosts are not out yet; mend what is said above, and run it again" in said
    assert "To keep them: resume.yml" in said
    assert "Stop and disable every unit" not in said
    assert [line.split()[:2] for line in asked] == [
        ["fleet", "lock"],
        ["worker", "drain"],
        ["worker", "drain"],
        ["fleet", "note"],
        ["fleet", "unlock"],
    ]
    assert "--action=scale-in --result=failed --detail=nova2" in asked[-2]
    assert asked[-1] == "fleet unlock 8"
