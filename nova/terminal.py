"""What the commands share: how they talk to people and to programs."""

import sys
from typing import Annotated

import orjson
import typer
from rich.console import Console

console = Console()

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: object) -> None:
    """Print a value as indented JSON on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
