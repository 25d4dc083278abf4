"""The machine on which the guide's commands are typed, and the person's environment there."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guide.guide import ROOT, commands_of
from tests.guide.machine import Terminal, running_machine

#: Kept from run to run: to install everything takes a minute.
ENVIRONMENT = ROOT / ".nova" / "guide" / "environment"
#: The machine has no desktop: its `open` fetches the page that a browser would show.
OPEN = """#!/bin/sh
exec curl --fail --silent --show-error --location "$1"
"""


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout without what was made in it."""
    folder = tmp_path_factory.mktemp("guide") / "nova"
    made_here = (".*", "__pycache__", "logs", "build", "dist")
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*made_here))
    return folder


@pytest.fixture(scope="session")
def environment(checkout: Path) -> Path:
    """A virtual environment in which nothing is installed, or what requirements.txt says."""
    locked = (checkout / "requirements.txt").read_text()
    note = ENVIRONMENT / "requirements.txt"
    if not note.is_file() or note.read_text() != locked:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        note.write_text(locked)
    for command in ("nova", "flower"):  # from another run's checkout
        (ENVIRONMENT / "bin" / command).unlink(missing_ok=True)
    return ENVIRONMENT


@pytest.fixture(scope="session")
def terminal(
    checkout: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Terminal]:
    """A terminal in the checkout, in the activated environment, on a machine with Redis.

    The variables of the guide come from its own section.
    """
    programs = tmp_path_factory.mktemp("programs")
    (programs / "open").write_text(OPEN)
    (programs / "open").chmod(0o755)
    inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = f"{environment}/bin:{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    variables = inherited | pip | {"PATH": path, "VIRTUAL_ENV": str(environment)}
    with running_machine() as machine:
        here = Terminal(machine, checkout, variables)
        here.start(f"redis-server --bind 127.0.0.1 --dir {programs}")
        here.wait_until("redis-cli ping || true", lambda answer: answer == "PONG\n")
        here.typed.clear()
        yield here


@pytest.fixture(scope="session")
def secret() -> str:
    """What the guide's placeholder for JWT_SECRET_KEY stands for."""
    return secrets.token_hex(32)


@pytest.fixture
def commands(request: pytest.FixtureRequest, terminal: Terminal) -> Iterator[list[str]]:
    """The commands of the test's section that run here; all of them must have been typed."""
    [section] = request.node.get_closest_marker("section").args
    texts = [command.text for command in commands_of(section) if command.runs_here]
    begin = len(terminal.typed)
    yield texts
    typed = "\n".join(terminal.typed[begin:])
    assert [text for text in texts if text not in typed] == []
