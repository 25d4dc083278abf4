"""The command `nova release`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

import nova
from nova.errors import InputError
from nova.operations import releases
from nova.operations.releases import Release, ReleaseState
from nova.settings import get_settings, present_user
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_list, print_json

if TYPE_CHECKING:
    from nova.operations.skew import Manifest

release = typer.Typer(
    name="release",
    help="What is known of releases, and whether two fit together.",
    no_args_is_help=True,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The release.")]
ByOption = Annotated[
    str | None, typer.Option(help="Who says so; this user if not given.", show_default=False)
]


@release.command("list", epilog="Example: nova release list")
def list_(as_json: JsonOption = False) -> None:
    """List the releases that were judged or are running, the one judged last first."""
    with open_redis(get_settings()) as client:
        found = releases.list_releases(client)
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    table = new_list("release", "state", "since (UTC)", "by", "workers", "reason", gap=1)
    for one in found:
        since = "-" if one.since is None else f"{one.since:%Y-%m-%d %H:%M}"
        table.add_row(
            escape(one.id), one.state, since, escape(one.by), str(one.workers), escape(one.reason)
        )
    console.print(table if found else "No release is known.")


@release.command(epilog="Example: nova release good 0.2.0-1a2b3c4d --by ann")
def good(release_id: IdArgument, by: ByOption = None, as_json: JsonOption = False) -> None:
    """Call a release good: a rollback may go to it. Refused for one that is voided."""
    _mark(release_id, "good", by, "", as_json)


@release.command(epilog="Example: nova release void 0.2.0-1a2b3c4d --reason 'loses titles'")
def void(
    release_id: IdArgument,
    reason: Annotated[str, typer.Option(help="Why it must not come back.")],
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Void a release: nothing deploys it, and no rollback goes to it."""
    _mark(release_id, "voided", by, reason, as_json)


@release.command(epilog="Example: nova release unvoid 0.2.0-1a2b3c4d --by ann")
def unvoid(release_id: IdArgument, by: ByOption = None, as_json: JsonOption = False) -> None:
    """Let a voided release be deployed again; it is good only when it is called so again."""
    _mark(release_id, "unknown", by, "", as_json)


def _mark(release_id: str, state: ReleaseState, by: str | None, reason: str, as_json: bool) -> None:
    settings = get_settings()
    with open_redis(settings) as client:
        found = releases.mark_release(
            client, settings, release_id, state, by=by or present_user(), reason=reason
        )
    _report(found, as_json)


@release.command(epilog="Example: nova release check 0.2.0-1a2b3c4d")
def check(release_id: IdArgument, as_json: JsonOption = False) -> None:
    """Fail if a release is voided, and say why; else say what is known of it."""
    with open_redis(get_settings()) as client:
        found = releases.check_release(client, release_id)
    _report(found, as_json)


@release.command(epilog="Example: nova release previous --before 0.2.0-1a2b3c4d")
def previous(
    before: Annotated[
        str,
        typer.Option(metavar="ID", help="The release to go back from; that of this host if unset."),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Print where a rollback goes to: the release that was called good last, but for this one."""
    with open_redis(get_settings()) as client:
        found = releases.previous_release(client, before or nova.__release__)
    if as_json:
        _report(found, as_json)
    else:
        typer.echo(found.id)


# --- Two releases side by side

ManifestArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="Its manifest; - is standard input.")
]


@release.command(epilog="Example: nova release manifest > new.json")
def manifest(
    _as_json: Annotated[
        bool, typer.Option("--json", help="As it is in any case: JSON for programs.")
    ] = False,
) -> None:
    """Print what this release has in common with others: tasks, schedule, formats of data."""
    print_json(_own_manifest().model_dump(mode="json"))


def _own_manifest() -> "Manifest":
    from nova.celery_app import app
    from nova.operations.skew import make_manifest

    return make_manifest(app)


@release.command(epilog="Example: nova release compare old.json new.json")
def compare(
    old: ManifestArgument,
    new: Annotated[
        str, typer.Argument(metavar="FILE", help="The other one; this release if left out.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Compare two manifests; fail if the releases cannot run side by side, with a line for each."""
    from nova.operations import skew

    if (old, new) == ("-", "-"):
        raise InputError("only one of the two manifests can come from standard input")
    before = skew.parse_manifest(_read(old), old)
    after = skew.parse_manifest(_read(new), new) if new else _own_manifest()
    changes = skew.compare(before, after)
    is_compatible = all(change.is_compatible for change in changes)
    if as_json:
        lines = [change.model_dump(mode="json") for change in changes]
        print_json({"is_compatible": is_compatible, "changes": lines})
    for change in changes:
        if not change.is_compatible:
            typer.echo(change.line(), err=True)
        elif not as_json:
            typer.echo(change.line())
    if not is_compatible:
        raise typer.Exit(1)


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {name}: {error}") from None


def _report(found: Release, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"workers"}))
        return
    reason = f": {found.reason}" if found.reason else ""
    typer.echo(f"{found.id}: {found.state}{reason}")
