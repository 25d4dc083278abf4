"""Playbooks as an operator runs them, and what came of them; for the tests of scenarios.

The inventory comes from the environment (ANSIBLE_INVENTORY), as Molecule sets it.
"""

import os
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass

from scripts.lab.docker import ROOT, LabError

PLAYBOOKS = ROOT / "ansible" / "playbooks"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Played:
    """What came of a playbook."""

    code: int
    #: All that it printed, without colours.
    text: str

    @property
    def words(self) -> str:
        """What it printed, in one line: Ansible breaks long messages where it likes."""
        return " ".join(self.text.split())

    @property
    def changes(self) -> dict[str, int]:
        """Each host of the recap, and the number of its changes."""
        recap = self.text.rpartition("PLAY RECAP")[2]
        found = re.findall(r"^(\S+) +: .*\bchanged=(\d+)", recap, re.MULTILINE)
        return {host: int(number) for host, number in found}

    @property
    def changed(self) -> dict[str, int]:
        """The hosts that were changed, and how often."""
        return {host: number for host, number in self.changes.items() if number}


def command(name: str, *options: str) -> list[str]:
    """Return the command of a playbook, by its name without `.yml`."""
    return ["ansible-playbook", str(PLAYBOOKS / f"{name}.yml"), *options]


def _played(code: int, output: str) -> Played:
    """Show what a playbook printed in the report of a test that fails, and return it."""
    text = _COLOUR.sub("", output)
    print(text)
    return Played(code, text)


def try_to_play(name: str, *options: str) -> Played:
    """Run a playbook, which may fail."""
    done = subprocess.run(command(name, *options), capture_output=True, text=True, check=False)
    return _played(done.returncode, done.stdout + done.stderr)


class Begun:
    """A playbook that runs, in a session of its own: a signal reaches all its processes."""

    def __init__(self, name: str, *options: str) -> None:
        # A pipe that nobody reads meanwhile would hold it up.
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - until end()
        # A shell starts what goes to the background with Ctrl-C ignored; all below it inherit that.
        self._process = subprocess.Popen(
            ["env", "--default-signal=INT", *command(name, *options)],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children, unless it is over."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def wait(self, seconds: float) -> Played:
        """Return what came of it.

        Raises:
            subprocess.TimeoutExpired: it was not over within these seconds.
        """
        code = self._process.wait(seconds)
        self._output.seek(0)
        return _played(code, self._output.read())

    def end(self) -> None:
        """Kill it if it runs."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._output.close()


def play(name: str, *options: str) -> Played:
    """Run a playbook.

    Raises:
        LabError: it failed.
    """
    done = try_to_play(name, *options)
    if done.code != 0:
        raise LabError(f"{name}.yml failed")
    return done


def play_in_vain(name: str, *options: str) -> Played:
    """Run a playbook that is to refuse or to fail.

    Raises:
        LabError: it did not fail.
    """
    done = try_to_play(name, *options)
    if done.code == 0:
        raise LabError(f"{name}.yml did not fail")
    return done
