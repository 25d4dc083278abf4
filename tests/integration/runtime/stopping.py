"""Workers of `stopping_app`, and what they have done."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu import Exchange, Queue

from nova.store import Keys
from tests.conftest import CELERY, wait_until

ROOT = Path(__file__).resolve().parents[3]
QUEUE = "trends"
#: Lists of what has started and ended: number and worker.
STARTS, ENDS = "test:starts", "test:ends"
#: Variable with the name of a file; while it exists, the event loops of workers are stuck.
STUCK_FILE = "TEST_STUCK_FILE"


@dataclass
class Worker:
    """One worker process, called `<name>@test`."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def node(self) -> str:
        """Its name in the fleet."""
        return f"{self.name}@test"

    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str) -> None:
        """Wait until it has printed something."""
        wait_until(lambda: words in self.output() or self.process.poll() is not None, self.output)
        assert words in self.output()

    def send(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to its main process."""
        self.process.send_signal(number)

    def stops_within(self, seconds: float) -> bool:
        """Whether it ends in time, with exit code 0."""
        try:
            return self.process.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            return False


@dataclass
class Fleet:
    """Workers on one Redis, and a publisher that is a stock client."""

    url: str
    environment: dict[str, str]
    folder: Path
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client: Any = redis.Redis.from_url(self.url, decode_responses=True)
        self.app = Celery("publisher", broker=self.url)

    def start(
        self, name: str, *options: str, concurrency: int = 2, ready: bool = True, **variables: str
    ) -> Worker:
        """Start a worker that serves one queue; wait until it is ready."""
        log = self.folder / f"{name}-{len(self.workers)}.log"
        command = [CELERY, "--quiet", "-A", "tests.integration.runtime.stopping_app", "worker"]
        command += [f"--queues={QUEUE}", f"--hostname={name}@test", f"--concurrency={concurrency}"]
        command += ["--without-gossip", "--without-mingle", *options]
        environment = self.environment | {"REDIS_URL": self.url} | variables
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        worker = Worker(name, process, log)
        self.workers.append(worker)
        if ready:
            worker.wait_for("ready.")
        return worker

    def publish(self, numbers: Any, seconds: float, task: str = "work", **options: Any) -> None:
        """Publish tasks that take some seconds each."""
        queue = Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)
        for number in numbers:
            name = f"nova.trends.{task}"
            self.app.send_task(name, (number, seconds), queue=queue, **options)

    def starts(self, worker: Worker | None = None) -> list[int]:
        """Numbers of the tasks that were started, by one worker or by any."""
        return self._numbers(STARTS, worker)

    def ends(self) -> list[int]:
        """Numbers of the tasks that came to their end."""
        return self._numbers(ENDS, None)

    def _numbers(self, key: str, worker: Worker | None) -> list[int]:
        notes = [note.split() for note in self.client.lrange(key, 0, -1)]
        return sorted(int(n) for n, node in notes if worker is None or node == worker.node)

    def wait_started(self, numbers: Any, worker: Worker | None = None) -> None:
        """Wait until these tasks have started."""
        wanted = set(numbers)
        wait_until(lambda: wanted <= set(self.starts(worker)), self.explain)

    def waiting(self) -> int:
        """How many messages wait in the queue."""
        return int(self.client.llen(QUEUE))

    def held(self, worker: Worker | None = None) -> list[str]:
        """Tokens of the claims that stand in Redis, of one worker or of all."""
        prefix = f"nova:{worker.node}:" if worker else "nova:"
        return [token for token in self.client.hkeys(Keys.HELD) if token.startswith(prefix)]

    def runs(self) -> list[dict[str, str]]:
        """What Redis knows about each run."""
        return [self.client.hgetall(key) for key in self.client.keys(f"{Keys.RUN_PREFIX}*")]

    def explain(self) -> str:
        """What the workers have printed."""
        return "\n".join(worker.output()[-3000:] for worker in self.workers)

    def close(self) -> None:
        """Kill what still lives."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self.client.close()
        self.app.close()


@contextmanager
def fleet_on(url: str, environment: dict[str, str], folder: Path) -> Iterator[Fleet]:
    """Workers on a Redis, which are killed at the end."""
    fleet = Fleet(url, environment, folder)
    try:
        yield fleet
    finally:
        fleet.close()


def seconds_since(begin: float) -> float:
    """Seconds since a time of `time.monotonic`."""
    return time.monotonic() - begin
