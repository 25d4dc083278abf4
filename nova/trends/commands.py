"""The command `nova trigger trends`, and trend reports for people."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nova.domain_commands import TaskIdOption, TimeoutOption, WaitOption, facts_table, run_now
from nova.terminal import JsonOption, console, new_table
from nova.trends.models import RisingTopic, TrendReport

TRIGGER_EPILOG = "Example: nova trigger trends --day 2017-11-28 --wait"
#: Topics of either kind in a report for people.
SHOWN = 10


def trigger_trends(
    day: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD",
            help="Day to scan; today if sources are fetched, else that of the newest list.",
            show_default=False,
        ),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300,
    task_id: TaskIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for rising topics now, and for those that we do not cover."""
    run_now("trends", {"day": day}, wait=wait, timeout=timeout, task_id=task_id, as_json=as_json)


def print_report(found: TrendReport, limit: int | None) -> None:
    """Print a report: its basis, then so many opportunities and covered topics."""
    limit = limit or SHOWN
    console.print(_facts(found))
    tables = (
        ("Opportunities", found.opportunities, found.opportunities_total),
        ("Rising topics that we cover", found.covered, found.covered_total),
    )
    for title, topics, total in tables:
        if topics:
            shown = topics[:limit]
            console.print(_topic_table(f"{title}: {len(shown)} of {total:,}", shown))


def _facts(found: TrendReport) -> Table:
    table = facts_table(found)
    for source in found.sources:
        if source.not_counted is None:
            now = f"{source.titles:,} titles of {source.day}"
            past = f"{source.past_titles:,} of {source.past_days} earlier days"
            table.add_row("source", escape(f"{source.name}: {now}, {past}"))
    own = found.own
    names = ", ".join(own.channels[:3]) + (", ..." if own.total > 3 else "")
    ours = f"{own.total:,} ({names}), {own.basis}" if own.total else "none"
    table.add_row("our channels", escape(ours))
    if found.projection:
        basis = found.projection
        table.add_row(
            "earnings",
            f"rpm {basis.rpm_usd:.2f} USD: {basis.revenue_usd:,.0f} USD of {basis.views:,.0f} "
            f"views, {basis.first_day} to {basis.last_day}",
        )
    table.add_row("found", escape(found.headline))
    return table


def _topic_table(title: str, topics: Sequence[RisingTopic]) -> Table:
    table = new_table(
        "topic", "score", "growth", "titles", "channels", "USD", "most seen title", title=title
    )
    for topic in topics:
        also = f"\n[dim]{escape(', '.join(topic.also))}[/]" if topic.also else ""
        earns = "" if topic.projected_usd is None else f"{topic.projected_usd:,.0f}"
        best = topic.evidence[0]
        ours = f"\nours: {', '.join(topic.covered_by[:3])}" if topic.covered_by else ""
        table.add_row(
            f"{escape(topic.name)}{also}",
            f"{topic.score:.2f}",
            f"{topic.growth:+.2f}",
            f"{topic.titles:,} ({topic.expected:.1f})",
            f"{topic.channels_total:,}",
            earns,
            escape(f"{best.channel}: {best.title}{ours}"),
            end_section=True,
        )
    return table
