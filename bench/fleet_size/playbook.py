"""Runs a playbook and notes when each of its tasks began: the lines that Ansible prints say so."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import BenchError

#: Beside the interpreter: the Ansible of this environment.
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
#: What comes before the first play, and between a play's heading and its first task.
START, PLAY = "(start of Ansible)", "(start of a play)"
#: After SIGTERM; then SIGKILL.
STOP_SECONDS = 15.0

_HEADING = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*)\] \**$")
_RECAP = re.compile(
    r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE
)


@dataclass(frozen=True)
class Run:
    """One run of a playbook."""

    seconds: float
    #: Name of a task -> seconds from its heading to the next one, all its appearances together.
    tasks: dict[str, float]
    #: Host -> number of changes.
    changed: dict[str, int]

    def seconds_in(self, names: Iterable[str]) -> float:
        """Return the seconds that these tasks took."""
        return sum(self.tasks.get(name, 0.0) for name in names)

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return {
            "seconds": round(self.seconds, 3),
            "tasks": {name: round(seconds, 3) for name, seconds in self.tasks.items()},
        }


def task_seconds(lines: Sequence[tuple[float, str]], end: float) -> dict[str, float]:
    """Return task -> seconds, from lines with the times at which they came, in seconds.

    The run began at 0 and was over at `end`. The names are in the order of their first appearance.
    """
    spans: dict[str, float] = {}
    name, since = START, 0.0
    for at, line in lines:
        if found := _HEADING.match(line):
            following = found[1]
        elif line.startswith("PLAY "):
            following = PLAY
        else:
            continue
        spans[name] = spans.get(name, 0.0) + at - since
        name, since = following, at
    spans[name] = spans.get(name, 0.0) + end - since
    return spans


def changes(output: str) -> dict[str, int]:
    """Return host -> number of changes, from the recap of a playbook.

    Raises:
        BenchError: a host failed or was not reached, or there is no recap.
    """
    found = _RECAP.findall(output.rpartition("PLAY RECAP")[2])
    bad = [host for host, _, unreachable, failed in found if (unreachable, failed) != ("0", "0")]
    if bad or not found:
        raise BenchError(f"the playbook failed on {', '.join(bad) or 'every host'}")
    return {host: int(changed) for host, changed, _, _ in found}


def environment(config: Path, control_paths: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a playbook; nobody's own settings of Ansible get into it.

    `control_paths` is a folder for the sockets of kept SSH connections: an address that another lab
    had a moment ago must not find the connection to that one.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")
    }
    return inherited | {
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_paths),
        "PYTHONUNBUFFERED": "1",
        # What this machine downloaded for something else is no part of what is measured.
        "PIP_NO_CACHE_DIR": "1",
        **extra,
    }


def run(arguments: Sequence[str], env: Mapping[str, str], log: Path, seconds: float) -> Run:
    """Run a playbook; its output goes to a log, where that of earlier runs is.

    Raises:
        BenchError: it failed, or did not end within `seconds`; the message names the log.
    """
    lines: list[tuple[float, str]] = []
    with log.open("a", encoding="utf-8") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(ANSIBLE_PLAYBOOK), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A session of its own: Ctrl-C reaches the bench alone, which then ends it.
            start_new_session=True,
        )
        late = threading.Event()

        def end_it() -> None:
            late.set()
            _signal(process, signal.SIGTERM)

        timer = threading.Timer(seconds, end_it)
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append((time.monotonic() - began, line.rstrip("\n")))
                output.write(line)
            code = process.wait()
        finally:
            timer.cancel()
            _stop(process)
    end = time.monotonic() - began
    if late.is_set():
        raise BenchError(f"{arguments[-1]} did not end within {seconds:g} s; its output: {log}")
    if code != 0:
        raise BenchError(f"{arguments[-1]} failed; its output: {log}")
    return Run(end, task_seconds(lines, end), changes("\n".join(line for _, line in lines)))


def _stop(process: subprocess.Popen[str]) -> None:
    """End what is left of a playbook: it asks its own children to end."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()
    if process.stdout:
        process.stdout.close()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a playbook that runs, and all processes of its session."""
    if process.poll() is None:
        os.killpg(process.pid, number)
