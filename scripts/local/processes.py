"""Which processes a local stack has. `make run` and `scripts/start_celery.sh` both read it here.

Their commands work in the root of a checkout, whether Nova itself is installed or only what it
needs: there Python finds the package `nova` in the current folder.
"""

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from nova.errors import ConfigurationError
from nova.queues import QUEUES

ROOT = Path(__file__).resolve().parents[2]
FLOWER_PORT = 5555
LOOPBACK = "127.0.0.1"

WORKER = "celery-worker-"


@dataclass(frozen=True)
class Process:
    """One process of the stack. Its name is that of its log file in the guide, without `.log`."""

    name: str
    command: list[str]
    #: The loopback port that it listens on, if it does.
    port: int | None = None

    @property
    def label(self) -> str:
        """Short name: of a worker, the part before the @ of its node name."""
        return self.name.removeprefix(WORKER).removeprefix("celery-")

    @property
    def is_worker(self) -> bool:
        """Whether it takes tasks."""
        return self.name.startswith(WORKER)


@dataclass(frozen=True)
class Worker:
    """What one worker serves, with how many child processes."""

    name: str
    queues: tuple[str, ...]
    concurrency: int


#: One worker for each queue, as on a fleet's hosts.
WORKER_PER_QUEUE = tuple(Worker(name, (name,), row.concurrency) for name, row in QUEUES.items())
#: The grouping of the guide's "Worker Scaling", which forgets `analysis`; `data` takes it here.
GUIDE_WORKERS = (
    Worker("gov", ("governance",), 1),
    Worker("maint", ("maintenance",), 2),
    Worker("data", ("analytics", "trends", "analysis"), 3),
)


def worker_processes(*, grouped: bool = False) -> list[Process]:
    """Return the workers: one for each queue, or those of the guide's grouping."""
    workers = GUIDE_WORKERS if grouped else WORKER_PER_QUEUE
    return [Process(f"{WORKER}{worker.name}", _worker_command(worker)) for worker in workers]


def _worker_command(worker: Worker) -> list[str]:
    return [
        *_celery("worker"),
        f"--queues={','.join(worker.queues)}",
        f"--concurrency={worker.concurrency}",
        f"--hostname={worker.name}@%h",
        "--without-gossip",
        "--without-mingle",
    ]


def beat_process() -> Process:
    """Return the scheduler."""
    return Process("celery-beat", _celery("beat"))


def api_process(port: int) -> Process:
    """Return the management API; the port comes from its settings."""
    return Process("api", [sys.executable, "-m", "nova", "api"], port)


def flower_process(port: int = FLOWER_PORT) -> Process:
    """Return Flower, which asks for no password here and so listens on loopback only."""
    options = [f"--address={LOOPBACK}", f"--port={port}"]
    return Process("flower", [sys.executable, "-m", "nova", "flower", *options], port)


def _celery(command: str) -> list[str]:
    return [sys.executable, "-m", "celery", "--quiet", "-A", "nova.celery_app", command]


def check_port(port: int, what: str, advice: str) -> None:
    """Refuse to start when somebody listens on the port already.

    Raises:
        ConfigurationError: the port is taken; the message ends with the advice.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise ConfigurationError(
                f"port {port}, which {what} needs, is taken; stop what listens there, or {advice}"
            ) from None
