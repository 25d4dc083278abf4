"""A process in the background, and its pid file.

The process holds a lock on its pid file as long as it or a child of it lives; the kernel takes the
lock away with the last of them. So a pid file that nobody holds is stale, whoever has the number by
now, and two starts at the same time cannot both succeed.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import psutil

from nova.errors import UnavailableError

#: Seconds to wait for a lock at most: whoever asks how a process is holds it for a moment.
LOCK_SECONDS = 0.5
#: Stands in a pid file, below the number, once its process has been asked to stop.
ASKED = "asked to stop"

State = Literal["not running", "stale", "running", "stopping", "lost"]


@dataclass(frozen=True)
class Background:
    """One process by its pid file, whether it runs or not."""

    pid_file: Path

    @property
    def name(self) -> str:
        """Name of the process."""
        return self.pid_file.stem

    @property
    def pid(self) -> int | None:
        """The number in the pid file."""
        lines = self._lines()
        return int(lines[0]) if lines else None

    @property
    def state(self) -> State:
        """How it is.

        stale: it ended without `clear`, as after a crash; stopping: it was asked to; lost: it was
        killed, and children of it are still there.
        """
        lines = self._lines()
        if not lines:
            return "not running"
        if not self._is_locked():
            return "stale"
        if not _is_alive(int(lines[0])):
            return "lost"
        return "stopping" if ASKED in lines else "running"

    def start(
        self, command: list[str], folder: Path, log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start it in a folder; what it prints is added to the log.

        Raises:
            UnavailableError: it runs, or a child of it does.
        """
        with self._locked("a+") as file, log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[file.fileno()],  # and the lock with it
            )
            file.truncate(0)
            file.write(f"{process.pid}\n")
        return process

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and note that it was sent: a worker takes a second one for impatience."""
        self._signal(signal.SIGTERM)
        if self.state == "running":
            with self.pid_file.open("a") as file:
                file.write(f"{ASKED}\n")

    def kill(self) -> None:
        """Send SIGKILL to it and to its children, also to those that outlived it."""
        if self.pid is not None and self.state in ("running", "stopping", "lost"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def clear(self) -> None:
        """Remove the pid file of a process that has ended; that of a new one stays."""
        with contextlib.suppress(FileNotFoundError, UnavailableError), self._locked("r+"):
            self.pid_file.unlink()

    @contextlib.contextmanager
    def _locked(self, mode: Literal["a+", "r+"]) -> Iterator[TextIO]:
        """Hold the lock of the pid file, which may be removed until then: that one is no use.

        Raises:
            FileNotFoundError: there is no pid file, and the mode makes none.
            UnavailableError: the process, or a child of it, holds the lock.
        """
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            with self.pid_file.open(mode) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise UnavailableError(
                            f"{self.name}: a process of it still runs; look again in some seconds"
                        ) from None
                    time.sleep(LOCK_SECONDS / 50)
                    continue
                if self._is_pid_file(file):
                    yield file
                    return

    def _is_pid_file(self, file: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.pid_file.stat())
        except FileNotFoundError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self.state in ("running", "stopping"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _lines(self) -> list[str]:
        try:
            return self.pid_file.read_text().splitlines()
        except FileNotFoundError:
            return []

    def _is_locked(self) -> bool:
        try:
            with self.pid_file.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
