"""What the commands share: how they talk to people and to programs."""

import re
import sys
from datetime import timedelta
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

console = Console()

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `15m`, `12h` or `30d`.

    Raises:
        typer.BadParameter: it is none of these.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise typer.BadParameter("must be a number and a unit, such as 90s, 15m, 12h or 30d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def print_json(value: object) -> None:
    """Print a value as indented JSON on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def new_table(*headings: str, title: str | None = None) -> Table:
    """Return an empty table whose cells wrap rather than being cut."""
    result = Table(title=title, title_justify="left")
    for heading in headings:
        result.add_column(heading, overflow="fold")
    return result


def new_list(*headings: str, unwrapped: int = 1, gap: int = 2) -> Table:
    """Return an empty table without frames, so that more fits into a line of 80 characters.

    The first `unwrapped` columns are never wrapped: an id is there to be copied. Between columns
    are `gap` blanks.
    """
    result = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False)
    for place, heading in enumerate(headings):
        result.add_column(heading, overflow="fold", no_wrap=place < unwrapped)
    return result
