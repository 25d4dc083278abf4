"""The commands `nova fleet`, `nova audit`, `nova gate` and `nova api-pause`."""

import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nova.errors import ConflictError
from nova.operations import audit as audit_log
from nova.operations import lock as fleet_lock
from nova.operations.audit import AuditEntry, Outcome
from nova.operations.lock import FleetLock
from nova.operations.pause import ApiPause, pause_api, read_pause, resume_api
from nova.settings import get_settings, present_user
from nova.store import open_redis, redis_errors
from nova.terminal import JsonOption, console, new_list, parse_duration, print_json

fleet = typer.Typer(
    name="fleet",
    help="Work on the fleet, one at a time: its lock, its health, its audit.",
    no_args_is_help=True,
)

api_pause = typer.Typer(
    name="api-pause",
    help="Let the API answer nobody for a while (503, Retry-After); tasks go on.",
    no_args_is_help=True,
)

TtlOption = Annotated[
    int, typer.Option(min=1, max=86400, help="Seconds until it expires if it is not renewed.")
]
TokenArgument = Annotated[
    int, typer.Argument(metavar="TOKEN", help="The token that `nova fleet lock` has printed.")
]
#: What `nova fleet renew` ends with when another has taken the lock; `nova-host` does, too.
LOCK_LOST_EXIT_CODE = 3

ByOption = Annotated[
    str | None, typer.Option(help="Who does it; this user if not given.", show_default=False)
]


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


# --- The lock


@fleet.command(epilog="Example: nova fleet lock --owner ann@controller --reason 'deploy 0.2.0'")
def lock(
    *,
    owner: Annotated[str, typer.Option(help="Who takes it; stands in refusals and the audit.")],
    reason: Annotated[str, typer.Option(help="What it is for.")],
    ttl: TtlOption = fleet_lock.TTL_SECONDS,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take it from whoever holds it; is audited.")
    ] = False,
    above: Annotated[
        int,
        typer.Option(
            min=0,
            envvar="NOVA_LOCK_ABOVE",  # playbooks also ask releases that do not know the option
            help="The highest token that any host has seen; this is higher.",
        ),
    ] = 0,
    run: Annotated[
        str,
        typer.Option(
            envvar="NOVA_LOCK_RUN",  # for the same reason
            help="An id of your own: the lock that was taken with it is given again.",
            show_default=False,
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Take the lock of the fleet, or say who holds it and fail."""
    settings = get_settings()
    with open_redis(settings) as client:
        taken = fleet_lock.take_lock(
            client,
            settings,
            owner=owner,
            reason=reason,
            ttl_seconds=ttl,
            take_over=take_over,
            above=above,
            run=run,
        )
    _report_lock(taken, as_json)


@fleet.command(epilog="Example: nova fleet renew 7 --ttl 900")
def renew(
    token: TokenArgument, ttl: TtlOption = fleet_lock.TTL_SECONDS, as_json: JsonOption = False
) -> None:
    """Let the lock live longer; ends with 3, and says why, if it is not this token's any more."""
    with open_redis(get_settings()) as client:
        try:
            renewed = fleet_lock.renew_lock(client, token, ttl)
        except ConflictError as error:
            typer.echo(f"nova: {error}", err=True)
            raise typer.Exit(LOCK_LOST_EXIT_CODE) from None
    _report_lock(renewed, as_json)


def _report_lock(found: FleetLock, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        typer.echo(f"Lock: {_lock_line(found)}")


def _lock_line(found: FleetLock) -> str:
    return (
        f"{found.owner} holds it with token {found.token} since {_clock(found.acquired_at)}, "
        f"until {_clock(found.expires_at)} UTC, for: {found.reason}"
    )


@fleet.command(epilog="Example: nova fleet unlock 7")
def unlock(token: TokenArgument, as_json: JsonOption = False) -> None:
    """Free the lock; one that is gone is fine, that of another token is refused."""
    with open_redis(get_settings()) as client:
        freed = fleet_lock.free_lock(client, token)
    if as_json:
        print_json({"token": token, "freed": freed})
    else:
        typer.echo("Lock: freed." if freed else "Lock: it was gone already.")


@fleet.command(epilog="Example: nova fleet show --json")
def show(as_json: JsonOption = False) -> None:
    """Show who works on the fleet, whether the API is paused, and what was done last."""
    with open_redis(get_settings()) as client:
        found, pause = fleet_lock.read_lock(client), read_pause(client)
        last = audit_log.read_audit(client, 1)
    if as_json:
        print_json(
            {
                "lock": None if found is None else found.model_dump(mode="json"),
                "api_pause": None if pause is None else pause.model_dump(mode="json"),
                "last": last[0].model_dump(mode="json", by_alias=True) if last else None,
            }
        )
        return
    typer.echo(f"Lock: {_lock_line(found)}" if found else "Lock: free.")
    typer.echo(f"API: {pause.line()}" if pause else "API: not paused.")
    for entry in last:
        typer.echo(f"Last: {_clock(entry.at)} UTC, {entry.line()}")


# --- The audit


@fleet.command(
    epilog="Example: nova fleet note --by ann --action deploy --from 0.1.0 --to 0.2.0 --result ok"
)
def note(
    *,
    action: Annotated[str, typer.Option(help="What was done, such as deploy.")],
    result: Annotated[Outcome, typer.Option(help="How it ended.")],
    by: ByOption = None,
    before: Annotated[str, typer.Option("--from", help="What was there before.")] = "",
    after: Annotated[str, typer.Option("--to", help="What was to be there after.")] = "",
    detail: Annotated[str, typer.Option(help="More about it, in one line.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Add a line to the audit, and to the journal of this host; secrets of Nova's are left out."""
    settings = get_settings()
    made = audit_log.new_note(
        settings,
        by=by or present_user(),
        action=action,
        before=before,
        after=after,
        result=result,
        detail=detail,
    )
    # First, for it takes the line also while Redis is away.
    audit_log.tell_journal(made)
    with open_redis(settings) as client:
        audit_log.record(client, made)
    if as_json:
        print_json(made.model_dump(mode="json", by_alias=True))
    else:
        typer.echo(made.line())


def audit(
    limit: Annotated[int, typer.Option(min=1, help="Most entries to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what was done to the fleet, by whom and how it ended, newest first."""
    with open_redis(get_settings()) as client:
        entries = audit_log.read_audit(client, limit)
    if as_json:
        print_json([entry.model_dump(mode="json", by_alias=True) for entry in entries])
    elif entries:
        console.print(_audit_table(entries))
    else:
        console.print("Nothing was done yet.")


def _audit_table(entries: list[AuditEntry]) -> object:
    table = new_list("when (UTC)", "who", "what was done", unwrapped=2)
    for entry in entries:
        # A detail may be as long as a program's last words: it has lines of its own.
        words = "\n".join(filter(None, (entry.deed(), entry.detail)))
        table.add_row(_clock(entry.at), escape(entry.by), escape(words))
    return table


# --- Checks

WorkersOption = Annotated[
    list[str] | None,
    typer.Option("--worker", metavar="NAME@HOST", help="A worker; give it again for more."),
]


@fleet.command(epilog="Example: nova fleet check --worker trends@nova1 --worker trends@nova2")
def check(
    *,
    workers: WorkersOption = None,
    release: Annotated[
        str | None, typer.Option(help="The release that all must run.", show_default=False)
    ] = None,
    beat: Annotated[bool, typer.Option(help="Whether a beat must lead.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Check that the fleet may be worked on: workers, queues, beat and Redis are well."""
    from nova.operations.health import Expected, check_fleet

    settings = get_settings()
    with open_redis(settings) as client:
        found = check_fleet(client, settings, Expected(tuple(workers or ()), release, beat))
    if as_json:
        print_json(found.model_dump())
    elif found.passed:
        typer.echo("The fleet is well.")
    for finding in found.findings:
        typer.echo(finding.line(), err=True)
    if not found.passed:
        raise typer.Exit(1)


def gate(
    *,
    release: Annotated[str, typer.Option(help="The release that must answer.")],
    workers: WorkersOption = None,
    api: Annotated[
        str,
        typer.Option(metavar="URL", help="Where the API is, such as http://127.0.0.1:8000."),
    ] = "",
    api_ca: Annotated[
        Path | None,
        typer.Option(
            exists=True, help="CA certificates (PEM) that the API's one is verified with."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds within which all must pass.")
    ] = 120,
    as_json: JsonOption = False,
) -> None:
    """Check what was just started on this host: that it runs the release, and does its work."""
    from nova.celery_app import app
    from nova.operations.gate import Wanted, run_gate

    settings = get_settings()
    wanted = Wanted(release, tuple(workers or ()), api, api_ca, timeout)
    # A playbook that is interrupted ends it so: what it has published is taken back all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with redis_errors(settings):
        result = run_gate(settings, app, wanted)
    if as_json:
        print_json(result.model_dump())
    elif result.passed:
        typer.echo(f"Gate: release {release} passed in {result.seconds:.1f} s.")
    for check in result.checks:
        if not check.passed:
            typer.echo(check.line(), err=True)
    if not result.passed:
        raise typer.Exit(1)


# --- The pause of the API


@api_pause.command(epilog="Example: nova api-pause on --for 30m --reason 'moving Redis'")
def on(
    duration: Annotated[
        timedelta,
        typer.Option(
            "--for", parser=parse_duration, metavar="DURATION", help="Then it ends by itself."
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why; callers of the API read it.")],
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause the API on all hosts, at once; probes and metrics go on."""
    settings = get_settings()
    with open_redis(settings) as client:
        pause = pause_api(
            client, settings, duration=duration, reason=reason, by=by or present_user()
        )
    _report_pause(pause, as_json)


@api_pause.command(epilog="Example: nova api-pause off")
def off(by: ByOption = None, as_json: JsonOption = False) -> None:
    """End the pause; without one, nothing is done."""
    settings = get_settings()
    with open_redis(settings) as client:
        was_paused = resume_api(client, settings, by=by or present_user())
    if as_json:
        print_json({"was_paused": was_paused})
    else:
        typer.echo("API: resumed." if was_paused else "API: it was not paused.")


@api_pause.command("show", epilog="Example: nova api-pause show --json")
def show_pause(as_json: JsonOption = False) -> None:
    """Show whether the API is paused, why and until when."""
    with open_redis(get_settings()) as client:
        pause = read_pause(client)
    _report_pause(pause, as_json)


def _report_pause(pause: ApiPause | None, as_json: bool) -> None:
    if as_json:
        print_json(None if pause is None else pause.model_dump(mode="json"))
    else:
        typer.echo("API: not paused." if pause is None else f"API: {pause.line()}")
