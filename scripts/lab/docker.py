"""The one place that calls Docker."""

import functools
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".nova" / "lab"


class LabError(Exception):
    """A lab operation failed; the message is one line for the person who started it."""


@functools.cache
def as_root() -> tuple[str, ...]:
    """Return the words to put before a command that needs root."""
    whoami = subprocess.run(["id", "-u"], capture_output=True, text=True, check=True)
    return () if whoami.stdout.strip() == "0" else ("sudo",)


@functools.cache
def docker_command() -> tuple[str, ...]:
    """Return the command line that reaches a Docker engine, through sudo where needed.

    Raises:
        LabError: no Docker client is installed, or no engine answers.
    """
    if shutil.which("docker") is None:
        raise LabError("docker is not installed: run scripts/bootstrap.sh --tools fleet")
    for words in (("docker",), (*as_root(), "docker")):
        probe = subprocess.run([*words, "version"], capture_output=True, check=False)
        if probe.returncode == 0:
            return words
    raise LabError("no Docker engine answers: run scripts/bootstrap.sh --tools fleet")


def docker(*arguments: str, stdin: str = "") -> str:
    """Run one docker command and return what it printed.

    It runs in a session of its own, so that Ctrl-C never cuts it in half: the caller clears up.

    Raises:
        LabError: the command failed; the message carries Docker's last line.
    """
    result = subprocess.run(
        [*docker_command(), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise LabError(f"docker {arguments[0]} failed: {lines[-1]}")
    return result.stdout.strip()


def docker_succeeds(*arguments: str) -> bool:
    """Tell whether a docker command exits with 0."""
    try:
        docker(*arguments)
    except LabError:
        return False
    return True
