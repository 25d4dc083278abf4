"""The command `nova worker`."""

import math
import time
from typing import Annotated, Any

import redis
import typer
from pydantic import BaseModel

from nova.errors import ConflictError, NotFoundError, UnavailableError
from nova.queues import QUEUES
from nova.runtime.drain import budget_seconds
from nova.runtime.heartbeat import INTERVAL_SECONDS, WorkerHeartbeat, read_workers
from nova.settings import get_settings
from nova.store import Keys, open_redis
from nova.terminal import JsonOption, console, new_table, print_json

worker = typer.Typer(
    name="worker", help="Look at workers, and take them out of service.", no_args_is_help=True
)

POLL_SECONDS = 0.5
#: A worker reads every few seconds whether it is drained, and tells its state as often.
NOTICE_SECONDS = 3 * INTERVAL_SECONDS

NameArgument = Annotated[
    str, typer.Argument(help="The worker's name, as `nova worker list` has it.")
]
AllowUnknownOption = Annotated[
    bool,
    typer.Option(
        help="Also a worker that is not online, such as one that is yet to start.",
        # For playbooks, which also ask releases that do not know the option.
        envvar="NOVA_WORKER_ALLOW_UNKNOWN",
    ),
]


class WorkerEntry(BaseModel):
    """One worker: online, or drained and away."""

    name: str
    state: str
    active: int = 0
    queues: list[str] = []


@worker.command("list", epilog="Example: nova worker list")
def list_workers(as_json: JsonOption = False) -> None:
    """Show the workers, what they do, and which are drained."""
    settings = get_settings()
    with open_redis(settings) as client:
        entries = read_entries(client)
    if as_json:
        print_json([entry.model_dump() for entry in entries])
        return
    table = new_table("worker", "state", "running", "queues")
    for entry in entries:
        queues = ", ".join(name for name in entry.queues if name in QUEUES)
        table.add_row(entry.name, entry.state, str(entry.active), queues)
    console.print(table if entries else "No worker is online.")


def read_entries(client: redis.Redis) -> list[WorkerEntry]:
    """Return all workers that are online, and those that are drained and away, by name.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    entries = {beat.name: _entry(beat) for beat in read_workers(client)}
    for name in _names(client.smembers(Keys.DRAINED)):
        entries.setdefault(name, WorkerEntry(name=name, state="drained, not online"))
    return [entries[name] for name in sorted(entries)]


def _entry(beat: WorkerHeartbeat) -> WorkerEntry:
    return WorkerEntry(name=beat.name, state=beat.state, active=beat.active, queues=beat.queues)


def _names(members: Any) -> list[str]:
    return sorted(member.decode() for member in members)


@worker.command(epilog="Example: nova worker drain trends@nova2 --timeout 600")
def drain(
    name: NameArgument,
    wait: Annotated[bool, typer.Option(help="Wait until nothing runs there any more.")] = True,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Most seconds to wait; as long as the time limits of its queues when not given.",
        ),
    ] = None,
    allow_unknown: AllowUnknownOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a worker finish what runs and take nothing more, also after a restart of it."""
    settings = get_settings()
    with open_redis(settings) as client:
        if not allow_unknown:
            _check_known(client, name)
        is_new = client.sadd(Keys.DRAINED, name)
        if not is_new and not as_json:
            typer.echo(f"{name}: was to be drained before")
        entry = _find(client, name)
        if wait and entry.queues:  # else it is not online, and drained as soon as it is
            longest = budget_seconds(entry.queues, settings) + NOTICE_SECONDS
            entry = _wait(client, entry, longest if timeout is None else timeout, quiet=as_json)
    _report(entry, as_json)


@worker.command(epilog="Example: nova worker resume trends@nova2")
def resume(
    name: NameArgument,
    allow_unknown: AllowUnknownOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a drained worker take tasks again; it does so within some seconds."""
    settings = get_settings()
    with open_redis(settings) as client:
        if not allow_unknown:
            _check_known(client, name)
        was_drained = client.srem(Keys.DRAINED, name)
        entry = _find(client, name)
    if as_json:
        print_json(entry.model_dump())
    else:
        typer.echo(f"{name}: {'resumed' if was_drained else 'was not drained'}")


@worker.command(epilog="Example: nova worker forget trends@nova3")
def forget(name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove what is known of a worker that is gone for good: its mark, its counts, its own queue.

    Refused while it is online, or has messages in its queue: those are for it alone.
    """
    from celery.utils.nodenames import worker_direct

    from nova.celery_app import app

    own = worker_direct(name)
    with open_redis(get_settings()) as client:
        if client.exists(Keys.worker(name)):
            raise ConflictError(f"{name} is online; stop it first")
        if waiting := client.llen(own.name):
            raise ConflictError(
                f"{own.name}, which only {name} reads, has {waiting} messages; start it once more, "
                f"or throw them away: nova celery purge --queues {own.name}"
            )
        with client.pipeline() as pipe:
            pipe.srem(Keys.DRAINED, name)
            pipe.zrem(Keys.WORKERS, name)
            pipe.zrem(Keys.COUNTING_WORKERS, name)
            pipe.delete(Keys.worker_counts(name))
            was_known = any(pipe.execute())
        with app.connection_for_write() as connection:
            queue = own(connection.default_channel)
            queue.declare()  # kombu removes only the bindings that this process knows
            queue.delete()
    if as_json:
        print_json({"name": name, "was_known": was_known})
    else:
        typer.echo(f"{name}: {'forgotten' if was_known else 'was not known'}")


def _check_known(client: redis.Redis, name: str) -> None:
    known = {*_names(client.zrange(Keys.WORKERS, 0, -1)), *_names(client.smembers(Keys.DRAINED))}
    if name not in known:
        there_are = f"there are: {', '.join(sorted(known))}" if known else "none is online"
        raise NotFoundError(f"no worker is called {name}; {there_are}")


def _find(client: redis.Redis, name: str) -> WorkerEntry:
    found = [entry for entry in read_entries(client) if entry.name == name]
    return found[0] if found else WorkerEntry(name=name, state="not online")


def _wait(client: redis.Redis, entry: WorkerEntry, seconds: float, *, quiet: bool) -> WorkerEntry:
    """Wait until nothing runs, telling each change.

    Raises:
        UnavailableError: something still runs after the time; it stays drained.
    """
    deadline = time.monotonic() + seconds
    told = ""
    while entry.queues and entry.state != "drained":
        now = f"{entry.name}: {entry.state}, running: {entry.active}"
        if now != told and not quiet:
            typer.echo(now)
            told = now
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{entry.name} is {entry.state} after {math.ceil(seconds)} seconds, "
                f"running: {entry.active}; it takes no more, ask again to wait on"
            )
        time.sleep(POLL_SECONDS)
        entry = _find(client, entry.name)
    return entry


def _report(entry: WorkerEntry, as_json: bool) -> None:
    if as_json:
        print_json(entry.model_dump())
    else:
        typer.echo(f"{entry.name}: {entry.state}")
