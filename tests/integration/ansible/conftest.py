"""Parts of the role `rollout`, run with Ansible itself on hosts that are this machine."""

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
#: What the survey says of a host that has nothing yet.
NEW_HOST = {"release": "", "releases": [], "pending": False, "units": {}, "lock_token": 0}


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """The folder of the hooks, with none."""
    folder = tmp_path / "hooks with a space"
    folder.mkdir()
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for programs that stand in for those of a host; empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.fixture
def run(tmp_path: Path, hooks: Path, programs: Path) -> Run:
    """Run tasks of the role `rollout`, one file after another; return what is printed.

    On `nova1` and `nova2`, new hosts, unless `hosts` says which there are, with variables of each.
    """

    def run_tasks(
        *tasks: str,
        options: tuple[str, ...] = (),
        hosts: dict[str, dict[str, Any]] | None = None,
        **facts: Any,
    ) -> str:
        hosts = hosts or {"nova1": {}, "nova2": {}}
        inventory = tmp_path / "hosts.yml"
        common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": common}}))
        roles = [
            {"ansible.builtin.include_role": {"name": "rollout", "tasks_from": part}}
            for part in tasks
        ]
        play = {
            "hosts": "all",
            "gather_facts": False,
            "ignore_unreachable": True,
            "environment": {"PATH": f"{programs}:{os.environ['PATH']}"},
            "vars": {
                "rollout_action": "deploy",
                "rollout_release": "2.0-new",
                "rollout_by": "me@here",
                "rollout_hooks": str(hooks),
            },
            "tasks": [{"ansible.builtin.set_fact": {"base_survey": NEW_HOST} | facts}, *roles],
        }
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump([play]))
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible" / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(
            [BIN / "ansible-playbook", f"--inventory={inventory}", playbook, *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return f"exit {done.returncode} " + " ".join((done.stdout + done.stderr).split())

    return run_tasks
