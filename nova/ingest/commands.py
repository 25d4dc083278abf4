"""`nova ingest`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from nova.ingest.models import IngestResult
from nova.ingest.service import BytesDone, DaysDone, ingest_file
from nova.settings import get_settings
from nova.store import connect
from nova.terminal import JsonOption, console, print_json


def ingest(
    file: Annotated[
        Path,
        typer.Argument(
            help="YouTube trending list, YouTube Studio export, Nova CSV or Nova JSON.",
            show_default=False,
        ),
    ],
    channel: Annotated[
        str | None,
        typer.Option(
            help="Channel of a YouTube Studio export, which does not name it.", show_default=False
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the file when any row is bad.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and compare, write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a file of channel metrics and store it, day by day."""
    settings = get_settings()
    with connect(settings) as client, _progress_bar(file) as (progress, stored):
        result = ingest_file(
            file,
            settings,
            client,
            channel=channel,
            strict=strict,
            dry_run=dry_run,
            progress=progress,
            stored=stored,
        )
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        _show(result)


@contextmanager
def _progress_bar(file: Path) -> Iterator[tuple[BytesDone | None, DaysDone | None]]:
    """Show on a terminal how far reading and storing are; nothing elsewhere."""
    errors = Console(stderr=True)
    # Unlike Path.is_file, this is no error of its own for a folder that one may not enter.
    if not errors.is_terminal or not os.path.isfile(file):
        yield None, None
        return
    bytes_read = DownloadColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, bytes_read, TimeRemainingColumn(), console=errors, transient=True
    ) as bar:
        size = file.stat().st_size
        reading = bar.add_task("reading", total=size)

        def progress(done: int) -> None:
            bar.update(reading, completed=done)

        def stored(done: int, total: int) -> None:
            share = f"storing day {done} of {total}"
            bar.update(reading, description=share, completed=size * done // total)

        yield progress, stored


def _show(result: IngestResult) -> None:
    title = f"{escape(result.file)}: {result.format}"
    table = Table(title=title + (" (dry run)" if result.dry_run else ""), show_header=False)
    for label, value in _lines(result):
        table.add_row(label, value)
    console.print(table)
    for note in result.notes:
        console.print(f"Note: {escape(note)}.", highlight=False)
    for problem in result.problems:
        console.print(f"[red]rejected[/red] {escape(str(problem))}", highlight=False)
    if more := result.rows_rejected - len(result.problems):
        console.print(f"[red]rejected[/red] {more} more rows")


def _lines(result: IngestResult) -> Iterator[tuple[str, str]]:
    yield "rows read", f"{result.rows_read:,}"
    for reason, count in result.rows_skipped.items():
        yield f"rows skipped: {reason}", f"{count:,}"
    yield "rows rejected", f"{result.rows_rejected:,}"
    yield "days", f"{len(result.days):,} ({result.days[0]} to {result.days[-1]})"
    yield "days to change" if result.dry_run else "days changed", f"{len(result.days_changed):,}"
    yield "channel days new", f"{result.channels_new:,}"
    yield "channel days changed", f"{result.channels_changed:,}"
    yield "channel days unchanged", f"{result.channels_unchanged:,}"
    if result.videos_new + result.videos_changed + result.videos_unchanged:
        yield "video days new", f"{result.videos_new:,}"
        yield "video days changed", f"{result.videos_changed:,}"
        yield "video days unchanged", f"{result.videos_unchanged:,}"
