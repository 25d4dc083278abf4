"""Ingest a large file of Nova's own CSV into a private Redis; print time, rate and memory.

    python bench/bench_ingest.py                   500 MB, ordered by day
    python bench/bench_ingest.py --megabytes 20    a quick look
    python bench/bench_ingest.py --order channel   the order that costs the scratch table most

`nova ingest` runs as a process of its own, so that the peak memory is its alone. It runs a
second time on the same file, which then changes nothing.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nova.channels import METRIC_NAMES  # noqa: E402 - found through the line above
from scripts.local.redis_server import LocalRedis  # noqa: E402

CHANNELS = 100_000
FIRST_DAY = date(2025, 1, 1)
#: Rows differ by their beginning; drawing every number anew would take longer than ingesting.
TAILS = 1000
MEGABYTE = 1_000_000


def make_tails() -> list[str]:
    """Return what stands after day and channel in a row, drawn from a fixed seed."""
    draw = random.Random(1)  # noqa: S311 - nothing here is a secret
    tails = []
    for _ in range(TAILS):
        views = round(draw.lognormvariate(9, 2))
        numbers: list[float] = [views, views // 29, views // 211, views // 173, views // 301 - 20]
        hours, impressions, ctr = round(views * 0.06, 1), views * 16, round(draw.uniform(1, 12), 2)
        rpm = round(draw.uniform(1, 8), 3)
        numbers += [hours, impressions, ctr, rpm, round(views * rpm / 1000, 2)]
        tails.append(",".join(map(str, numbers)) + "\n")
    return tails


def rows(megabytes: int, order: str) -> Iterator[str]:
    """Return rows of about as many megabytes, each channel and day once."""
    tails = make_tails()
    average = sum(map(len, tails)) / TAILS + len("2025-01-01,channel-000001,")
    days = max(1, round(megabytes * MEGABYTE / average / CHANNELS))
    channels = min(CHANNELS, round(megabytes * MEGABYTE / average))
    labels = [(FIRST_DAY + timedelta(days=day)).isoformat() for day in range(days)]
    if order == "day":
        pairs = ((label, channel) for label in labels for channel in range(channels))
    else:
        pairs = ((label, channel) for channel in range(channels) for label in labels)
    for place, (label, channel) in enumerate(pairs):
        yield f"{label},channel-{channel:06},{tails[place * 7 % TAILS]}"


@dataclass(frozen=True)
class Run:
    """What one run took: seconds, seconds of its own CPU time, and bytes of memory at the peak."""

    seconds: float
    cpu_seconds: float
    peak: int
    result: dict[str, Any]


def run(file: Path, url: str) -> Run:
    """Ingest a file in a process of its own."""
    command = [sys.executable, "-m", "nova", "ingest", str(file), "--json"]
    environment = os.environ | {"REDIS_URL": url, "PYTHONPATH": str(ROOT)}
    begin = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - asked for one line above
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    seconds = time.monotonic() - begin
    return Run(seconds, cpu_seconds, usage.ru_maxrss * 1024, json.loads(output))


def main() -> None:
    """Make the file, ingest it twice, print a table."""
    parser = argparse.ArgumentParser(description="Measure nova ingest.")
    parser.add_argument("--megabytes", type=int, default=500, help="size of the file")
    parser.add_argument("--order", choices=("day", "channel"), default="day")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nova-bench-") as folder:
        file = Path(folder) / "metrics.csv"
        with file.open("w", encoding="utf-8") as output:
            output.write(",".join(("day", "channel", *METRIC_NAMES)) + "\n")
            output.writelines(rows(options.megabytes, options.order))
        size = file.stat().st_size / MEGABYTE
        print(f"`nova ingest`, {size:.0f} MB of Nova CSV ordered by {options.order}\n")
        print("| run | rows | days | written | seconds | of them CPU | rows/s | peak RSS, MB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        with LocalRedis.create(Path(folder) / "redis") as server:
            for label in ("first", "same file again"):
                done = run(file, server.url)
                read, days = done.result["rows_read"], len(done.result["days"])
                written = done.result["channels_new"] + done.result["channels_changed"]
                print(
                    f"| {label} | {read:,} | {days} | {written:,} | {done.seconds:.1f} "
                    f"| {done.cpu_seconds:.1f} | {read / done.seconds:,.0f} "
                    f"| {done.peak / MEGABYTE:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
