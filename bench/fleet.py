"""The systems that are measured: how their workers are started, watched and ended."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from nova.errors import ConfigurationError, NovaError

ROOT = Path(__file__).resolve().parent.parent
#: Made by `make bench-venv`: arq, dramatiq and the profiler.
OTHERS = ROOT / ".venv-bench" / "bin"
#: Worker processes of every system.
PROCESSES = 2
#: After SIGTERM; then SIGKILL.
STOP_SECONDS = 15.0
#: The longest that a worker may need to start, or to go on after its last task.
STALL_SECONDS = 60.0
MEGABYTE = 1_000_000


class BenchError(NovaError):
    """A worker or publisher did not do what it was started for."""


@dataclass(frozen=True)
class Contender:
    """One system."""

    name: str
    label: str
    #: Module in bench/contenders.
    module: str
    #: Interpreter of its environment.
    python: Path
    #: Command lines that together are one worker.
    commands: tuple[tuple[str, ...], ...]
    #: Keys that hold tasks not yet acknowledged -> the command that tells how many.
    backlog: Mapping[str, str]


def _celery(module: str) -> tuple[tuple[str, ...], ...]:
    return (
        (
            str(Path(sys.executable).with_name("celery")),
            "--quiet",
            f"--app=bench.contenders.{module}",
            "worker",
            "--queues=maintenance",
            f"--concurrency={PROCESSES}",
            "--hostname=bench@%h",
            "--without-gossip",
            "--without-mingle",
        ),
    )


def _dramatiq(threads: int) -> tuple[tuple[str, ...], ...]:
    module = "bench.contenders.dramatiq_app"
    options = (f"--processes={PROCESSES}", f"--threads={threads}")
    return ((str(OTHERS / "dramatiq"), *options, module),)


_PYTHON = Path(sys.executable)
_CELERY_BACKLOG = {"maintenance": "LLEN", "unacked": "HLEN"}
_DRAMATIQ_BACKLOG = {"dramatiq:default.msgs": "HLEN"}
_ARQ = (
    str(OTHERS / "arq"),
    "bench.contenders.arq_app.WorkerSettings",
    "--custom-log-dict=bench.contenders.arq_app.LOGGING",
)

#: The measure of all others.
BASE = "stock-equal"
CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("nova", "Nova", "nova_app", _PYTHON, _celery("nova_app"), _CELERY_BACKLOG),
        Contender(
            BASE,
            "stock Celery, equal settings",
            "stock_equal",
            _PYTHON,
            _celery("stock_equal"),
            _CELERY_BACKLOG,
        ),
        Contender(
            "stock-default",
            "stock Celery, its defaults",
            "stock_default",
            _PYTHON,
            _celery("stock_default"),
            _CELERY_BACKLOG,
        ),
        Contender(
            "arq",
            "arq, 2 x 10 jobs, polling every 10 ms",
            "arq_app",
            OTHERS / "python",
            (_ARQ,) * PROCESSES,
            {"arq:queue": "ZCARD"},
        ),
        Contender(
            "dramatiq-1",
            "dramatiq, 2 x 1 thread",
            "dramatiq_app",
            OTHERS / "python",
            _dramatiq(1),
            _DRAMATIQ_BACKLOG,
        ),
        Contender(
            "dramatiq-8",
            "dramatiq, 2 x 8 threads",
            "dramatiq_app",
            OTHERS / "python",
            _dramatiq(8),
            _DRAMATIQ_BACKLOG,
        ),
    )
}


def check_environment() -> None:
    """Refuse to start without the environment of the other systems.

    Raises:
        ConfigurationError: it is not there.
    """
    if not (OTHERS / "arq").is_file():
        raise ConfigurationError(".venv-bench is missing; make it: make bench-venv")


def environment(redis_url: str) -> dict[str, str]:
    """Return the environment of workers and publishers; nothing of the caller's leaks into it."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return inherited | {
        "REDIS_URL": redis_url,
        # Nova's default would log every task, and stock Celery's would not.
        "CELERY_LOG_LEVEL": "warning",
        "PYTHONPATH": str(ROOT),
    }


def drive(contender: Contender, redis_url: str, *arguments: object) -> Any:
    """Publish, see bench/contenders/drive.py; return what it printed.

    Raises:
        BenchError: it failed.
    """
    module = f"bench.contenders.{contender.module}"
    command = [str(contender.python), "-m", "bench.contenders.drive", module]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=environment(redis_url),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{contender.label}: publishing failed: {last_line(done.stderr)}")
    return json.loads(done.stdout)


def last_line(text: str) -> str:
    """Return the last line of an output, where the error stands."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]


@dataclass
class Worker:
    """A running worker: its processes, their children, and its log."""

    contender: Contender
    log: Path
    started_at: float
    roots: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def check(self) -> None:
        """Raise BenchError when a process has ended by itself."""
        for root in self.roots:
            if root.poll() is not None:
                text = self.log.read_text(errors="replace")
                raise BenchError(f"{self.contender.label}: the worker ended: {last_line(text)}")

    def families(self) -> Iterator[tuple[psutil.Process, list[psutil.Process]]]:
        """Yield each process that was started, with all its descendants."""
        for root in self.roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(root.pid)
                yield process, process.children(recursive=True)

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time so far of the main processes, and of their children.

        A child that has just ended counts from when its parent has noticed.
        """
        main = children = 0.0
        for process, descendants in self.families():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                main += times.user + times.system
                children += times.children_user + times.children_system
            for child in descendants:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = child.cpu_times()
                    children += times.user + times.system
        return main, children

    def memory(self) -> dict[str, float]:
        """Return memory in MB.

        `main` and `child` are the largest resident sizes; `total` is the sum over all processes
        in which a page that several share counts once (PSS).
        """
        sizes: dict[str, float] = {"main": 0, "child": 0, "total": 0}
        for process, descendants in self.families():
            for kind, member in [("main", process), *(("child", one) for one in descendants)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    found = member.memory_full_info()
                    sizes[kind] = max(sizes[kind], found.rss / MEGABYTE)
                    sizes["total"] += found.pss / MEGABYTE
        return sizes

    def stop(self) -> None:
        """Ask all processes to end, and kill what is left after STOP_SECONDS."""
        members = [one for process, children in self.families() for one in (process, *children)]
        for root in self.roots:
            if root.poll() is None:
                root.terminate()
        _, alive = psutil.wait_procs(members, timeout=STOP_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for root in self.roots:
            root.wait()


@contextmanager
def running(contender: Contender, redis_url: str, folder: Path) -> Iterator[Worker]:
    """Run a worker; it has ended when the context ends, whatever happened."""
    worker = Worker(contender, folder / f"{contender.name}.log", time.monotonic())
    with worker.log.open("wb") as output:
        try:
            for command in contender.commands:
                # A session of its own: Ctrl-C reaches the bench alone, which then ends it.
                worker.roots.append(
                    subprocess.Popen(
                        command,
                        env=environment(redis_url),
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
            yield worker
        finally:
            worker.stop()


@dataclass(frozen=True)
class Sample:
    """What is known at one moment. Counts and seconds only ever grow, so samples subtract."""

    at: float
    #: Tasks not yet acknowledged.
    backlog: int
    #: Commands that Redis ran, by name, those inside scripts and transactions too.
    commands: dict[str, int]
    #: Times that Redis read from a connection: near to the number of round trips.
    reads: int
    bytes_in: int
    bytes_out: int
    aof_bytes: int
    #: Seconds of CPU time.
    cpu_main: float
    cpu_children: float
    cpu_redis: float


def sample(client: redis.Redis, worker: Worker) -> Sample:
    """Look at the worker and at Redis."""
    left, info, at = backlog(client, worker.contender), client.info("everything"), time.monotonic()
    main, children = worker.cpu_seconds()
    return Sample(
        at=at,
        backlog=left,
        commands={
            name.removeprefix("cmdstat_"): found["calls"]
            for name, found in info.items()
            if name.startswith("cmdstat_")
        },
        reads=info["total_reads_processed"],
        bytes_in=info["total_net_input_bytes"],
        bytes_out=info["total_net_output_bytes"],
        aof_bytes=info["aof_current_size"],
        cpu_main=main,
        cpu_children=children,
        cpu_redis=info["used_cpu_user"] + info["used_cpu_sys"],
    )


def backlog(client: redis.Redis, contender: Contender) -> int:
    """Return how many tasks are not yet acknowledged, in one round trip."""
    with client.pipeline(transaction=False) as pipe:
        for key, command in contender.backlog.items():
            pipe.execute_command(command, key)  # type: ignore[no-untyped-call]
        return sum(pipe.execute())


def commands_between(
    first: Sample, last: Sample, contender: Contender, looks: int
) -> dict[str, int]:
    """Return how often the worker's commands ran between two samples.

    `looks` is how often `backlog` was called in between: that is not the worker's doing, nor is
    the INFO of the first sample.
    """
    counts = {name: calls - first.commands.get(name, 0) for name, calls in last.commands.items()}
    counts["info"] = 0
    for command in contender.backlog.values():
        # The last sample looks too; the first one's look is in both counts.
        counts[command.lower()] = counts.get(command.lower(), 0) - looks - 1
    return {name: calls for name, calls in counts.items() if calls > 0}
