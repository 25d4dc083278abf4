"""Writes docs/reference/ from the code, which is the one home of what stands there.

`make docs` runs it; a contract test fails while a page differs from what it would write.
"""

from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from nova.cli import app
from nova.metrics import RUNTIME_BUCKETS, WAIT_BUCKETS, all_metrics
from nova.queues import QUEUES
from nova.schedule import SCHEDULE
from nova.settings import Settings

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTICE = "<!-- Written by `make docs` from {source}; edit that. -->\n"


def _page(title: str, source: str, body: list[str]) -> str:
    return "\n".join([f"# {title}\n", NOTICE.format(source=source), *body]) + "\n"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default()
    if default in (None, "", frozenset()) or _is_secret(field):
        return "-"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _type(annotation: Any) -> str:
    if isinstance(annotation, UnionType):
        return " or ".join(_type(item) for item in get_args(annotation) if item is not type(None))
    if get_origin(annotation) is frozenset:
        return "list"
    if choices := get_args(annotation):
        return ", ".join(choices)
    names = {
        SecretStr: "secret",
        str: "text",
        int: "number",
        float: "number",
        bool: "switch",
        Path: "path",
    }
    return names[annotation]


def settings_page() -> str:
    """Return the page of all settings."""
    rows = [
        (f"`{field.alias}`", _type(field.annotation), _default(field), field.description or "")
        for field in Settings.model_fields.values()
    ]
    intro = [
        "Every process reads these when it starts. A secret may stand in a file instead, "
        "`$CREDENTIALS_DIRECTORY/<name in lower case>`, as systemd's `LoadCredential=` makes it; "
        "the environment wins.\n",
    ]
    headings = ("variable", "type", "default", "meaning")
    return _page("Settings", "nova/settings.py", intro + _table(headings, rows))


def queues_page() -> str:
    """Return the page of queues and schedule."""
    queues = [
        (
            f"`{queue.name}`",
            queue.purpose,
            str(queue.concurrency),
            str(queue.soft_time_limit_seconds),
            str(queue.time_limit_seconds),
        )
        for queue in QUEUES.values()
    ]
    headings = ("queue", "purpose", "processes", "soft time limit (s)", "time limit (s)")
    entries = [
        (f"`{entry.name}`", f"`{entry.task}`", f"`{entry.queue}`", f"`{entry.cron}`")
        for entry in SCHEDULE
    ]
    body = [
        *_table(headings, queues),
        "\n## Schedule (UTC)\n",
        *_table(("entry", "task", "queue", "cron"), entries),
    ]
    return _page("Queues and schedule", "nova/queues.yml and nova/schedule.py", body)


def _command_help(command: TyperCommand | TyperGroup, path: str, depth: int) -> list[str]:
    context = typer.Context(command, info_name=path)
    lines = [f"{'#' * depth} `{path}`\n", (command.help or "").strip() + "\n"]
    if command.epilog:
        lines.append(f"    {command.epilog.removeprefix('Example: ')}\n")
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[0] != "--help":
            rows.append((f"`{record[0].replace('|', '/')}`", " ".join(record[1].split())))
    if rows:
        lines += [*_table(("option", "meaning"), rows), ""]
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if isinstance(child, TyperCommand | TyperGroup):
                lines += _command_help(child, f"{path} {name}", depth + 1)
    return lines


def command_page() -> str:
    """Return the page of the command line."""
    intro = [
        "Exit codes: 0 done, 1 Nova cannot do it and says why, 2 the command was typed wrongly, "
        "3 the lock of the fleet is lost, or it is not safe to go on with a migration, "
        "75 a server or a worker does not answer now: the same command may work later. "
        "`--json` prints for programs.\n",
        "Completion of commands and options: `nova --install-completion` for the current shell, or "
        "`nova --show-completion > FILE` and source that.\n",
    ]
    root = get_command(app)
    assert isinstance(root, TyperGroup)  # noqa: S101  # an app with commands is a group
    return _page("The nova command", "nova/cli.py", intro + _command_help(root, "nova", 2))


def _seconds(buckets: Sequence[float]) -> str:
    return ", ".join(f"{bound:g}" for bound in buckets)


def metrics_page() -> str:
    """Return the page of all metrics."""
    rows = []
    for metric, labels in all_metrics():
        ending = "_total" if metric.type == "counter" else ""
        braces = f"{{{','.join(labels)}}}" if labels else ""
        rows.append((f"`{metric.name}{ending}{braces}`", metric.type, metric.documentation))
    intro = [
        "`/metrics` of the API shows all of them, of the whole fleet; "
        "[operations](../operations.md#metrics) says how they come there and how many series there "
        "are. `nova_api_requests_total` and `nova_api_request_duration_seconds` alone are those of "
        "the process that answers.\n",
    ]
    buckets = [
        "\n## Buckets (seconds)\n",
        f"- `nova_task_runtime_seconds`: {_seconds(RUNTIME_BUCKETS)}",
        f"- `nova_task_wait_seconds`, `nova_worker_wait_seconds`: {_seconds(WAIT_BUCKETS)}",
    ]
    table = _table(("metric", "kind", "meaning"), rows)
    return _page("Metrics", "nova/metrics.py", intro + table + buckets)


PAGES = {
    "metrics.md": metrics_page,
    "settings.md": settings_page,
    "queues.md": queues_page,
    "commands.md": command_page,
}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render())


if __name__ == "__main__":
    main()
