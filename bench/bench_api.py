"""Measures the API: how long `GET /api/celery/status` takes with the heartbeats of 50 workers.

A real API process on a private Redis, asked over connections that stay open. Prints a markdown
table. Run it from the project's root: .venv/bin/python -m bench api
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil

import nova
from bench.figures import percentile
from nova.api.security import Role, TokenIssuer
from nova.queues import QUEUES
from nova.runtime.heartbeat import WorkerHeartbeat
from nova.runtime.issued import note_recent
from nova.settings import Settings
from nova.store import Keys, connect
from scripts.local.redis_server import LocalRedis, free_port

WORKERS = 50
REQUESTS = 2000
CLIENTS = (1, 4)
PATHS = ("/api/celery/status", "/api/celery/queues", "/api/celery/tasks")
TASKS = 1000
SECRET = os.urandom(32).hex()
START_SECONDS = 30


def fill(settings: Settings) -> None:
    """Leave heartbeats as workers do, and notes of tasks as publishers do."""
    now = datetime.now(UTC)
    with connect(settings) as client, client.pipeline() as pipe:
        for number in range(WORKERS):
            beat = WorkerHeartbeat(
                name=f"worker-{number:02}@nova{number % 5}",
                pid=1000 + number,
                release=nova.__release__,
                queues=[*QUEUES, f"worker-{number:02}@nova{number % 5}.dq2"],
                concurrency=4,
                active=2,
                held={"trends": 2},
                started_at=now,
                at=now,
            )
            pipe.set(Keys.worker(beat.name), beat.model_dump_json(), ex=3600)
            pipe.zadd(Keys.WORKERS, {beat.name: now.timestamp()})
        for number in range(TASKS):
            note = {"name": "nova.bench", "queue": "trends", "published_at": now.isoformat()}
            pipe.hset(Keys.issued_task(f"task-{number}"), mapping=note)
            note_recent(pipe, f"task-{number}")
        pipe.execute()


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    """Run an API process; yield where it serves, and the process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "nova", "api"],
        env=environment | {"NOVA_API_PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    sys.exit(f"nova: the API does not serve after {START_SECONDS} s")


def measure(url: str, path: str, token: str, clients: int) -> list[float]:
    """Return the seconds that each of REQUESTS requests took, by so many clients at once."""
    seconds: list[float] = []

    def ask() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers) as client:
            client.get(path)
            for _ in range(REQUESTS // clients):
                start = time.perf_counter()
                answer = client.get(path)
                seconds.append(time.perf_counter() - start)
                answer.raise_for_status()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measure, and print."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalRedis.create(Path(folder)) as server,
    ):
        environment = os.environ | {
            "REDIS_URL": server.url,
            "JWT_SECRET_KEY": SECRET,
            "NOVA_API_RATE_LIMIT": "100000",
        }
        settings = Settings.model_validate(environment)
        fill(settings)
        token = TokenIssuer(settings).issue("bench", Role.VIEWER, timedelta(hours=1)).text
        print(f"{WORKERS} workers, {TASKS:,} tasks, {REQUESTS:,} requests each, milliseconds\n")
        print("| call | clients | p50 | p99 | longest | CPU of the API |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        with serving(environment) as (url, process):
            for path in PATHS:
                for clients in CLIENTS:
                    before = cpu_seconds(process)
                    taken = measure(url, path, token, clients)
                    cpu = (cpu_seconds(process) - before) / len(taken)
                    numbers = (percentile(taken, 50), percentile(taken, 99), max(taken), cpu)
                    shown = " | ".join(f"{1000 * number:.1f}" for number in numbers)
                    print(f"| `{path}` | {clients} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
