"""The commands `nova memory`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from nova.errors import InputError
from nova.memory import Entry, Memory
from nova.settings import get_settings
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_table, print_json

memory = typer.Typer(
    name="memory", help="What the domains remember from run to run.", no_args_is_help=True
)

NamespaceArgument = Annotated[str, typer.Argument(help="The namespace, such as trends.")]
KeyArgument = Annotated[str, typer.Argument(help="The entry's key.")]


@contextmanager
def _memory() -> Iterator[Memory]:
    settings = get_settings()
    with open_redis(settings) as client:
        yield Memory(client)


@memory.command("list", epilog="Example: nova memory list trends --limit 5")
def list_(
    namespace: Annotated[
        str | None, typer.Argument(help="The namespace; all of them are listed if not given.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the namespaces, or the entries of one."""
    with _memory() as store:
        counts = store.namespaces()
        entries = [] if namespace is None else store.entries(namespace, limit)
    if namespace is None:
        _print_namespaces(counts, as_json)
        return
    total = counts.get(namespace, 0)
    if as_json:
        print_json({"total": total, "entries": [_plain(entry) for entry in entries]})
        return
    table = new_table("key", "bytes", "last access (UTC)")
    for entry in entries:
        size, access = f"{entry.value_bytes:,}", f"{entry.last_access:%Y-%m-%d %H:%M}"
        table.add_row(escape(entry.key), size, access)
    if entries:
        console.print(table)
    console.print(f"{len(entries)} of {total:,}")


def _print_namespaces(counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(counts)
        return
    if not counts:
        console.print("Nothing is remembered.")
        return
    table = new_table("namespace", "entries")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    console.print(table)


@memory.command(epilog="Example: nova memory show trends cats")
def show(namespace: NamespaceArgument, key: KeyArgument, as_json: JsonOption = False) -> None:
    """Show an entry; this does not count as access."""
    with _memory() as store:
        entry = store.entry(namespace, key)
    if as_json:
        print_json(_plain(entry))
        return
    typer.echo(json.dumps(entry.value, indent=2, ensure_ascii=False))
    console.print(f"last access {entry.last_access:%Y-%m-%d %H:%M:%S} UTC")


@memory.command("set", epilog="""Example: nova memory set trends cats '{"score": 3.2}'""")
def set_(
    namespace: NamespaceArgument,
    key: KeyArgument,
    value: Annotated[str, typer.Argument(metavar="JSON", help="The value, as JSON.")],
    as_json: JsonOption = False,
) -> None:
    """Store a value in place of what was there."""
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the value is not JSON: {error}; put a text in double quotes") from None
    with _memory() as store:
        store.put(namespace, key, parsed)
        entry = store.entry(namespace, key)
    if as_json:
        print_json(_plain(entry))
        return
    console.print(escape(f"{namespace} {key}: {entry.value_bytes:,} bytes"))


@memory.command(epilog="Example: nova memory forget trends cats")
def forget(namespace: NamespaceArgument, key: KeyArgument, as_json: JsonOption = False) -> None:
    """Remove an entry."""
    with _memory() as store:
        store.delete(namespace, key)
    if as_json:
        print_json({"namespace": namespace, "key": key})
        return
    console.print(escape(f"{namespace} {key}: forgotten"))


def _plain(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "last_access": entry.last_access.isoformat()}
