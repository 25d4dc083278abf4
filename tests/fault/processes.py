"""Real processes, started, hurt and ended by their ids."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


class HarnessError(Exception):
    """The harness itself could not do what a scenario needs; nothing is proven."""


def wait_for(
    condition: Callable[[], object], what: str, seconds: float = 30.0, pause_seconds: float = 0.02
) -> float:
    """Poll until the condition holds; return the seconds that it took.

    Raises:
        HarnessError: it did not hold in time.
    """
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise HarnessError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause_seconds)
    return time.monotonic() - begin


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a hang-up wait until what is done here is done.

    Interrupted between the start of a process and the note of its id, the harness would leave it
    behind.
    """
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda got, _: came.append(got))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for got in came:
            signal.raise_signal(got)


@dataclass
class Program:
    """One process, the first of a process group of its own, whose output goes to a file."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    #: What its output says once it works; empty: nothing to wait for.
    ready: str = ""
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    #: Where in the log the output of its last start begins.
    offset: int = field(default=0, init=False)
    #: Children that a killed process left behind; they end by themselves, or with the harness.
    orphans: list[psutil.Process] = field(default_factory=list, init=False)

    @property
    def pid(self) -> int:
        """Id of the process, and of its group."""
        if self.process is None:
            raise HarnessError(f"{self.name} was not started")
        return self.process.pid

    def start(self) -> "Program":
        """Start it, for the first time or again, and do not wait."""
        self.offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output, interrupts_wait():
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=dict(self.environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def output(self) -> str:
        """Return what it has printed since its last start."""
        with self.log.open("rb") as log:
            log.seek(self.offset)
            return log.read().decode(errors="replace")

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        """Tell whether its output says so.

        Raises:
            HarnessError: it has ended instead.
        """
        if not self.is_alive():
            last_line = (self.output().strip().splitlines() or ["it said nothing"])[-1]
            raise HarnessError(f"{self.name} ended: {last_line}")
        return self.ready in self.output()

    def wait_ready(self, seconds: float = 60.0) -> "Program":
        """Wait until it works."""
        wait_for(self.is_ready, f"{self.name} ready", seconds)
        return self

    def children(self) -> list[psutil.Process]:
        """Return its child processes, the oldest first."""
        try:
            return sorted(psutil.Process(self.pid).children(), key=lambda child: child.pid)
        except psutil.NoSuchProcess:
            return []

    def ports(self) -> set[int]:
        """Return the local ports of its connections, and of its children's."""
        processes = [psutil.Process(self.pid), *self.children()]
        return {
            connection.laddr.port
            for process in processes
            for connection in process.net_connections("tcp")
        }

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        if self.process is None or self.process.stdin is None:
            raise HarnessError(f"{self.name} was not started")
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        if self.is_alive():
            os.kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and its children, as if to the whole host."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """kill -9 the process alone; what it forked is left to itself."""
        self.orphans += self.children()
        self.signal(signal.SIGKILL)
        self.wait(10)

    def crash(self) -> None:
        """kill -9 the process and its children, as when their host dies."""
        if self.process is not None:
            self.signal_all(signal.SIGKILL)
            self.wait(10)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; tell whether it did in time."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        return True

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.crash()
        for orphan in self.orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()  # psutil compares start times: a reused id is left alone
