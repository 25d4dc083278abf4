"""The commands `nova sources`."""

from typing import Any

import typer
from rich.markup import escape

from nova.settings import get_settings
from nova.sources import Source, SourceFile, load_sources
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_table, print_json

sources = typer.Typer(
    name="sources", help="The sources that Nova fetches from.", no_args_is_help=True
)
NONE = "There is no source. Name a file of them in NOVA_SOURCES; see config/sources.yml"


@sources.command("list", epilog="Example: nova sources list --json")
def list_(as_json: JsonOption = False) -> None:
    """Check the file of sources and list them."""
    found = load_sources(get_settings())
    if as_json:
        print_json([source.model_dump(mode="json") for source in found])
        return
    if not found:
        console.print(NONE)
        return
    table = new_table("source", "kind", "language", "url")
    for source in found:
        table.add_row(source.name, source.kind, source.language or "", _where(source))
    console.print(table)


@sources.command(epilog="Example: nova sources check")
def check(as_json: JsonOption = False) -> None:
    """Read each source once; exit code 1 if one fails."""
    from nova.source_reading import read_sources

    settings = get_settings()
    found = load_sources(settings)
    with open_redis(settings) as client:
        answers = [_answer(reading) for reading in read_sources(client, settings, found)]
    if as_json:
        print_json(answers)
    elif not found:
        console.print(NONE)
    else:
        _print_answers(answers)
    if any(answer["status"] == "failed" for answer in answers):
        raise typer.Exit(1)


@sources.command(epilog="Example: nova sources schema")
def schema() -> None:
    """Print the JSON schema of the file, for editors."""
    print_json(SourceFile.model_json_schema())


def _where(source: Source) -> str:
    from nova.fetching import shown_url

    return escape(shown_url(source.url)) if source.url else "what was ingested"


def _answer(reading: Any) -> dict[str, Any]:
    items, fetched_at = reading.items, reading.fetched_at
    return {
        "name": reading.source.name,
        "kind": reading.source.kind,
        "status": "failed" if reading.error else "not changed" if reading.from_cache else "ok",
        "latency_seconds": round(reading.latency_seconds, 3),
        "items": len(items.items) if items else 0,
        "left_out": items.left_out if items else 0,
        "fetched_at": fetched_at.isoformat() if fetched_at else None,
        "error": reading.error,
    }


def _print_answers(answers: list[dict[str, Any]]) -> None:
    table = new_table("source", "status", "latency", "items", "left out", "of (UTC)")
    for answer in answers:
        style = "red" if answer["status"] == "failed" else "green"
        table.add_row(
            answer["name"],
            f"[{style}]{answer['status']}[/]",
            f"{answer['latency_seconds']:.3f} s",
            f"{answer['items']:,}",
            f"{answer['left_out']:,}",
            (answer["fetched_at"] or "")[:16].replace("T", " "),
        )
    console.print(table)
    for answer in answers:
        if answer["error"]:
            console.print(escape(f"{answer['name']}: {answer['error']}"), soft_wrap=True)
