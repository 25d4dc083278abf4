"""The commands `nova migration`."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nova.legacy.status import (
    LONGEST,
    MigrationStatus,
    OriginRun,
    SlotStatus,
    find_report,
    read_status,
)
from nova.settings import get_settings
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_table, print_json

migration = typer.Typer(
    name="migration",
    help="Compare the legacy loops with beat, and see whether to go on.",
    no_args_is_help=True,
)

#: Exit code of `status` when it is not safe to go on; 1 and 75 say that nobody knows.
NOT_SAFE = 3
HEADLINES = {True: "differ", False: "same", None: "-"}
LONGEST_HOURS = LONGEST.total_seconds() / 3600


@migration.command(epilog="Example: nova migration status --hours 24")
def status(
    hours: Annotated[
        float,
        typer.Option(min=0, max=LONGEST_HOURS, help="How far back to look."),
    ] = 48.0,
    min_hours: Annotated[
        float,
        typer.Option(min=0, help="How long the phase must have lasted before the next."),
    ] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Show what each scheduler did with each slot, and whether it is safe to go on.

    Exits with 0 when it is safe to go on, with 3 when it is not.
    """
    settings = get_settings()
    with open_redis(settings) as client:
        found = read_status(client, settings, hours=hours, min_hours=min_hours)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found)
    if not found.is_safe:
        raise typer.Exit(NOT_SAFE)


@migration.command(epilog="Example: nova migration report 0d7c6c1e-1c6f-5d0e-9a53-0d6f0f6f3a10")
def report(
    report_id: Annotated[
        str, typer.Argument(metavar="ID", help="The run_id of `nova migration status --json`.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Show the report of a loop that ran beside beat; those of beat: nova report show."""
    settings = get_settings()
    with open_redis(settings) as client:
        domain, found = find_report(client, report_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        domain.print_report(found)


def _print(found: MigrationStatus) -> None:
    if found.slots:
        console.print(_table(found.slots))
    if found.mode is not None:
        console.print(f"mode {found.mode} since {found.since:%Y-%m-%d %H:%M:%S} UTC")
    for remark in found.remarks:
        console.print(f"note: {escape(remark)}")
    for reason in found.reasons:
        console.print(f"not yet: {escape(reason)}")
    if found.is_safe:
        console.print(f"safe to go on to phase {found.next_phase}")


def _table(slots: list[SlotStatus]) -> Table:
    table = new_table("slot (UTC)", "entry", "legacy", "celery", "headlines")
    for row in slots:
        runs = (_cell(row.legacy), _cell(row.celery))
        slot = f"{row.slot:%Y-%m-%d %H:%M}"
        table.add_row(slot, escape(row.entry), *runs, HEADLINES[row.differs])
    return table


def _cell(run: OriginRun | None) -> str:
    if run is None:
        return "-"
    late = f", {run.late_seconds:,.0f} s late" if run.is_late else ""
    error = f": {escape(run.error)}" if run.error else ""
    return f"{run.state}{late}{error}"
