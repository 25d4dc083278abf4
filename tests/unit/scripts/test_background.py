"""A process in the background: its pid file tells how it is, whatever happened to it."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import psutil
import pytest

from nova.errors import UnavailableError
from scripts.local.background import Background
from tests.conftest import wait_until

SLEEP = ["sleep", "60"]
#: Leaves a child, whose number it prints, and sleeps.
PARENT = [
    sys.executable,
    "-uc",
    "import subprocess, time;"
    "print(subprocess.Popen(['sleep', '60'], close_fds=False).pid); time.sleep(60)",
]


class Started:
    """A process that was started, with what is needed to look after it."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.log = folder / "test.log"
        self.background = Background(folder / "test.pid")
        self.command = command
        self.child = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        return self.background.start(self.command, Path("/"), self.log, os.environ)


def state_of(background: Background) -> str:
    return background.state


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    one = Started(tmp_path, SLEEP)
    yield one
    one.child.kill()
    one.child.wait()


def test_it_runs_until_it_is_asked_to_stop(started: Started) -> None:
    background = started.background
    assert (background.pid, state_of(background)) == (started.child.pid, "running")
    background.ask_to_stop()
    started.child.wait(timeout=10)
    assert state_of(background) == "stale"
    background.clear()
    assert state_of(background) == "not running"


def test_a_second_start_is_refused(started: Started) -> None:
    with pytest.raises(UnavailableError, match="test: a process of it still runs"):
        started.start()
    assert started.background.pid == started.child.pid


def test_that_it_was_asked_is_remembered(tmp_path: Path) -> None:
    command = [sys.executable, "-uc", "import signal, time; signal.signal(15, lambda *_: None);"]
    command[-1] += "print('deaf'); [time.sleep(1) for _ in range(60)]"
    deaf = Started(tmp_path, command)
    try:
        wait_until(lambda: "deaf" in deaf.log.read_text())
        deaf.background.ask_to_stop()
        assert deaf.background.state == "stopping"
        assert deaf.background.pid == deaf.child.pid
    finally:
        deaf.child.kill()
        deaf.child.wait()


def test_a_number_that_another_process_has_got_is_stale(tmp_path: Path) -> None:
    background = Background(tmp_path / "test.pid")
    background.pid_file.write_text(f"{os.getpid()}\n")
    assert background.state == "stale"
    background.ask_to_stop()  # and this test goes on


def test_who_comes_late_neither_removes_the_pid_file_of_another_start_nor_starts_too(
    tmp_path: Path,
) -> None:
    """Two find a stale pid file; one clears it and starts before the other clears."""
    late = Background(tmp_path / "test.pid")
    late.pid_file.write_text("1\n")
    assert late.state == "stale"
    late.clear()
    first = Started(tmp_path, SLEEP)
    try:
        late.clear()
        assert late.pid == first.child.pid
        with pytest.raises(UnavailableError, match="still runs"):
            late.start(SLEEP, Path("/"), first.log, os.environ)
    finally:
        first.child.kill()
        first.child.wait()


def test_a_pid_file_that_is_removed_while_a_start_waits_for_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a file without a name would keep nobody away."""
    background = Background(tmp_path / "test.pid")
    background.pid_file.write_text("1\n")
    lock = fcntl.flock

    def remove_first(file: TextIO, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        background.pid_file.unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    started = Started(tmp_path, SLEEP)
    try:
        assert (background.pid, background.state) == (started.child.pid, "running")
    finally:
        started.child.kill()
        started.child.wait()


def test_children_that_outlive_it_are_noticed(tmp_path: Path) -> None:
    family = Started(tmp_path, PARENT)
    try:
        wait_until(lambda: family.log.read_text().strip().isdecimal())
        orphan = int(family.log.read_text())
    finally:
        family.child.kill()
        family.child.wait()
    assert family.background.state == "lost"
    family.background.kill()
    wait_until(lambda: not psutil.pid_exists(orphan))
    wait_until(lambda: family.background.state == "stale")
