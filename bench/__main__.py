"""Runs the benchmarks: `make bench` runs all and writes docs/benchmarks.md.

python -m bench                          all, and write the page
python -m bench NAME [options]           one of NAMES, and print it
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

import nova
from bench import interrupts
from bench.page import PAGE, section_of
from scripts.local.redis_server import find_redis_server

ROOT = Path(__file__).resolve().parent.parent
#: `fleet` takes hours and Docker: `make bench-fleet` runs it, and writes its own section.
NAMES = ("analytics", "api", "fleet", "governance", "ingest", "maintenance", "metrics", "runtime")

#: Heading -> name, options, and what the numbers were asked to be.
BENCHMARKS = {
    "Runtime": (
        ["runtime"],
        "Asked for: 1.25 x the tasks per second of stock Celery at equal settings, never fewer "
        "than stock, and arq's rate; a task starts within 50 ms (p99) of its publishing; one "
        "publish does not wake all idle workers.\n\n"
        "*Stock Celery, equal settings* has Nova's settings for safety (late acknowledgement, "
        "rejection when a process dies, prefetch 1, results, started state, time limits, 100 "
        "tasks per process) and none of Nova's code. Every worker has two processes. arq's rate is "
        "not reached: arq runs jobs as coroutines in the process that fetches them. Celery's main "
        "process hands each task to a child, which can be killed, limited in time and replaced, "
        "and takes its result back; both processes' time is in the table of costs. Ratios are "
        "medians of the ratios of rounds run side by side; in brackets lowest and highest.",
    ),
    "Runtime: where the time goes": (
        ["runtime", "--profile"],
        "Samples of the stacks while a queue is drained, in percent of each worker's CPU time.",
    ),
    "Metrics": (
        ["metrics"],
        "What counting costs a task, and what it costs to show the counts.",
    ),
    "Governance": (
        ["governance"],
        "Asked for: scoring 100,000 channels over 28 days in under 2 s, linear; from Redis to the "
        "stored report in under 10 s and 1 GB.",
    ),
    "Analytics": (
        ["analytics"],
        "Asked for: a day of 100,000 channels in under 5 s. *Every night* is that run, from Redis "
        "to the stored report; each run is a process of its own.",
    ),
    "API": (
        ["api"],
        "Asked for: `GET /api/celery/status` with 50 workers in under 20 ms (p99).",
    ),
    "Ingest": (
        ["ingest", "--megabytes", "500"],
        "Asked for: a 500 MB file in under 200 MB of memory; the same file twice changes nothing.",
    ),
    "Maintenance": (
        ["maintenance", "--keys", "1000000"],
        "Asked for: a cleanup never keeps Redis from others for more than 5 ms, on a million keys. "
        "The slow log times each command alone; what another client waits for includes the noise "
        "of the machine, as the row shows in which nothing runs.",
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


def command(arguments: list[str]) -> list[str]:
    """Return the options that make Python run one benchmark."""
    name, *options = arguments
    return ["-m", f"bench.bench_{name}", *options]


def run(arguments: list[str]) -> str:
    """Run one benchmark, show its output as it comes, and return it."""
    lines = []
    with subprocess.Popen(
        [sys.executable, *command(arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                sys.stdout.write(line)
                sys.stdout.flush()
                lines.append(line)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            sys.exit(130)
    if process.returncode:
        sys.exit(process.returncode)
    return "".join(lines).strip()


def write_page() -> None:
    """Run all, then write the page; the section of `make bench-fleet` stays as it is."""
    parts = [
        "# Benchmarks",
        "<!-- Written by `make bench`. -->",
        f"{machine()} The machine is shared; compare numbers of one run with each other.",
    ]
    for heading, (arguments, asked) in BENCHMARKS.items():
        shown = f"    .venv/bin/python -m bench {' '.join(arguments)}"
        parts += [f"## {heading}", asked, shown, run(arguments)]
    parts += filter(None, [section_of(PAGE.read_text())])
    PAGE.write_text("\n\n".join(parts) + "\n")


def main() -> None:
    """Run what the command line names; all without a name."""
    arguments = sys.argv[1:]
    if not arguments:
        interrupts.install()
        write_page()
    elif arguments[0] in NAMES:
        os.execv(sys.executable, [sys.executable, *command(arguments)])  # noqa: S606 - no shell is wanted
    else:
        sys.exit(f"nova: no benchmark {arguments[0]!r}; there are {', '.join(NAMES)}")


if __name__ == "__main__":
    main()
