"""A machine for the guide's commands: its own loopback, with all ports free, and its own processes.

The guide says localhost:6379, :8000 and :5555. On the machine of whoever runs the tests somebody
may listen there; in namespaces of their own the commands work as typed, beside anything.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.guide import init

NAMESPACES = ("--net", "--pid", "--mount")
TIMEOUT_SECONDS = 120


@dataclass
class Machine:
    """A network and a process table of their own, as long as the context lasts."""

    #: Options of nsenter.
    entry: list[str]
    #: What goes on there until it is stopped.
    programs: list["subprocess.Popen[str]"] = field(default_factory=list)

    def command(self, line: str, folder: Path) -> list[str]:
        """Return what runs a line of bash on the machine, in a folder."""
        return ["nsenter", *self.entry, "bash", "-c", 'cd "$0" && eval "$1"', str(folder), line]


@contextmanager
def running_machine() -> Iterator[Machine]:
    """Make a machine; everything that runs on it is killed in the end."""
    # Whoever is not root is it in a user namespace, where the system allows that.
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    process = subprocess.Popen(
        ["unshare", *user, *NAMESPACES, "--fork", "--mount-proc", sys.executable, init.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    machine = Machine([])
    with process, process.stdin:
        if process.stdout.readline() != "ready\n":
            pytest.fail(
                "the guide's test needs a machine of its own, and may not make one: run it as "
                f"root, or allow user namespaces ({process.stderr.read().strip()})",
                pytrace=False,
            )
        [first] = psutil.Process(process.pid).children()
        machine.entry = [f"--target={first.pid}", *NAMESPACES]
        if user:
            machine.entry += ["--user", "--preserve-credentials"]
        yield machine
    for program in machine.programs:
        program.communicate(timeout=TIMEOUT_SECONDS)


@dataclass
class Program:
    """A command that goes on until it is stopped, as in a terminal of its own."""

    process: "subprocess.Popen[str]"
    #: Its number on the machine.
    pid: int
    terminal: "Terminal"

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM, wait for the end, and return the exit code and what it printed."""
        self.terminal.run(f"kill -TERM {self.pid}")
        self.terminal.machine.programs.remove(self.process)
        output, _ = self.process.communicate(timeout=TIMEOUT_SECONDS)
        return self.process.returncode, output


@dataclass
class Terminal:
    """Where commands are typed: a folder, an environment, and what was typed so far."""

    machine: Machine
    folder: Path
    environment: dict[str, str]
    typed: list[str] = field(default_factory=list)

    def export(self, assignment: str) -> None:
        """Set a variable, `NAME=value`, for all commands that follow."""
        self.typed.append(assignment)
        name, _, value = assignment.partition("=")
        self.environment[name] = value

    def run(self, command: str, *, code: int = 0, online: bool = False) -> str:
        """Type a command, and return what it prints when it ends as it should.

        Of a command that is to succeed that is its standard output; curl shows its progress beside.
        `online`: on the machine of whoever runs the tests, which may have a network.
        """
        self.typed.append(command)
        result = subprocess.run(
            ["bash", "-c", command] if online else self.machine.command(command, self.folder),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS if not online else None,
            check=False,
        )
        if result.returncode != code:
            said = result.stdout + result.stderr
            pytest.fail(f"{command}\nexit code {result.returncode}\n{said}")
        return result.stdout if code == 0 else result.stdout + result.stderr

    def start(self, command: str) -> Program:
        """Type a command that does not end by itself."""
        self.typed.append(command)
        process = subprocess.Popen(
            self.machine.command(f"echo $$; exec {command}", self.folder),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.machine.programs.append(process)
        assert process.stdout is not None
        return Program(process, int(process.stdout.readline()), self)

    def wait_until(self, command: str, holds: Callable[[str], bool]) -> str:
        """Type a command again and again until its output is as it should be; return that."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not holds(output := self.run(command)):
            assert time.monotonic() < deadline, f"{command} never printed it:\n{output}"
            time.sleep(0.2)
        return output
