"""The commands `nova status`, `queues`, `workers`, `schedule` and `nova task`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nova.operations.lock import read_lock
from nova.operations.pause import read_pause
from nova.queues import QUEUES
from nova.runtime.issued import TaskState
from nova.settings import get_settings
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_list, new_table, print_json

if TYPE_CHECKING:
    # At run time they bring Celery, which is a second of start-up for the other commands.
    from nova.runtime.fleet import Fleet
    from nova.runtime.heartbeat import WorkerHeartbeat
    from nova.runtime.redis_status import RedisStatus
    from nova.runtime.schedule_status import ScheduleStatus
    from nova.runtime.task_status import TaskLine, TaskPage

task = typer.Typer(
    name="task", help="What became of tasks that were published.", no_args_is_help=True
)


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


# --- The fleet


def status(as_json: JsonOption = False) -> None:
    """Show the workers that are online, what waits and what was given up, and which beat leads."""
    from nova.runtime.fleet import read_fleet
    from nova.runtime.redis_status import read_redis, read_sentinels

    with open_redis(get_settings()) as client:
        fleet, lock, pause = read_fleet(client), read_lock(client), read_pause(client)
        server = read_redis(client)
    sentinels = read_sentinels(get_settings())
    if as_json:
        more = {
            "redis": server.model_dump(),
            "sentinels": [sentinel.model_dump() for sentinel in sentinels],
            "lock": None if lock is None else lock.model_dump(mode="json"),
            "api_pause": None if pause is None else pause.model_dump(mode="json"),
        }
        print_json(fleet.model_dump(mode="json") | more)
        return
    console.print(_worker_table(fleet.workers) if fleet.workers else "No worker is online.")
    console.print(_queue_table(fleet))
    if fleet.beat is None:
        console.print("Beat: [red]none leads[/red], nothing is published by the schedule.")
    else:
        console.print(escape(f"Beat: {fleet.beat.host} leads, release {fleet.beat.release}."))
    console.print(escape(_redis_line(server)))
    for sentinel in sentinels:
        console.print(escape(f"  {sentinel.line()}"))
    if lock is not None:
        console.print(escape(f"Lock: {lock.owner} works on the fleet, for: {lock.reason}"))
    if pause is not None:
        console.print(escape(f"API: {pause.line()}"))
    given_up = sum(fleet.dead_letters.values())
    if given_up:
        console.print(f"[red]{given_up:,} dead letters[/red]; see: nova deadletter list")


def _redis_line(server: "RedisStatus") -> str:
    line = f"Redis: {server.address}, {server.version}, {server.used_megabytes:,} MB"
    for replica in server.replicas:
        line += f"; {replica.address} {replica.state}, {replica.behind_bytes:,} bytes behind"
    return f"{line}."


def _worker_table(workers: "list[WorkerHeartbeat]") -> Table:
    headings = ("worker", "state", "release", "queues", "processes", "running", "up since (UTC)")
    table = new_table(*headings, title="Workers")
    for worker in workers:
        queues = ", ".join(name for name in worker.queues if name in QUEUES)
        numbers = (str(worker.concurrency), str(worker.active))
        row = (worker.name, worker.state, worker.release, queues, *numbers)
        table.add_row(*map(escape, row), _time(worker.started_at))
    return table


def _queue_table(fleet: "Fleet") -> Table:
    table = new_table("queue", "waiting", "workers", "dead letters", title="Queues")
    for name, depth in fleet.queues.items():
        workers = str(fleet.workers_of(name) or "[red]none[/red]")
        table.add_row(name, f"{depth:,}", workers, f"{fleet.dead_letters[name]:,}")
    return table


def queues(as_json: JsonOption = False) -> None:
    """Show each queue: what waits in it and how long, who serves it, and its time limits."""
    from nova.runtime.fleet import read_queues

    with open_redis(get_settings()) as client:
        found = read_queues(client)
    if as_json:
        print_json({queue.name: queue.model_dump() for queue in found})
        return
    headings = ("waiting", "oldest", "held", "dead", "workers", "processes", "soft", "hard limit")
    table = new_list("queue", *headings, gap=1)
    for queue in found:
        table.add_row(
            queue.name,
            f"{queue.waiting:,}",
            f"{queue.oldest_seconds:,.0f} s" if queue.waiting else "-",
            f"{queue.held:,}",
            f"{queue.dead_letters:,}",
            str(queue.workers or "[red]none[/red]"),
            str(queue.processes),
            f"{queue.soft_time_limit_seconds} s",
            f"{queue.time_limit_seconds} s",
        )
    console.print(table)


def schedule(as_json: JsonOption = False) -> None:
    """Show each entry of the beat table: its last and next run, how late, and what it missed."""
    from nova.runtime.schedule_status import read_schedule

    with open_redis(get_settings()) as client:
        found = read_schedule(client)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    console.print(_schedule_table(found))
    leader = "[red]none leads[/red]" if found.leader is None else escape(found.leader.host)
    console.print(f"All times are UTC. Beat: {leader}; it looked last {_time(found.last_tick)}.")


def _schedule_table(found: "ScheduleStatus") -> Table:
    table = new_list("entry", "cron", "queue", "last", "late", "next", "missed", gap=1)
    for entry in found.entries:
        late = "-" if entry.lateness_seconds is None else f"{entry.lateness_seconds:.1f} s"
        overdue = f" [red]overdue {entry.overdue_seconds:,.0f} s[/red]"
        table.add_row(
            entry.name,
            entry.cron,
            entry.queue,
            _time(entry.last_slot),
            late,
            _time(entry.next_slot) + (overdue if entry.overdue_seconds > 0 else ""),
            f"{entry.missed_slots:,}",
        )
    return table


# --- Tasks


@task.command("list", epilog="Example: nova task list --queue governance --state FAILURE")
def list_(
    state: Annotated[
        TaskState | None,
        typer.Option(help="Only tasks in this state.", show_default=False),
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Only tasks of this queue.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Only tasks of this name.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most tasks to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List tasks that were published last, newest first, as long as their results are kept."""
    from nova.runtime.task_status import list_tasks

    found: list[TaskLine] = []
    with open_redis(get_settings()) as client:
        page: TaskPage | None = None
        # With a filter a page may be empty, and yet have a next one.
        while page is None or (page.next is not None and len(found) < limit):
            page = list_tasks(
                client,
                state=state,
                queue=queue,
                name=name,
                limit=limit - len(found),
                after=None if page is None else page.next,
            )
            found += page.tasks
    if as_json:
        print_json([line.model_dump(mode="json") for line in found])
    elif found:
        console.print(_task_table(found))
    else:
        console.print("There is no such task.")


def _task_table(tasks: "list[TaskLine]") -> Table:
    table = new_list("task", "state", "published (UTC)", "name", unwrapped=2)
    for line in tasks:
        published = f"{line.published_at:%Y-%m-%d %H:%M}"
        table.add_row(escape(line.task_id), line.state, published, escape(line.name))
    return table


@task.command(epilog="Example: nova task show 8c6e2a52-64a5-5b0c-9c37-2f1a0b7d4e11")
def show(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    as_json: JsonOption = False,
) -> None:
    """Show a task: where it is, who runs it, what it returned or why it failed."""
    from nova.runtime.task_status import find_task

    with open_redis(get_settings()) as client:
        found = find_task(client, task_id, get_settings().result_expires_hours)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    table = Table.grid(padding=(0, 2))
    for heading, value in (
        ("task", found.task_id),
        ("name", found.name),
        ("queue", found.queue),
        ("state", found.state),
        ("published", f"{_time(found.published_at)} UTC"),
        ("worker", found.worker),
        ("finished", None if found.finished_at is None else f"{_time(found.finished_at)} UTC"),
        ("result", found.result),
        ("error", found.error),
    ):
        if value is not None:
            table.add_row(heading, escape(str(value)))
    console.print(table)
