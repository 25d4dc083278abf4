"""The `nova` command."""

import sys
from typing import Annotated

import typer
from rich.table import Table

import nova
from nova import domain_commands, memory_commands, source_commands
from nova.api import commands as api_commands
from nova.errors import NovaError
from nova.governance import commands as governance_commands
from nova.ingest import commands as ingest_commands
from nova.maintenance import commands as maintenance_commands
from nova.queues import QUEUES
from nova.runtime import deadletter_commands, worker_commands
from nova.runtime.fleet import Fleet, read_fleet
from nova.runtime.heartbeat import WorkerHeartbeat
from nova.schedule import SCHEDULE
from nova.settings import get_settings
from nova.store import connect, redis_errors
from nova.terminal import JsonOption, console, new_table, print_json
from nova.trends import commands as trends_commands

app = typer.Typer(
    name="nova",
    help="Run and look after Nova: scheduled content-channel jobs on Celery and Redis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
PASS_THROUGH = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(nova.__release__)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the release."
        ),
    ] = False,
) -> None:
    """Options of every command."""


@app.command(epilog="Example: nova status --json")
def status(as_json: JsonOption = False) -> None:
    """Show the workers that are online and what waits in each queue."""
    settings = get_settings()
    with redis_errors(settings), connect(settings) as client:
        fleet = read_fleet(client)
    if as_json:
        print_json(fleet.model_dump(mode="json"))
        return
    console.print(_worker_table(fleet.workers) if fleet.workers else "No worker is online.")
    console.print(_queue_table(fleet))


def _worker_table(workers: list[WorkerHeartbeat]) -> Table:
    table = new_table(
        "worker",
        "state",
        "release",
        "queues",
        "processes",
        "running",
        "up since (UTC)",
        title="Workers",
    )
    for worker in workers:
        queues = ", ".join(name for name in worker.queues if name in QUEUES)
        since = worker.started_at.strftime("%Y-%m-%d %H:%M:%S")
        numbers = (str(worker.concurrency), str(worker.active))
        table.add_row(worker.name, worker.state, worker.release, queues, *numbers, since)
    return table


def _queue_table(fleet: Fleet) -> Table:
    table = new_table("queue", "waiting", "workers", title="Queues")
    for name, depth in fleet.queues.items():
        table.add_row(name, str(depth), str(fleet.workers_of(name) or "[red]none[/red]"))
    return table


@app.command(epilog="Example: nova queues")
def queues(as_json: JsonOption = False) -> None:
    """Show the queue table."""
    if as_json:
        print_json({name: vars(queue) for name, queue in QUEUES.items()})
        return
    table = new_table("queue", "purpose", "processes", "soft limit", "hard limit")
    for queue in QUEUES.values():
        limits = (f"{queue.soft_time_limit_seconds} s", f"{queue.time_limit_seconds} s")
        table.add_row(queue.name, queue.purpose, str(queue.concurrency), *limits)
    console.print(table)


@app.command(epilog="Example: nova schedule")
def schedule(as_json: JsonOption = False) -> None:
    """Show the beat table."""
    if as_json:
        print_json(
            [
                {"name": e.name, "task": e.task, "queue": e.queue, "schedule": e.cron}
                for e in SCHEDULE
            ]
        )
        return
    table = new_table("entry", "cron (UTC)", "queue", "task")
    for entry in SCHEDULE:
        table.add_row(entry.name, entry.cron, entry.queue, entry.task)
    console.print(table)


@app.command(context_settings=PASS_THROUGH, epilog="Example: nova celery inspect active")
def celery(context: typer.Context) -> None:
    """Run Celery's own command on Nova's app."""
    from celery.bin.celery import main as celery_main

    sys.argv = ["celery", "-A", "nova.celery_app", *context.args]
    raise typer.Exit(celery_main())


@app.command(context_settings=PASS_THROUGH, epilog="Example: nova flower --port=5555")
def flower(context: typer.Context) -> None:
    """Run Flower on Nova's app, with Nova's log file."""
    from nova.flower import run

    run(context.args)


app.command(epilog=ingest_commands.EPILOG)(ingest_commands.ingest)
add_trigger = domain_commands.trigger.command
add_trigger("governance", epilog=governance_commands.TRIGGER_EPILOG)(
    governance_commands.trigger_governance
)
add_trigger("maintenance", epilog=maintenance_commands.TRIGGER_EPILOG)(
    maintenance_commands.trigger_maintenance
)
add_trigger("trends", epilog=trends_commands.TRIGGER_EPILOG)(trends_commands.trigger_trends)
app.add_typer(domain_commands.trigger)
app.add_typer(domain_commands.report)
app.add_typer(governance_commands.override)
app.add_typer(governance_commands.governance)
app.add_typer(deadletter_commands.deadletter)
app.add_typer(worker_commands.worker)
app.add_typer(source_commands.sources)
app.add_typer(memory_commands.memory)
app.add_typer(api_commands.token)
app.command(epilog="Example: nova api")(api_commands.api)


def main() -> None:
    """Run the command line; an error that is meant for people becomes one line and exit code 1."""
    try:
        app()
    except NovaError as error:
        typer.echo(f"nova: {error}", err=True)
        sys.exit(1)
