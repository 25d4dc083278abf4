"""The table, on the screen and in docs/reliability.md."""

import inspect
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from rich.table import Table

import nova
from scripts.local.redis_server import find_redis_server
from tests.fault.harness import NOVA, STOCK, Outcome
from tests.fault.processes import ROOT
from tests.fault.scenarios import SCENARIOS

PAGE = ROOT / "docs" / "reliability.md"

HEADINGS = (
    "scenario",
    "published",
    "acknowledged",
    "effects",
    "started again",
    "doubled",
    "lost",
    "recovery, s",
    "bound, s",
    "verdict",
)


def row(outcome: Outcome) -> tuple[str, ...]:
    """Return one line of the table as text."""
    recovery = outcome.recovery_seconds
    numbers = (
        outcome.published,
        outcome.acknowledged,
        outcome.effects,
        outcome.repeated,
        outcome.doubled,
        outcome.lost,
    )
    verdict = "pass" if outcome.passed else "FAIL: " + ", ".join(outcome.failures)
    return (
        outcome.scenario,
        *(f"{number:,}" for number in numbers),
        "-" if recovery is None else f"{recovery:.1f}",
        f"{outcome.bound_seconds:.1f}",
        "; ".join([verdict, *outcome.notes]),
    )


def screen_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """Return the table for the screen."""
    table = Table(title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading not in HEADINGS[::9] else "left")
    for outcome in outcomes:
        table.add_row(*row(outcome), style="" if outcome.passed else "red")
    return table


def markdown_table(outcomes: Sequence[Outcome]) -> str:
    """Return the table for the page."""
    lines = [HEADINGS, tuple("---" if name in HEADINGS[::9] else "---:" for name in HEADINGS)]
    lines += [row(outcome) for outcome in outcomes]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Describe what ran where."""
    redis = subprocess.run(
        [find_redis_server(), "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[2]
    return (
        f"Nova {nova.__release__}, Celery {version('celery')}, kombu {version('kombu')}, "
        f"redis-py {version('redis')}, Redis {redis[2:]}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}."
    )


HOW_TO_READ = """\
A harness publishes numbered tasks, hurts something for real - signals, a full disk, a silent
network - and keeps a ledger. *Published*: numbers that somebody tried to publish; *acknowledged*:
what the publisher was told is published. *Effects* should be as many as tasks; *started again*
counts starts beyond a task's first, which "at least once" allows; *doubled* are effects beyond a
task's first; *lost* are acknowledged tasks without an effect when the scenario ends - how many
messages are still in Redis then stands beside: those are stuck rather than gone. *Recovery* is the
time from the end of the last fault to the last effect of a task that was acknowledged before it,
and must stay within the *bound*. For a schedule, each slot is a task that should have one effect,
and recovery is how late the latest one was.

A scenario passes with nothing lost, nothing doubled, and recovery within its bound. Leases, and the
visibility timeout of stock Celery, are 4 to 10 s here, not 60, so that there is something to see;
the bounds shrink with them.

Stock Celery runs with late acknowledgement, requeueing when a process is lost, prefetch 1 and
results on, and looks for messages to redeliver every second. Its effects go to a Redis that no
fault touches; Nova's go through its ledger in the Redis that is hurt. Two stock beats know nothing
of each other; the rows about two beats say what running them would do."""


def page(results: Mapping[str, Sequence[Outcome]], is_long: bool) -> str:
    """Return docs/reliability.md."""
    command = "make fault" if is_long else "make fault FAULT_OPTIONS=--short"
    names = {NOVA.name: "Nova", STOCK.name: "Stock Celery"}
    parts = [
        "# What faults cost",
        "<!-- Written by `make fault`. -->",
        f"{machine()} The {'long' if is_long else 'short'} forms, by:",
        f"    {command}",
        HOW_TO_READ,
    ]
    for side, outcomes in results.items():
        minutes = sum(outcome.seconds for outcome in outcomes) / 60
        passed = sum(outcome.passed for outcome in outcomes)
        parts += [
            f"## {names[side]}",
            f"{passed} of {len(outcomes)} pass; {minutes:.0f} minutes.",
            markdown_table(outcomes),
        ]
    parts.append("## The scenarios")
    for name, scenario in SCENARIOS.items():
        parts.append(f"**{name}** - {' '.join((inspect.getdoc(scenario) or '').split())}")
    return "\n\n".join(parts) + "\n"
