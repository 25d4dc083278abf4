"""Playbooks and parts of the role `rollout`, run by Ansible itself on this machine."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ANSIBLE = ROOT / "ansible"
Run = Callable[..., str]
#: What the survey says of a host that has nothing yet.
NEW_HOST = {"release": "", "releases": [], "pending": False, "units": {}, "lock_token": 0}


def ansible_playbook(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook with the checkout's configuration, which names the roles."""
    program = Path(sys.executable).parent / "ansible-playbook"
    return with_configuration(program, *arguments, **environment)


def run_playbook(*arguments: object, **environment: str) -> str:
    """Do the same, however it ends; return what it printed, in one line."""
    done = ansible_playbook(*arguments, **environment)
    return " ".join(done.stdout.split()) + done.stderr


def with_configuration(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that asks hosts with Ansible."""
    configuration = {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | configuration | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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
    A host that cannot be reached stays in the play, as in a roll, unless `goes_on` is false.
    `fatal` is any_errors_fatal, as in the plays before a roll.
    """

    def run_tasks(
        *tasks: str,
        options: tuple[str, ...] = (),
        hosts: dict[str, dict[str, Any]] | None = None,
        goes_on: bool = True,
        fatal: bool = False,
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
            "ignore_unreachable": goes_on,
            "any_errors_fatal": fatal,
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
        done = ansible_playbook(f"--inventory={inventory}", playbook, *options)
        return f"exit {done.returncode} " + " ".join((done.stdout + done.stderr).split())

    return run_tasks


class Hosts:
    """An inventory. A host's commands run in its own shell: its programs come before the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "hosts.yml"
        self.groups: dict[str, dict[str, dict[str, object]]] = {"nova": {}, "frontend": {}}

    def add(
        self, name: str, programs: dict[str, str], group: str = "nova", **variables: object
    ) -> Path:
        """Add a host with shell scripts as programs; return the folder that is its `/`."""
        root = self.folder / name
        root.mkdir()
        shell = f'NOVA_HOST_ROOT="{root}" PATH="{root}:$PATH" exec /bin/sh "$@"'
        for program, script in (programs | {"shell": shell}).items():
            (root / program).write_text(f"#!/bin/sh\n{script}\n")
            (root / program).chmod(0o755)
        self.groups[group][name] = {"ansible_shell_executable": str(root / "shell"), **variables}
        return root

    def add_unreachable(self, name: str) -> None:
        """Add a host at which nothing listens."""
        self.groups["nova"][name] = {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": 1,
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the checkout that asks these hosts."""
        common = {"ansible_connection": "local", "ansible_become": False}
        groups = {name: {"hosts": hosts} for name, hosts in self.groups.items()}
        self.inventory.write_text(yaml.safe_dump({"all": {"vars": common}, **groups}))
        return with_configuration(*command)

    def play(self, playbook: str, *options: str) -> str:
        """Run a playbook, which must not fail; return what it showed, in one line."""
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        path = str(ANSIBLE / "playbooks" / playbook)
        done = self.run(ansible, f"--inventory={self.inventory}", path, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join(done.stdout.split())


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    """An inventory without hosts."""
    return Hosts(tmp_path)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """What the role redis runs on a host, with a folder of the test's in place of Redis' own."""
    spec = importlib.util.spec_from_file_location(
        "redis_host", ANSIBLE / "roles/redis/files/redis_host.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    opened: list[Any] = []
    connect = module.Connection

    def remember(*arguments: Any) -> Any:
        opened.append(connect(*arguments))
        return opened[-1]

    monkeypatch.setattr(module, "Connection", remember)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    (tmp_path / "root.password").write_text("password-of-root")
    yield module
    for connection in opened:
        connection.stream.close()
        connection.socket.close()
