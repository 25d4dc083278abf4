"""The command `nova trigger maintenance`, and how a report is printed."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nova.domain_commands import TaskIdOption, TimeoutOption, WaitOption, facts_table, run_now
from nova.maintenance.models import (
    MAX_AGE_HOURS_LIMIT,
    Amount,
    KindUse,
    MaintenanceReport,
    WorkerMemory,
    in_bytes,
)
from nova.terminal import JsonOption, console, new_table

TRIGGER_EPILOG = "Example: nova trigger maintenance --max-age-hours 24 --dry-run --wait"


def print_report(found: MaintenanceReport, limit: int | None) -> None:
    """Print a report, with at most `limit` workers, those that hold most first."""
    console.print(_facts(found))
    console.print(_kind_table(found))
    if found.workers:
        console.print(_worker_table(found, limit))


def _facts(found: MaintenanceReport) -> Table:
    table = facts_table(found)
    before, after = found.memory_before, found.memory_after
    limit = found.memory_limit_bytes
    table.add_row("old is", f"what nobody used for {found.max_age_hours} hours")
    result = found.headline + (": a dry run" if found.dry_run else "")
    table.add_row("result", result)
    table.add_row(
        "Redis",
        f"{in_bytes(before.used_bytes)} before, {in_bytes(after.used_bytes)} after, "
        f"peak {in_bytes(after.peak_bytes)}; "
        f"limit {'none' if limit is None else in_bytes(limit)}",
    )
    table.add_row(
        "fragmentation",
        f"{after.fragmentation:.2f}: the system gave Redis {in_bytes(after.resident_bytes)}",
    )
    if found.days_removed:
        days = found.days_removed
        what = "days to remove" if found.dry_run else "days removed"
        table.add_row(what, f"{len(days)}: {days[0]} to {days[-1]}")
    return table


def _kind_table(found: MaintenanceReport) -> Table:
    removed = "would go" if found.dry_run else "removed"
    table = new_table("kind", "before", removed, "after", title="Data in Redis")
    for use in found.kinds:
        if use.before.count or use.removed.count:
            table.add_row(*_kind_row(use))
    return table


def _kind_row(use: KindUse) -> tuple[str, ...]:
    return (use.kind, *(_amount(part) for part in (use.before, use.removed, use.after)))


def _amount(amount: Amount) -> str:
    return f"{amount.count:,} ({in_bytes(amount.bytes)})" if amount.count else "-"


def _worker_table(found: MaintenanceReport, limit: int | None) -> Table:
    most = f"processes (replaced above {found.policy.worker_memory_limit_mb} MB)"
    table = new_table("worker", "main process", most, title="Memory of workers")
    workers = sorted(found.workers, key=lambda worker: (-_held(worker), worker.worker))
    for worker in workers[:limit]:
        main = "not told" if worker.main_bytes is None else in_bytes(worker.main_bytes)
        children = ", ".join(in_bytes(size) for size in worker.child_bytes)
        table.add_row(escape(worker.worker), main, children or "none told")
    return table


def _held(worker: WorkerMemory) -> int:
    return (worker.main_bytes or 0) + sum(worker.child_bytes)


def trigger_maintenance(
    *,
    max_age_hours: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_AGE_HOURS_LIMIT,
            help="What has no retention of its own goes when nobody used it for so many hours.",
        ),
    ] = 24,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what would be removed.")
    ] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300,
    task_id: TaskIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clean up Redis now."""
    arguments = {"max_age_hours": max_age_hours, "dry_run": dry_run}
    run_now("maintenance", arguments, wait=wait, timeout=timeout, task_id=task_id, as_json=as_json)
