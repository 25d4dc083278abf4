"""The `nova` command."""

import os
import sys
from collections import UserDict
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

import nova
from nova.errors import NovaError, UnavailableError


@dataclass(frozen=True)
class Place:
    """Where a command is: the name of a function, or of a group of commands, in a module."""

    module: str
    name: str
    example: str = ""

    def load(self, command: str) -> TyperCommand:
        """Return what is there as the command of this name."""
        found = getattr(import_module(self.module), self.name)
        holder = typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=command)
        else:
            holder.command(command, epilog=f"Example: {self.example}")(found)
        return cast("TyperCommand", get_group(holder).commands[command])


_FLEET, _OPERATIONS = "nova.runtime.fleet_commands", "nova.operations.commands"
_WORKERS, _DEADLETTER = "nova.runtime.worker_commands", "nova.runtime.deadletter_commands"
#: Each command, and each group of commands, in the order of the help.
PLACES = {
    "status": Place(_FLEET, "status", "nova status --json"),
    "queues": Place(_FLEET, "queues", "nova queues"),
    "schedule": Place(_FLEET, "schedule", "nova schedule"),
    # Short names of `nova worker list` and `nova deadletter replay`.
    "workers": Place(_WORKERS, "list_workers", "nova workers"),
    "replay": Place(_DEADLETTER, "replay", "nova replay --all --queue trends --dry-run"),
    "ingest": Place(
        "nova.ingest.commands",
        "ingest",
        "nova ingest youtube_studio_export.csv --channel 'Ken Jee'",
    ),
    "task": Place(_FLEET, "task"),
    "trigger": Place("nova.trigger_commands", "trigger"),
    "report": Place("nova.domain_commands", "report"),
    "override": Place("nova.governance.commands", "override"),
    "governance": Place("nova.governance.commands", "governance"),
    "analytics": Place("nova.analytics.commands", "analytics"),
    "deadletter": Place(_DEADLETTER, "deadletter"),
    "worker": Place(_WORKERS, "worker"),
    "fleet": Place(_OPERATIONS, "fleet"),
    "api-pause": Place(_OPERATIONS, "api_pause"),
    "audit": Place(_OPERATIONS, "audit", "nova audit --limit 50"),
    "gate": Place(_OPERATIONS, "gate", "nova gate --release 0.2.0-1a2b3c4d --worker trends@nova1"),
    "release": Place("nova.operations.release_commands", "release"),
    "migration": Place("nova.legacy.commands", "migration"),
    "sources": Place("nova.source_commands", "sources"),
    "memory": Place("nova.memory_commands", "memory"),
    "token": Place("nova.api.commands", "token"),
    "api": Place("nova.api.commands", "api", "nova api"),
}


class Lazily(UserDict[str, Any]):
    """Commands by name; a place becomes its command when that is asked for."""

    def __getitem__(self, name: str) -> TyperCommand:
        """Return a command.

        Raises:
            KeyError: there is none of that name.
        """
        if isinstance(self.data[name], Place):
            self.data[name] = self.data[name].load(name)
        return cast("TyperCommand", self.data[name])


class Commands(TyperGroup):
    """Loads a command when it is asked for: to load all takes longer than most of them run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = Lazily({**self.commands, **PLACES})

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, and load none."""
        return list(self.commands)


app = typer.Typer(
    name="nova",
    cls=Commands,
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


def main() -> None:
    """Run the command line; an error that is meant for people becomes one line and an exit code."""
    try:
        app()
    except NovaError as error:
        typer.echo(f"nova: {error}", err=True)
        # Scripts can tell what to try again, as sysexits.h has it, from what to mend.
        sys.exit(os.EX_TEMPFAIL if isinstance(error, UnavailableError) else 1)
