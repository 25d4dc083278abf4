"""The command `nova trigger analysis`, and analysis reports for people."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nova.analysis.models import AnalysisReport, ChannelProfile, Measure, Outcome, TopicNote
from nova.domain_commands import TaskIdOption, TimeoutOption, WaitOption, facts_table, run_now
from nova.terminal import JsonOption, console, new_table

TRIGGER_EPILOG = 'Example: nova trigger analysis --seed Vox --seed "Tom Scott" --wait'
#: Topics of either kind in a report for people.
SHOWN = 10


def trigger_analysis(
    day: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD", help="The last day that counts; today.", show_default=False
        ),
    ] = None,
    seeds: Annotated[
        list[str] | None,
        typer.Option(
            "--seed",
            help="A channel's name or id, or the URL of its feed, in place of COMPETITOR_SEEDS; "
            "may be given again.",
            show_default=False,
        ),
    ] = None,
    *,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300,
    task_id: TaskIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare competitors with our channels now."""
    arguments = {"day": day, "seeds": seeds or None}
    run_now("analysis", arguments, wait=wait, timeout=timeout, task_id=task_id, as_json=as_json)


def print_report(found: AnalysisReport, limit: int | None) -> None:
    """Print a report: its basis, then so many of their channels, of ours, and of topics."""
    limit = limit or SHOWN
    console.print(_facts(found))
    theirs, ours = found.competitors[:limit], found.own[:limit]
    if theirs or ours:
        title = (
            f"Channels by median views: {len(theirs)} of {found.competitors_total:,} competitors, "
            f"{len(ours)} of {found.own_total:,} of ours"
        )
        console.print(_channel_table(title, sorted([*theirs, *ours], key=_by_rank)))
    for title, topics, total in (
        ("Topics that we miss", found.missed_topics, found.missed_total),
        ("Topics that we share", found.shared_topics, found.shared_total),
    ):
        if topics:
            shown = topics[:limit]
            console.print(_topic_table(f"{title}: {len(shown)} of {total:,}", shown))


def _by_rank(profile: ChannelProfile) -> float:
    """Sort key: the ranked ones first; each list comes in its order already."""
    return profile.ranks.get(Measure.VIEWS, float("inf"))


def _facts(found: AnalysisReport) -> Table:
    table = facts_table(found)
    for window in found.windows:
        days = f"{window.first} to {window.last}, {window.days} days with data"
        table.add_row("window", escape(f"{window.origin}: {days}, {window.rows:,} rows"))
    for caveat in found.caveats:
        table.add_row("bear in mind", escape(caveat))
    for note in found.seeds:
        if note.near:
            kind = "channels" if note.outcome is Outcome.AMBIGUOUS else "similar"
            table.add_row("hint", escape(f"{note.seed}: {kind}: {', '.join(note.near)}"))
    names = ", ".join(profile.channel for profile in found.own[:3])
    ours = f"{found.own_total:,}{f' ({names})' if names else ''}, {found.own_basis}"
    table.add_row("our channels", escape(ours if found.own_total else "none"))
    for one in found.own:
        places = [
            f"{measure.replace('_', ' ')} {place} of {found.ranked[measure]}"
            for measure, place in one.ranks.items()
        ]
        if places:
            table.add_row("our ranks", escape(f"{one.channel}: {', '.join(places)}"))
    if found.compared_with:
        before = found.compared_with
        table.add_row("compared with", escape(f"{before.report_id}, of {before.day}"))
        for what, channels in (("new", before.appeared), ("gone", before.gone)):
            if channels:
                table.add_row(what, escape(", ".join(channels)))
    table.add_row("found", escape(found.headline))
    return table


def _channel_table(title: str, profiles: Sequence[ChannelProfile]) -> Table:
    headings = ("", "channel", "median views", "quartiles", "a week", "engaged", "growth", "listed")
    table = new_table(*headings, title=title)
    for one in profiles:
        place = one.ranks.get(Measure.VIEWS)
        moved = f"{one.change.rank:+}" if one.change and one.change.rank else ""
        views = one.views
        table.add_row(
            f"{place or '-'} {moved}".strip(),
            escape(_who(one)),
            _cell(one.value(Measure.VIEWS), _change(one, "median_views"), _whole),
            f"{views.lower:,.0f}\n{views.upper:,.0f}" if views else "",
            _cell(one.value(Measure.CADENCE), _change(one, "videos_per_week"), "{:.2f}".format),
            _cell(one.engagement, _change(one, "engagement"), "{:.2%}".format),
            _cell(one.growth, _change(one, "growth"), "{:+.2f}".format),
            _cell(one.days_listed, _change(one, "days_listed"), _whole),
            end_section=True,
        )
    return table


def _who(profile: ChannelProfile) -> str:
    counted = f"{profile.count} {profile.unit}{'' if profile.count == 1 else 's'}"
    return f"{'ours: ' if profile.ours else ''}{profile.channel}\n{counted}"


def _change(profile: ChannelProfile, name: str) -> float | None:
    return getattr(profile.change, name) if profile.change else None


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _cell(value: float | None, change: float | None, write: Callable[[float], str]) -> str:
    """Return a number, and below it what it is more or less than in the report before."""
    if value is None:
        return ""
    if not change:
        return write(value)
    sign = "+" if change > 0 else "-"
    return f"{write(value)}\n[dim]{sign}{write(abs(change)).lstrip('+')}[/]"


def _topic_table(title: str, topics: Sequence[TopicNote]) -> Table:
    table = new_table("topic", "channels", "videos", "median views", title=title)
    for topic in topics:
        also = f"\n[dim]{escape(', '.join(topic.also[:5]))}[/]" if topic.also else ""
        views = "" if topic.median_views is None else f"{topic.median_views:,.0f}"
        channels = escape(", ".join(topic.channels[:5]))
        table.add_row(f"{escape(topic.name)}{also}", channels, str(topic.videos), views)
    return table
