"""Runs every benchmark and writes docs/benchmarks.md: `make bench`."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

import nova
from scripts.local.redis_server import find_redis_server

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"

#: Heading -> module, options, and what the numbers were asked to be.
BENCHMARKS = {
    "Governance": (
        ["bench.bench_governance"],
        "Asked for: scoring 100,000 channels over 28 days in under 2 s, linear; from Redis to the "
        "stored report in under 10 s and 1 GB.",
    ),
    "Ingest": (
        ["bench.bench_ingest", "--megabytes", "500"],
        "Asked for: a 500 MB file in under 200 MB of memory; the same file twice changes nothing.",
    ),
}


def machine() -> str:
    """Describe what the numbers were measured on."""
    redis = subprocess.run(
        [find_redis_server(), "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[2]
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Nova {nova.__release__}, Python {platform.python_version()}, Redis {redis[2:]}, "
        f"{os.cpu_count()} cores, {memory:.0f} GiB of memory, {datetime.now(UTC):%Y-%m-%d}."
    )


def run(arguments: list[str]) -> str:
    """Run one benchmark, show its output as it comes, and return it."""
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
    if process.returncode:
        sys.exit(process.returncode)
    return "".join(lines).strip()


def main() -> None:
    """Run all, then write the page."""
    parts = [
        "# Benchmarks",
        "<!-- Written by `make bench`. -->",
        f"{machine()} The machine is shared; compare numbers of one run with each other.",
    ]
    for heading, (arguments, asked) in BENCHMARKS.items():
        command = f"    .venv/bin/python -m {' '.join(arguments)}"
        parts += [f"## {heading}", asked, command, run(arguments)]
    PAGE.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
