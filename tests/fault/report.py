"""The table, on the screen and in docs/reliability.md."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from rich.table import Table

import nova
from scripts.local.redis_server import find_redis_server
from tests.fault.harness import Outcome

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
