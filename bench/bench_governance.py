"""Measures governance: scoring alone, and a whole run from Redis to the stored report.

Prints markdown tables. Run it from the project's root: .venv/bin/python -m bench governance
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nova.channels import METRIC_NAMES, day_score
from nova.governance.policy import load_policy
from nova.governance.scoring import INPUT_METRICS, score_channels
from nova.governance.service import run_governance
from nova.governance.window import estimate_memory_mb
from nova.settings import Settings
from nova.store import Keys, connect
from scripts.local.redis_server import LocalRedis

DAYS = 28
SIZES = (10_000, 50_000, 100_000)
REPEATS = 5
LAST_DAY = date(2026, 3, 28)


def metrics_of_day(random: np.random.Generator, channels: int) -> NDArray[np.float64]:
    """Return one day like a real one, shape (channels, metrics): heavy tails, gaps."""
    values = random.lognormal(5, 2, (channels, len(METRIC_NAMES)))
    values[:, METRIC_NAMES.index("ctr")] = random.uniform(0, 20, channels)
    values[random.random(values.shape) < 0.1] = np.nan
    return values


def bench_scoring() -> None:
    """Time scoring alone for each size."""
    policy = load_policy(Settings.model_validate({"REDIS_URL": "redis://localhost"}))
    random = np.random.default_rng(1)
    print(f"Scoring alone, {DAYS} days, median of {REPEATS}\n")
    print("| channels | seconds | microseconds per channel |")
    print("| ---: | ---: | ---: |")
    for channels in SIZES:
        days = np.stack([metrics_of_day(random, channels) for _ in range(DAYS)])
        window = {
            name: np.ascontiguousarray(days[:, :, METRIC_NAMES.index(name)])
            for name in INPUT_METRICS
        }
        del days
        seconds = statistics.median(time_of(score_channels, window, policy) for _ in range(REPEATS))
        print(f"| {channels:,} | {seconds:.3f} | {seconds / channels * 1e6:.1f} |")
    print()


def time_of(function: Callable[..., object], *arguments: object) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def fill(url: str, channels: int) -> None:
    """Store a window of days in Redis."""
    random = np.random.default_rng(2)
    names = [f"UC{number:022}" for number in range(channels)]
    with connect(Settings.model_validate({"REDIS_URL": url})) as client:
        for offset in range(DAYS):
            day = LAST_DAY - timedelta(days=offset)
            records = [row.tobytes() for row in metrics_of_day(random, channels).astype("<f8")]
            for start in range(0, channels, 10_000):
                part = slice(start, start + 10_000)
                rows = dict(zip(names[part], records[part], strict=True))
                client.hset(Keys.metric_day(day), mapping=rows)
            client.zadd(Keys.METRIC_DAYS, {day.isoformat(): day_score(day)})


def peak_kib() -> int:
    """Return the most memory that this process ever held, in KiB.

    getrusage would also count what the parent held when it started this process.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0])


def run_once(url: str) -> None:
    """Run governance in this process and print what it took, as JSON."""
    settings = Settings.model_validate({"REDIS_URL": url})
    idle_kib = peak_kib()
    with connect(settings) as client:
        start, start_cpu = time.perf_counter(), time.process_time()
        report = run_governance(client, settings, "bench", auto_actions=True)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    if report is None:
        raise SystemExit("the server holds no channel metrics")
    flagged = report.counts.promote + report.counts.watch + report.counts.retire
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": cpu,
                "peak_mb": peak_kib() * 1024 / 1e6,
                "idle_mb": idle_kib * 1024 / 1e6,
                "judged": report.channels_judged,
                "flagged": flagged,
            }
        )
    )


def bench_run() -> None:
    """Time a whole run for each size, each in a process of its own."""
    print(f"From Redis to the stored report, {DAYS} days, one process\n")
    headings = "channels|flagged|seconds|CPU seconds|peak RSS, MB|run alone, MB|estimated, MB"
    print(f"| {headings.replace('|', ' | ')} |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for channels in SIZES:
        with tempfile.TemporaryDirectory() as folder, LocalRedis.create(Path(folder)) as server:
            fill(server.url, channels)
            output = subprocess.run(
                [sys.executable, __file__, server.url], check=True, stdout=subprocess.PIPE
            ).stdout
        found = json.loads(output)
        print(
            f"| {channels:,} | {found['flagged']:,} | {found['seconds']:.2f} | {found['cpu']:.2f} "
            f"| {found['peak_mb']:.0f} | {found['peak_mb'] - found['idle_mb']:.0f} "
            f"| {estimate_memory_mb(channels, DAYS):.0f} |"
        )
    print()


if __name__ == "__main__":
    if sys.argv[1:]:
        run_once(sys.argv[1])
    else:
        bench_scoring()
        bench_run()
