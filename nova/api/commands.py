"""The commands `nova api` and `nova token`."""

from datetime import timedelta
from typing import Annotated

import typer
from rich.markup import escape

from nova.api.security import Role, TokenIssuer
from nova.api.tokens import TokenRecord, list_tokens, record_token, revoke_token
from nova.settings import get_settings, present_user
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_list, parse_duration, print_json

token = typer.Typer(name="token", help="Tokens for the API.", no_args_is_help=True)


@token.command(epilog="Example: nova token create --role admin --ttl 8h --subject ann")
def create(
    role: Annotated[Role, typer.Option(help="What the token's owner may do.")],
    ttl: Annotated[
        timedelta,
        typer.Option(parser=parse_duration, metavar="DURATION", help="How long it is valid."),
    ] = "1h",  # type: ignore[assignment]  # Typer passes defaults through the parser
    subject: Annotated[str, typer.Option(help="Who will use it; stands in records.")] = "cli",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the token with its id and expiry, as JSON.")
    ] = False,
) -> None:
    """Print a new token on standard output, and nothing else; it is listed, without the token."""
    issued = TokenIssuer(get_settings()).issue(subject, role, ttl)
    with open_redis(get_settings()) as client:
        record_token(client, issued)
    if as_json:
        print_json(
            {"token": issued.text, **TokenRecord.model_validate(issued).model_dump(mode="json")}
        )
    else:
        typer.echo(issued.text)


@token.command("list", epilog="Example: nova token list --limit 5")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Most tokens to show.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the tokens that have not expired, the one that lives longest first."""
    with open_redis(get_settings()) as client:
        page = list_tokens(client, offset, limit)
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    if not page.total:
        console.print("There is no token. Make one: nova token create --role viewer")
        return
    table = new_list("token", "subject", "role", "expires (UTC)")
    for found in page.tokens:
        end = f"{found.expires_at:%Y-%m-%d %H:%M}"
        table.add_row(
            found.id,
            escape(found.subject),
            found.role.value,
            end if found.revoked_at is None else f"revoked by {escape(found.revoked_by or '')}",
        )
    console.print(table)
    console.print(f"{len(page.tokens)} of {page.total:,}")


@token.command(epilog="Example: nova token revoke 3f0c6a0de41c4f0f8a6c1f1c2b9a7d55")
def revoke(
    token_id: Annotated[
        str, typer.Argument(metavar="ID", help="The token's id, as `nova token list` has it.")
    ],
    by: Annotated[
        str | None, typer.Option(help="Who revokes it; this user if not given.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a token: no API host takes it from now on."""
    with open_redis(get_settings()) as client:
        revoked = revoke_token(client, token_id, by or present_user())
    if as_json:
        print_json(revoked.model_dump(mode="json"))
    else:
        console.print(escape(f"{token_id} of {revoked.subject}: revoked"))


def api() -> None:
    """Serve the management API until SIGTERM or Ctrl-C."""
    from nova.api.server import serve
    from nova.celery_app import app

    serve(get_settings(), app)
