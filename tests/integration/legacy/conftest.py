"""Real processes on a schedule of seconds: APIs, beats and workers."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from nova.runtime.heartbeat import read_workers
from scripts.local.redis_server import free_port
from tests.conftest import CELERY, wait_until

APP = "tests.integration.legacy.short_app"
NOTE_TASK = "nova.maintenance.note_task"


@dataclass
class Process:
    """One process of Nova."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def says(self, what: str) -> bool:
        """Whether its output has a text; one that ended by itself is a failure."""
        assert self.process.poll() is None, self.log.read_text()
        return what in self.log.read_text()

    def serves(self) -> bool:
        """Whether an API answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Stop it as systemd does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=40)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()


class Fleet:
    """Starts processes with one schedule."""

    def __init__(self, environment: dict[str, str], folder: Path, entries: dict[str, Any]) -> None:
        self.environment = environment | {"SHORT_ENTRIES": json.dumps(entries)}
        self.folder = folder
        self.processes: list[Process] = []

    def api(self, mode: str) -> Process:
        """Start an API, which serves when it is given."""
        port = str(free_port())
        api = self._start([sys.executable, "-m", APP], NOVA_SCHEDULER=mode, NOVA_API_PORT=port)
        api.url = f"http://127.0.0.1:{port}"
        wait_until(api.serves, api.log.read_text)
        return api

    def beat(self, mode: str) -> Process:
        """Start a beat."""
        return self._start([CELERY, "-A", APP, "beat", "--loglevel=INFO"], NOVA_SCHEDULER=mode)

    def worker(self, client: redis.Redis) -> Process:
        """Start a worker that serves every queue, online when it is given."""
        command = [CELERY, "-A", APP, "worker", "--concurrency=2", "--hostname=short@%h"]
        worker = self._start(command)
        wait_until(lambda: read_workers(client), worker.log.read_text)
        return worker

    def _start(self, command: list[str], **variables: str) -> Process:
        log = self.folder / f"process-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self.environment | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(Process(process, log))
        return self.processes[-1]


StartFleet = Callable[[dict[str, Any]], Fleet]


@pytest.fixture
def start_fleet(
    client: redis.Redis, process_environment: dict[str, str], tmp_path: Path
) -> Iterator[StartFleet]:
    """Make fleets with entries of their own; Redis is empty when the test begins."""
    fleets: list[Fleet] = []

    def start(entries: dict[str, Any]) -> Fleet:
        fleets.append(Fleet(process_environment, tmp_path, entries))
        return fleets[-1]

    yield start
    for fleet in fleets:
        for process in fleet.processes:
            if process.process.poll() is None:
                process.kill()
