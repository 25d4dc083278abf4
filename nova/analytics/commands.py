"""The commands `nova analytics ...` and `nova trigger analytics`, and reports for people."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nova.analytics.models import (
    AnalyticsReport,
    CategoryAggregates,
    ChannelSpan,
    Leaderboard,
    Period,
    Standing,
)
from nova.domain_commands import TaskIdOption, TimeoutOption, WaitOption, facts_table, run_now
from nova.settings import get_settings
from nova.store import open_redis, redis_errors
from nova.terminal import JsonOption, console, new_table, print_json

analytics = typer.Typer(
    name="analytics", help="Leaderboards and aggregates of channels.", no_args_is_help=True
)

TRIGGER_EPILOG = "Example: nova trigger analytics --day 2017-12-09 --wait"
#: Exit code of a command that Ctrl-C ended, as shells have it.
INTERRUPTED = 130

PeriodOption = Annotated[Period, typer.Option(help="The day, or what holds it.")]
DayOption = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d"],
        metavar="YYYY-MM-DD",
        help="A day; the newest that was processed if not given.",
        show_default=False,
    ),
]


def _date(day: datetime | None) -> date | None:
    return None if day is None else day.date()


def print_report(found: AnalyticsReport, limit: int | None) -> None:
    """Print a report: its spans, leaders, categories, changes and outliers."""
    limit = limit or 5
    console.print(facts_table(found))
    for note in found.notes:
        console.print(f"Note: {escape(note)}.", highlight=False)
    console.print(_span_table(found))
    if found.leaders:
        console.print(_standing_table(found.leaders[:limit], "Most views of the day"))
    if found.categories:
        console.print(_category_table("Categories of the day", found.categories, limit))
    if found.changes:
        console.print(_change_table(found))
    if found.rises or found.falls:
        console.print(_mover_table(found, limit))
    if found.outliers:
        console.print(_outlier_table(found, limit))


def _span_table(found: AnalyticsReport) -> Table:
    table = new_table("span", "days", "channels", "channel days", "aggregates")
    for span in found.spans:
        counts = (f"{number:,}" for number in (span.days, span.channels, span.rows))
        state = "written" if span.written else "were up to date"
        table.add_row(f"{span.period}: {span.start} to {span.end}", *counts, state)
    return table


def _standing_table(standings: Iterable[Standing], title: str | None = None) -> Table:
    table = new_table("rank", "before", "change", "channel", "value", title=title)
    for place in standings:
        before = "" if place.previous_rank is None else str(place.previous_rank)
        change = "" if place.rank_change is None else f"{place.rank_change:+d}"
        table.add_row(str(place.rank), before, change, escape(place.channel), _number(place.value))
    return table


def _category_table(title: str, categories: list[CategoryAggregates], limit: int | None) -> Table:
    table = new_table("category", "channel days", "views", "mean", "high", title=title)
    views = [(metric, found) for found in categories for metric in found.metrics[:1]]
    views = [(metric, found) for metric, found in views if metric.metric == "views"]
    views.sort(key=lambda pair: -pair[0].total)
    for metric, found in views[:limit]:
        numbers = (_number(number) for number in (metric.total, metric.mean, metric.high))
        table.add_row(escape(f"{found.category} {found.name}"), f"{metric.days:,}", *numbers)
    return table


def _change_table(found: AnalyticsReport) -> Table:
    title = "Change from the day before, over channels seen on both"
    table = new_table("metric", "channels", "before", "now", "median change", title=title)
    for change in found.changes:
        median = "" if change.median_percent is None else f"{change.median_percent:+,.1f} %"
        numbers = (_number(change.before), _number(change.now))
        table.add_row(change.metric, f"{change.channels:,}", *numbers, median)
    return table


def _mover_table(found: AnalyticsReport, limit: int) -> Table:
    table = new_table("channel", "before", "now", "change", title="Views that rose and fell most")
    for mover in [*found.rises[:limit], *found.falls[:limit]]:
        change = f"{mover.now - mover.before:+,.0f}"
        table.add_row(escape(mover.channel), _number(mover.before), _number(mover.now), change)
    return table


def _outlier_table(found: AnalyticsReport, limit: int) -> Table:
    shown = found.outliers[:limit]
    title = f"Outliers: {len(shown)} of {found.outliers_total:,}"
    table = new_table("channel", "metric", "before", "value", "score", title=title)
    for outlier in shown:
        before = "" if outlier.before is None else _number(outlier.before)
        what = f"{outlier.metric}, {outlier.kind}"
        numbers = (before, _number(outlier.value), f"{outlier.score:+.1f}")
        table.add_row(escape(outlier.channel), what, *numbers)
    return table


def _number(value: float) -> str:
    """Return counts as they are, and fractions with two digits."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


@analytics.command(epilog="Example: nova analytics leaderboard views --period week --limit 10")
def leaderboard(
    metric: Annotated[str, typer.Argument(help="Metric, such as views.")] = "views",
    *,
    period: PeriodOption = Period.DAY,
    day: DayOption = None,
    offset: Annotated[int, typer.Option(min=0, help="Places to leave out.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Most places to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the channels with the highest values, and how their ranks changed."""
    from nova.analytics.reading import get_leaderboard

    with open_redis(get_settings()) as client:
        found = get_leaderboard(client, metric, period, _date(day), offset=offset, limit=limit)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    console.print(_board_title(found), highlight=False)
    console.print(_standing_table(found.standings))
    console.print(f"{len(found.standings)} of {found.total:,}; {found.ranked:,} channels have it")


def _board_title(found: Leaderboard) -> str:
    compared = found.compared_with or "nothing"
    span = f"{found.period} {found.start} to {found.end}"
    return f"{found.measure} {found.metric}, {span}, compared with {compared}"


@analytics.command(epilog="Example: nova analytics categories --period month")
def categories(
    period: PeriodOption = Period.DAY, day: DayOption = None, as_json: JsonOption = False
) -> None:
    """Show the categories of a span, most views first."""
    from nova.analytics.reading import get_categories

    with open_redis(get_settings()) as client:
        found = get_categories(client, period, _date(day))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    title = f"Categories, {found.period} {found.start} to {found.end}"
    console.print(_category_table(title, found.categories, None))
    unknown = f"{found.rows_without_category:,} of {found.rows:,} channel days"
    console.print(f"left out, for their category is not known: {unknown}")


@analytics.command(epilog="Example: nova analytics channel CaseyNeistat --day 2017-12-09")
def channel(
    name: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's id.")],
    day: DayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a channel had on a day, in its week and month, and in all."""
    from nova.analytics.reading import get_channel

    with open_redis(get_settings()) as client:
        found = get_channel(client, name, _date(day))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for span in found.spans:
        title = escape(f"{found.channel}, {span.period} {span.start} to {span.end}")
        console.print(_channel_table(title, span))


def _channel_table(title: str, span: ChannelSpan) -> Table:
    headings = ("metric", "days", "total", "mean", "low", "high", "rank", "change")
    table = new_table(*headings, title=title)
    for metric in span.metrics:
        numbers = (metric.total, metric.mean, metric.low, metric.high)
        rank = "" if metric.rank is None else str(metric.rank)
        percent = metric.change_percent
        change = "" if percent is None else f"{percent:+,.1f} %"
        cells = (str(metric.days), *map(_number, numbers), rank, change)
        table.add_row(metric.metric, *cells)
    return table


@analytics.command(epilog="Example: nova analytics backfill --from 2017-11-14 --to 2017-12-09")
def backfill(
    first: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="First day."),
    ],
    last: Annotated[
        datetime,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last day."),
    ],
    timeout: Annotated[float, typer.Option(min=1, help="Most seconds for one day.")] = 600,
    as_json: JsonOption = False,
) -> None:
    """Process a range of days, oldest first, on the workers; skip what is up to date.

    Ctrl-C stops after the day that runs. The same command goes on with the days that are left.
    """
    from nova.analytics.backfill import plan_backfill, run_backfill
    from nova.celery_app import app

    with open_redis(get_settings()) as client:
        plan = plan_backfill(client, first.date(), last.date())
    processed: list[date] = []
    try:
        with redis_errors(get_settings()), _progress_bar(len(plan.to_do)) as advance:
            for day in run_backfill(app, plan.to_do, timeout):
                processed.append(day)
                advance(day)
    except KeyboardInterrupt:
        left = len(plan.to_do) - len(processed)
        typer.echo(f"stopped: {len(processed)} days processed, {left} left", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        answer = {"processed": processed, "done_before": plan.done}
        print_json(answer | {"days_without_data": plan.without_data})
        return
    console.print(
        f"{len(processed)} days processed, {len(plan.done)} were up to date, "
        f"{plan.without_data} have no metrics",
        highlight=False,
    )


@contextmanager
def _progress_bar(days: int) -> Iterator[Callable[[date], None]]:
    """Show on a terminal how many days are done; nothing elsewhere."""
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield lambda _day: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as bar:
        shown = bar.add_task("processing", total=days)
        yield lambda day: bar.update(shown, advance=1, description=f"processed {day}")


def trigger_analytics(
    day: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD",
            help="Day to process; the newest that has channel metrics if not given.",
            show_default=False,
        ),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300,
    task_id: TaskIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring aggregates and leaderboards of a day, and of all that holds it, up to date."""
    arguments = {"day": day}
    run_now("analytics", arguments, wait=wait, timeout=timeout, task_id=task_id, as_json=as_json)
