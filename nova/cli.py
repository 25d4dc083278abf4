"""The `nova` command."""

import os
import sys
from typing import Annotated

import typer

import nova
from nova import domain_commands, memory_commands, source_commands
from nova.analysis import commands as analysis_commands
from nova.analytics import commands as analytics_commands
from nova.api import commands as api_commands
from nova.errors import NovaError, UnavailableError
from nova.governance import commands as governance_commands
from nova.ingest import commands as ingest_commands
from nova.legacy import commands as migration_commands
from nova.maintenance import commands as maintenance_commands
from nova.operations import commands as operations_commands
from nova.operations import release_commands
from nova.runtime import deadletter_commands, fleet_commands, worker_commands
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


app.command(epilog="Example: nova status --json")(fleet_commands.status)
app.command(epilog="Example: nova queues")(fleet_commands.queues)
app.command(epilog="Example: nova schedule")(fleet_commands.schedule)
# Short names of `nova worker list` and `nova deadletter replay`.
app.command("workers", epilog="Example: nova workers")(worker_commands.list_workers)
app.command("replay", epilog="Example: nova replay --all --queue trends --dry-run")(
    deadletter_commands.replay
)
app.command(epilog=ingest_commands.EPILOG)(ingest_commands.ingest)
add_trigger = domain_commands.trigger.command
add_trigger("governance", epilog=governance_commands.TRIGGER_EPILOG)(
    governance_commands.trigger_governance
)
add_trigger("maintenance", epilog=maintenance_commands.TRIGGER_EPILOG)(
    maintenance_commands.trigger_maintenance
)
add_trigger("analytics", epilog=analytics_commands.TRIGGER_EPILOG)(
    analytics_commands.trigger_analytics
)
add_trigger("analysis", epilog=analysis_commands.TRIGGER_EPILOG)(analysis_commands.trigger_analysis)
add_trigger("trends", epilog=trends_commands.TRIGGER_EPILOG)(trends_commands.trigger_trends)
app.add_typer(fleet_commands.task)
app.add_typer(domain_commands.trigger)
app.add_typer(domain_commands.report)
app.add_typer(governance_commands.override)
app.add_typer(governance_commands.governance)
app.add_typer(analytics_commands.analytics)
app.add_typer(deadletter_commands.deadletter)
app.add_typer(worker_commands.worker)
app.add_typer(operations_commands.fleet)
app.add_typer(operations_commands.api_pause)
app.command(epilog="Example: nova audit --limit 50")(operations_commands.audit)
app.command(epilog="Example: nova gate --release 0.2.0-1a2b3c4d --worker trends@nova1")(
    operations_commands.gate
)
app.add_typer(release_commands.release)
app.add_typer(migration_commands.migration)
app.add_typer(source_commands.sources)
app.add_typer(memory_commands.memory)
app.add_typer(api_commands.token)
app.command(epilog="Example: nova api")(api_commands.api)


def main() -> None:
    """Run the command line; an error that is meant for people becomes one line and an exit code."""
    try:
        app()
    except NovaError as error:
        typer.echo(f"nova: {error}", err=True)
        # Scripts can tell what to try again, as sysexits.h has it, from what to mend.
        sys.exit(os.EX_TEMPFAIL if isinstance(error, UnavailableError) else 1)
