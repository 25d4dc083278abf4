"""Measures how long maintenance keeps Redis from others while it cleans up many keys.

Two witnesses: Redis' own slow log, which times every command and script, and a second process that
asks Redis for an answer up to a thousand times a second. The same process first watches a Redis
that does nothing, for the noise of the machine. Where that is allowed (root), Redis and the second
process run before all else on the machine: what others do there is not what is measured.

    .venv/bin/python -m bench maintenance --keys 1000000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
import redis

from bench.figures import percentile
from nova.channels import day_score
from nova.maintenance.models import in_bytes
from nova.maintenance.service import clean
from nova.settings import Settings
from nova.store import Keys, connect
from scripts.local.redis_server import LocalRedis

#: Seconds for which an idle Redis is watched.
IDLE_SECONDS = 5.0
PROBE_PAUSE_SECONDS = 0.001
#: What the slow log keeps, and what no command may take.
SLOW_MICROSECONDS = 1000
LIMIT_MICROSECONDS = 5000
BATCH = 1000
CHANNELS_A_DAY = 100_000
DAYS = 5
DAYS_KEPT = 2
LAST_DAY = date(2026, 3, 28)
RESULT = "{}" * 100
PAGE = bytes(1000)


def settings_for(url: str, pages: int) -> Settings:
    """Return a policy by which old memory, half of the pages and three of five days go."""
    return Settings.model_validate(
        {
            "REDIS_URL": url,
            "NOVA_METRIC_RETENTION_DAYS": DAYS_KEPT,
            "NOVA_AGENT_MEMORY_DAYS": 1,
            "NOVA_CACHE_MAX_MB": int(pages / 2 * 1.5 * len(PAGE) / 1e6),
        }
    )


def fill(client: redis.Redis, keys: int) -> None:
    """Store so many keys, entries of agent memory for half as many more, and days of channels.

    Of ten keys three are results that expire and two are runs, which stay; four are old results
    that would never expire, and one is a page of 1 kB.
    """
    client.set("value", RESULT)
    old_result = client.dump("value")
    client.delete("value")
    tenth, (now, _) = keys // 10, client.time()
    for batch in batches(keys // 2):
        with client.pipeline(transaction=False) as pipe:
            for number in batch:
                _store(pipe, number, tenth, now, old_result)
            pipe.execute()
    client.sadd(Keys.MEMORY_NAMESPACES, "trends")
    for offset in range(DAYS):
        _store_day(client, LAST_DAY - timedelta(days=offset))


def _store(pipe: Any, number: int, tenth: int, now: float, old_result: Any) -> None:
    """Store what is of this number: two keys, and an entry of agent memory."""
    if number < 4 * tenth:
        pipe.restore(Keys.result(f"old{number}"), 0, old_result, idletime=100_000)
    else:
        page = str(number)
        pipe.hset(Keys.cached_page(page), mapping={"url": page, "etag": page, "body": PAGE})
        pipe.expire(Keys.cached_page(page), 86400)
        pipe.zadd(Keys.HTTP_CACHE, {page: now - number / 1000})
    if number < 3 * tenth:
        pipe.set(Keys.result(f"young{number}"), RESULT, ex=86400)
    else:
        pipe.hset(Keys.issued_task(str(number)), "name", "nova.health_check")
    pipe.hset(Keys.memory("trends"), str(number), RESULT)
    pipe.zadd(Keys.MEMORY_INDEX, {f"trends:{number}": now - 10 * 86400})


def _store_day(client: redis.Redis, day: date) -> None:
    for batch in batches(CHANNELS_A_DAY):
        record = bytes(80)
        client.hset(Keys.metric_day(day), mapping={f"UC{n:022}": record for n in batch})
    client.zadd(Keys.METRIC_DAYS, {day.isoformat(): day_score(day)})


def batches(number: int) -> Iterator[range]:
    """Return the numbers below one, some at a time."""
    for start in range(0, number, BATCH):
        yield range(start, min(start + BATCH, number))


def prefer(process: psutil.Process) -> None:
    """Let a process, with all its threads, run before others, where that is allowed."""
    with suppress(PermissionError):
        for thread in process.threads():
            os.sched_setscheduler(thread.id, os.SCHED_FIFO, os.sched_param(1))


# --- The second process


def probe(url: str) -> None:
    """Ask Redis for an answer until it is told to stop; print how long each took, in ms."""
    waits = []
    prefer(psutil.Process())
    with connect(Settings.model_validate({"REDIS_URL": url})) as client:
        client.ping()
        print("ready", flush=True)
        while not client.exists("bench:stop"):
            start = time.perf_counter()
            client.ping()
            waits.append((time.perf_counter() - start) * 1000)
            time.sleep(PROBE_PAUSE_SECONDS)
    print(json.dumps(waits))


@contextmanager
def watched(url: str, client: redis.Redis) -> Iterator[list[float]]:
    """Watch what is done inside; the list then has how long each answer took, in ms."""
    waits: list[float] = []
    command = [sys.executable, "-m", "bench.bench_maintenance", "--probe", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout
        if output is None or output.readline() != "ready\n":
            sys.exit("the probe did not start")
        yield waits
        client.set("bench:stop", "1")
        waits += json.loads(output.read())
    client.delete("bench:stop")


def show_waits(name: str, waits: Sequence[float]) -> None:
    """Print a row about how long another client waited."""
    figures = (percentile(waits, 50), percentile(waits, 99), percentile(waits, 99.9), max(waits))
    cells = " | ".join(f"{figure:.2f}" for figure in figures)
    over = sum(wait * 1000 > LIMIT_MICROSECONDS for wait in waits)
    print(f"| {name} | {len(waits):,} | {cells} | {over} |")


# --- The measurement


def measure(keys: int) -> None:
    """Fill a Redis of its own, clean it up, and print what it took."""
    with tempfile.TemporaryDirectory() as folder, LocalRedis.create(Path(folder)) as server:
        settings = settings_for(server.url, keys // 10)
        with connect(settings) as client:
            prefer(psutil.Process(client.info("server")["process_id"]))
            fill(client, keys)
            # To write its file anew Redis copies itself, which takes milliseconds at this size.
            client.config_set("auto-aof-rewrite-percentage", 0)
            print(f"{keys:,} keys, {client.zcard(Keys.MEMORY_INDEX):,} entries of agent memory\n")
            print(
                "| another client's wait, ms | answers | median | p99 | p99.9 | longest | > 5 ms |"
            )
            print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
            with watched(server.url, client) as idle:
                time.sleep(IDLE_SECONDS)
            show_waits("nothing runs", idle)
            runs = [_run(server.url, client, settings, dry_run) for dry_run in (True, False)]
    print("\n| run | seconds | looked at | removed | slowest command, ms | > 5 ms |")
    print("| --- | ---: | ---: | --- | ---: | ---: |")
    print("\n".join(runs))


def _run(url: str, client: redis.Redis, settings: Settings, dry_run: bool) -> str:
    client.config_set("slowlog-log-slower-than", SLOW_MICROSECONDS)
    client.config_set("slowlog-max-len", 100_000)
    client.slowlog_reset()
    name = "dry run" if dry_run else "cleanup"
    with watched(url, client) as waits:
        start = time.perf_counter()
        report = clean(client, settings, "bench", dry_run=dry_run)
        seconds = time.perf_counter() - start
    show_waits(name, waits)
    slow = [entry["duration"] for entry in client.slowlog_get(100_000)]
    slowest = f"{max(slow) / 1000:.2f}" if slow else f"under {SLOW_MICROSECONDS / 1000:.0f}"
    removed = f"{report.removed.count:,} ({in_bytes(report.removed.bytes)})"
    over = sum(duration > LIMIT_MICROSECONDS for duration in slow)
    return (
        f"| {name} | {seconds:.1f} | {report.basis.rows:,} | {removed} | {slowest} "
        f"(over 1: {len(slow)}) | {over} |"
    )


def main() -> None:
    """Measure, or watch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--probe", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        probe(arguments.probe)
    else:
        measure(arguments.keys)


if __name__ == "__main__":
    main()
