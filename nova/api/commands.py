"""The commands `nova api` and `nova token`."""

import re
from datetime import timedelta
from typing import Annotated

import typer

from nova.api.security import Role, TokenIssuer
from nova.settings import get_settings

token = typer.Typer(name="token", help="Tokens for the API.", no_args_is_help=True)

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


@token.callback()
def _token_group() -> None:
    """Keep `create` a command of its own: Typer would merge a lone one into its group."""


@token.command(epilog="Example: nova token create --role admin --ttl 8h")
def create(
    role: Annotated[Role, typer.Option(help="What the token's owner may do.")],
    ttl: Annotated[
        timedelta,
        typer.Option(parser=parse_duration, metavar="DURATION", help="How long it is valid."),
    ] = "1h",  # type: ignore[assignment]  # Typer passes defaults through the parser
    subject: Annotated[str, typer.Option(help="Who will use it; stands in records.")] = "cli",
) -> None:
    """Print a new token on standard output, and nothing else."""
    typer.echo(TokenIssuer(get_settings()).create(subject, role, ttl))


def api() -> None:
    """Serve the management API until SIGTERM or Ctrl-C."""
    from nova.api.server import serve
    from nova.celery_app import app

    serve(get_settings(), app)
