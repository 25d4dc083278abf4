"""Measures analytics: a new day on top of a month, the same day again, and after a late change.

Prints markdown tables. Run it from the project's root: .venv/bin/python -m bench analytics
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import redis

from bench.bench_governance import metrics_of_day, peak_kib
from nova.analytics.service import process_day
from nova.channels import day_score
from nova.settings import Settings
from nova.store import Keys, connect
from nova.videos import FIELDS, VideoSource, field, pack_row
from scripts.local.redis_server import LocalRedis

SIZES = (10_000, 100_000)
#: A Sunday: its week has seven days, its month 29, and the month before has one.
LAST_DAY = date(2026, 3, 29)
DAYS = 30
CATEGORIES = (1, 10, 17, 20, 22, 24, 25, 28)


def fill(client: redis.Redis, day: date, channels: int, seed: int) -> None:
    """Store a day of channels, each with one video in a category."""
    random = np.random.default_rng(seed)
    names = [f"UC{number:022}" for number in range(channels)]
    metrics = metrics_of_day(random, channels).astype("<f8")
    categories = random.choice(CATEGORIES, channels).tolist()
    keys = (Keys.metric_day(day), Keys.video_day(day))
    for start in range(0, channels, 10_000):
        part = range(start, min(start + 10_000, channels))
        client.hset(keys[0], mapping={names[row]: metrics[row].tobytes() for row in part})
        videos = {
            field(VideoSource.TRENDING, f"v{row:010}"): pack_row(
                [
                    {"title": "A title", "channel": names[row], "category": categories[row]}.get(
                        name, 100 if name == "views" else None
                    )
                    for name in FIELDS
                ]
            )
            for row in part
        }
        client.hset(keys[1], items=[part for pair in videos.items() for part in pair])
    for key, index in zip(keys, (Keys.METRIC_DAYS, Keys.VIDEO_DAYS), strict=True):
        client.zadd(index, {day.isoformat(): day_score(day)})
        client.hincrby(Keys.DAY_WRITES, key, 1)


def redis_cpu(client: redis.Redis) -> float:
    """Return the CPU seconds that the server has used so far."""
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def run_once(url: str) -> None:
    """Process the last day in this process and print what it took, as JSON."""
    settings = Settings.model_validate({"REDIS_URL": url})
    idle_kib = peak_kib()
    with connect(settings) as client:
        start, start_cpu, start_redis = time.perf_counter(), time.process_time(), redis_cpu(client)
        report = process_day(client, settings, "bench")
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        cpu_of_redis = redis_cpu(client) - start_redis
    if report is None:
        raise SystemExit("the server holds no channel metrics")
    peak = peak_kib()
    megabytes = {"peak_mb": peak * 1024 / 1e6, "alone_mb": (peak - idle_kib) * 1024 / 1e6}
    print(json.dumps({"seconds": seconds, "cpu": cpu, "redis": cpu_of_redis, **megabytes}))


def measure(url: str, channels: int, what: str) -> None:
    """Run once in a process of its own, and print a row."""
    command = [sys.executable, "-m", "bench.bench_analytics", "--run", url]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    numbers = [f"{found[name]:.2f}" for name in ("seconds", "cpu", "redis")]
    numbers += [f"{found[name]:.0f}" for name in ("peak_mb", "alone_mb")]
    print(f"| {channels:,} | {what} | {' | '.join(numbers)} |", flush=True)


def bench(channels: int, days: int) -> None:
    """Measure one size, on a Redis of its own."""
    with tempfile.TemporaryDirectory() as folder, LocalRedis.create(Path(folder)) as server:
        settings = Settings.model_validate({"REDIS_URL": server.url})
        with connect(settings, timeout_seconds=60) as client:
            for offset in range(days - 1, 0, -1):
                fill(client, LAST_DAY - timedelta(days=offset), channels, seed=offset)
            measure(server.url, channels, f"first run: {days - 1} days at once")
            fill(client, LAST_DAY, channels, seed=0)
            measure(server.url, channels, "every night: one new day")
            measure(server.url, channels, "again: nothing has changed")
            fill(client, LAST_DAY, channels, seed=99)
            measure(server.url, channels, "late change: its week and month anew")
            used = client.info("memory")["used_memory"] / 1e6
            keys = client.scan_iter("nova:analytics:*")
            kept = sum(client.memory_usage(key) or 0 for key in keys) / 1e6
    print(f"\n{channels:,} channels: Redis holds {used:,.0f} MB, of it analytics {kept:,.0f} MB\n")


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, nargs="+", default=SIZES)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--run", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_once(options.run)
        return
    for size in options.channels:
        headings = "channels|run|seconds|CPU seconds|those of Redis|peak RSS, MB|run alone, MB"
        print(f"| {headings.replace('|', ' | ')} |")
        print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
        bench(size, options.days)


if __name__ == "__main__":
    main()
