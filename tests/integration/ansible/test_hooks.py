"""An operator's hooks run in the middle of a roll, and what they say counts.

Each test runs a part of the role `rollout` with Ansible itself; nothing here needs a lab host.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
Run = Callable[..., str]


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """The folder of the hooks, with none."""
    folder = tmp_path / "hooks with a space"
    folder.mkdir()
    return folder


@pytest.fixture
def run(tmp_path: Path, hooks: Path) -> Run:
    """Run tasks of the role `rollout` on a host without a release; return what is printed."""

    def run_tasks(tasks: str, *options: str, **facts: Any) -> str:
        include = {"name": "rollout", "tasks_from": tasks}
        survey = {"release": "", "pending": False, "units": {}}
        play = {
            "hosts": "nova1,nova2",
            "gather_facts": False,
            "vars": {
                "rollout_action": "deploy",
                "rollout_release": "2.0-new",
                "rollout_by": "me@here",
                "rollout_hooks": str(hooks),
            },
            "tasks": [
                {"ansible.builtin.set_fact": {"base_survey": survey, **facts}},
                {"ansible.builtin.include_role": include},
            ],
        }
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump([play]))
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible" / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(
            [
                *(str(BIN / "ansible-playbook"), "--inventory=nova1,nova2,"),
                *("--connection=local", str(playbook), *options),
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return f"exit {done.returncode} " + " ".join((done.stdout + done.stderr).split())

    return run_tasks


def write(hook: Path, script: str) -> None:
    """Make a hook."""
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def test_a_hook_learns_what_is_done_where(run: Run, hooks: Path, tmp_path: Path) -> None:
    """Once for the roll, with all hosts; once for each host, with that host."""
    for name in ("before", "before-host", "after-host"):
        write(hooks / name, f"env | grep ^NOVA_ROLL_ | sort >> '{tmp_path}/{name}'")
    assert run("begin").startswith("exit 0")
    assert (tmp_path / "before").read_text().splitlines() == [
        "NOVA_ROLL_ACTION=deploy",
        "NOVA_ROLL_BY=me@here",
        "NOVA_ROLL_DETAIL=",
        "NOVA_ROLL_FROM=",
        "NOVA_ROLL_HOSTS=nova1 nova2",
        "NOVA_ROLL_RESULT=",
        "NOVA_ROLL_TO=2.0-new",
    ]
    assert run("leave").startswith("exit 0")
    assert run("rejoin", rollout_from="1.0-old").startswith("exit 0")
    assert (tmp_path / "before-host").read_text().splitlines().count("NOVA_ROLL_FROM=") == 2
    after = (tmp_path / "after-host").read_text().splitlines()
    assert after.count("NOVA_ROLL_FROM=1.0-old") == 2
    hosts = {line for line in after if "HOSTS" in line}
    assert hosts == {"NOVA_ROLL_HOSTS=nova1", "NOVA_ROLL_HOSTS=nova2"}


def test_a_hook_that_refuses_ends_the_roll_before_anything_is_changed(
    run: Run, hooks: Path
) -> None:
    write(hooks / "before", "echo 'it is Friday' >&2; exit 3")
    said = run("begin")
    assert said.startswith("exit 2")
    assert f"nothing was changed: {hooks}/before ended with 3: it is Friday" in said


def test_a_hook_that_cannot_be_run_is_no_hook_that_agrees(run: Run, hooks: Path) -> None:
    (hooks / "before").write_text("#!/bin/sh\n")
    said = run("begin")
    assert said.startswith("exit 2")
    assert "is it executable" in said


def test_the_last_hook_learns_the_outcome_and_can_change_nothing(
    run: Run, hooks: Path, tmp_path: Path
) -> None:
    write(hooks / "after", f"env > '{tmp_path}/after'; echo 'no pager' >&2; exit 1")
    said = run("end", rollout_failed_in="stage", rollout_failure="no space", rollout_logs=[])
    environment = (tmp_path / "after").read_text().splitlines()
    assert "NOVA_ROLL_RESULT=refused" in environment
    assert "NOVA_ROLL_DETAIL=no space; no space" in environment
    assert "after ended with 1: no pager" in said
    assert "deploy 2.0-new failed on nova1, nova2" in said


def test_no_hook_runs_in_a_check(run: Run, hooks: Path, tmp_path: Path) -> None:
    write(hooks / "before", f"touch '{tmp_path}/ran'")
    assert run("begin", "--check").startswith("exit 0")
    assert not (tmp_path / "ran").exists()
