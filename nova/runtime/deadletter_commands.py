"""The commands `nova deadletter ...`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import redis
import typer
from rich.markup import escape
from rich.table import Table

from nova.errors import InputError, NotFoundError
from nova.settings import get_settings
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_list, print_json

if TYPE_CHECKING:
    # At run time it brings Celery, which is a second of start-up for the other commands.
    from nova.runtime.deadletters import DeadLetter, DeadLetterLine

deadletter = typer.Typer(
    name="deadletter", help="Messages that were given up.", no_args_is_help=True
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The letter's id.")]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Ids of letters.", show_default=False),
]
QueueOption = Annotated[
    str | None, typer.Option(help="Only those of this queue.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, or all of --queue.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before --all.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show which ones it would be, and change nothing.")
]


@deadletter.command("list", epilog="Example: nova deadletter list --queue trends --limit 5")
def list_(
    queue: QueueOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Most letters to show.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters, newest first."""
    from nova.runtime.deadletters import list_letters

    with open_redis(get_settings()) as client:
        page = list_letters(client, queue, limit, offset)
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    if not page.total:
        console.print("There is no dead letter.")
        return
    console.print(_table(page.letters))
    console.print(f"{len(page.letters)} of {page.total:,}")


@deadletter.command(epilog="Example: nova deadletter show 0f3a9c51be27")
def show(letter_id: IdArgument, as_json: JsonOption = False) -> None:
    """Show a dead letter: its task, why and when it was given up, where it was started."""
    from nova.runtime.deadletters import find_letter

    with open_redis(get_settings()) as client:
        letter = find_letter(client, letter_id)
    if as_json:
        print_json(letter.model_dump(mode="json"))
        return
    starts = [f"{start.at:%Y-%m-%d %H:%M:%S} on {start.worker}" for start in letter.history]
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("letter", letter.id),
        ("queue", letter.queue),
        ("task", letter.task),
        ("task id", letter.task_id),
        ("arguments", letter.arguments),
        ("reason", letter.reason),
        ("since", f"{letter.at:%Y-%m-%d %H:%M:%S} UTC"),
        ("starts (UTC)", "\n".join(starts)),
        ("message", f"{len(letter.message):,} characters; --json shows them"),
    ):
        table.add_row(name, _plain(value))
    console.print(table)


@deadletter.command(epilog="Example: nova deadletter replay --all --queue trends --dry-run")
def replay(
    ids: IdsArgument = None,
    *,
    every: AllOption = False,
    queue: QueueOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put messages back into their queues; their tasks start anew, with a clean count."""
    from nova.runtime import deadletters

    with open_redis(get_settings()) as client:
        letters = _choose(client, ids or [], every, queue)
        if every:
            # Text that is no message would be back at once.
            letters = [letter for letter in letters if letter.is_message]
        if not dry_run:
            _confirm("replay", letters, is_sure=yes or not every)
            letters = _each(client, deadletters.replay, letters, may_be_gone=every)
    _report(letters, "to replay" if dry_run else "back in their queues", as_json)


@deadletter.command(epilog="Example: nova deadletter drop 0f3a9c51be27")
def drop(
    ids: IdsArgument = None,
    *,
    every: AllOption = False,
    queue: QueueOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Throw messages away; their tasks stay failed, and no copy of them runs again."""
    from nova.runtime import deadletters

    with open_redis(get_settings()) as client:
        letters = _choose(client, ids or [], every, queue)
        if not dry_run:
            _confirm("drop", letters, is_sure=yes or not every)
            letters = _each(client, deadletters.drop, letters, may_be_gone=every)
    _report(letters, "to drop" if dry_run else "dropped", as_json)


def _choose(
    client: redis.Redis, ids: Sequence[str], every: bool, queue: str | None
) -> "list[DeadLetter]":
    from nova.runtime.deadletters import all_letters, find_letter

    if bool(ids) == every or (queue and not every):
        raise InputError("give either ids of letters, or --all and perhaps --queue QUEUE")
    if every:
        return all_letters(client, queue)
    return [find_letter(client, letter_id) for letter_id in dict.fromkeys(ids)]


def _confirm(verb: str, letters: "Sequence[DeadLetter]", *, is_sure: bool) -> None:
    if letters and not is_sure:
        count = f"{len(letters):,} dead letter{'s' if len(letters) > 1 else ''}"
        typer.confirm(f"{verb} {count}?", abort=True, err=True)


def _each(
    client: redis.Redis,
    action: "Callable[[redis.Redis, DeadLetter], None]",
    letters: "Sequence[DeadLetter]",
    *,
    may_be_gone: bool,
) -> "list[DeadLetter]":
    """Act on each letter; return those that were there."""
    done = []
    for letter in letters:
        try:
            action(client, letter)
        except NotFoundError:
            if not may_be_gone:
                raise
        else:
            done.append(letter)
    return done


def _report(letters: "Sequence[DeadLetter]", what: str, as_json: bool) -> None:
    lines = [letter.line() for letter in letters]
    if as_json:
        print_json([line.model_dump(mode="json") for line in lines])
        return
    if lines:
        console.print(_table(lines))
    console.print(f"{len(lines):,} {what}")


def _table(letters: "Sequence[DeadLetterLine]") -> Table:
    table = new_list("letter", "since (UTC)", "queue", "task", "reason", unwrapped=2)
    for letter in letters:
        since = f"{letter.at:%Y-%m-%d %H:%M}"
        table.add_row(letter.id, since, *map(_plain, (letter.queue, letter.task, letter.reason)))
    return table


def _plain(text: str) -> str:
    """Return text of publishers, without what a terminal or Rich would take for orders."""
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return escape(shown)
