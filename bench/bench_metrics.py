"""What it costs to count a task: time in the worker's main process, and commands of Redis.

python -m bench metrics [--tasks N]
"""

import argparse
import tempfile
import time
from pathlib import Path

import redis

from bench.figures import spread
from nova.metrics import render
from nova.runtime.counts import Counts
from nova.runtime.handover import INTERVAL_SECONDS, Handover
from scripts.local.redis_server import LocalRedis

ROUNDS = 5
TASK, QUEUE, WORKERS = "nova.trends.scan_task", "trends", 50


def count_task(counts: Counts) -> None:
    """Count what `NovaRequest` counts for a task that succeeds."""
    counts.event("received", TASK, QUEUE)
    counts.event("started", TASK, QUEUE)
    counts.wait(QUEUE, 0.003)
    counts.event("succeeded", TASK, QUEUE)
    counts.runtime(TASK, "succeeded", 0.7)


def microseconds_per_task(counts: Counts, tasks: int) -> float:
    """Return the time that counting takes."""
    begin = time.perf_counter()
    for _ in range(tasks):
        count_task(counts)
    return (time.perf_counter() - begin) / tasks * 1e6


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Measure what counting costs.")
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks of each round")
    options = parser.parse_args()
    counts = Counts()
    rounds = [microseconds_per_task(counts, options.tasks) for _ in range(ROUNDS)]
    with (
        tempfile.TemporaryDirectory(prefix="nova-bench-") as folder,
        LocalRedis.create(Path(folder)) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        sender = Handover(client, counts, f"{QUEUE}@host0")
        sender.send()
        times = []
        for _ in range(ROUNDS):
            count_task(counts)
            begin = time.perf_counter()
            sender.send()
            times.append((time.perf_counter() - begin) * 1000)
        for number in range(1, WORKERS):
            other = Counts()
            count_task(other)
            Handover(client, other, f"{QUEUE}@host{number}").send()
        begin = time.perf_counter()
        page = render(client)
        first = (time.perf_counter() - begin) * 1000
        begin = time.perf_counter()
        render(client)
        again = (time.perf_counter() - begin) * 1000
    lines = sum(not line.startswith(b"#") for line in page.splitlines())
    print("| what | cost |\n| --- | ---: |")
    print(f"| counting a task, µs of the main process | {spread(rounds).show(1)} |")
    print("| commands of Redis per task | 0 |")
    print(f"| handing over, calls of Redis per worker in {INTERVAL_SECONDS:.0f} s | 1 |")
    print(f"| one call, ms, in a thread | {spread(times).show(2)} |")
    print(f"| rendering `/metrics` of {WORKERS} workers, ms | {again:.0f} (first: {first:.0f}) |")
    print(f"| its samples | {lines:,} |")


if __name__ == "__main__":
    main()
