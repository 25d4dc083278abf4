"""Which differences between two releases are refused, and which are told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nova.cli import app
from nova.errors import InputError
from nova.operations.skew import Change, Manifest, compare, parse_manifest

TASK = "nova.trends.daily_trend_scan_task"
Edit = Callable[[dict[str, Any]], None]

BASIS: dict[str, Any] = {
    "release": "1",
    "queues": ["trends", "analysis"],
    "tasks": {
        TASK: {
            "queue": "trends",
            "arguments": {
                "type": "object",
                "properties": {
                    "day": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                    "limit": {"type": "integer", "minimum": 1},
                },
                "required": ["limit"],
            },
        }
    },
    "beat": {"daily": {"task": TASK, "queue": "trends", "cron": "0 6 * * *"}},
    "data": {"writes": 1, "reads": [1]},
}


def manifest(*edits: Edit, release: str = "2") -> Manifest:
    text = json.loads(json.dumps(BASIS)) | {"release": release}
    for edit in edits:
        edit(text)
    return Manifest.model_validate(text)


def changes(*edits: Edit) -> list[Change]:
    return compare(manifest(release="1"), manifest(*edits))


def properties(text: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = text["tasks"][TASK]["arguments"]["properties"]
    return found


def remove_task(text: dict[str, Any]) -> None:
    del text["tasks"][TASK]


def add_task(text: dict[str, Any]) -> None:
    text["tasks"]["nova.trends.other"] = text["tasks"][TASK]


def to_new_queue(text: dict[str, Any]) -> None:
    text["queues"].append("fast")
    text["tasks"][TASK]["queue"] = "fast"


def from_removed_queue(text: dict[str, Any]) -> None:
    text["queues"].remove("trends")
    text["tasks"][TASK]["queue"] = "analysis"


def to_known_queue(text: dict[str, Any]) -> None:
    text["tasks"][TASK]["queue"] = "analysis"


def remove_argument(text: dict[str, Any]) -> None:
    del properties(text)["day"]


def take_others(text: dict[str, Any]) -> None:
    remove_argument(text)
    text["tasks"][TASK]["takes_others"] = True


def add_argument(text: dict[str, Any]) -> None:
    properties(text)["language"] = {"type": "string", "default": "en"}


def add_required(text: dict[str, Any]) -> None:
    properties(text)["language"] = {"type": "string"}
    text["tasks"][TASK]["arguments"]["required"].append("language")


def require(text: dict[str, Any]) -> None:
    text["tasks"][TASK]["arguments"]["required"].append("day")


def make_optional(text: dict[str, Any]) -> None:
    text["tasks"][TASK]["arguments"]["required"] = []


def narrow(text: dict[str, Any]) -> None:
    properties(text)["limit"]["minimum"] = 5


def widen(text: dict[str, Any]) -> None:
    properties(text)["limit"]["minimum"] = 0


def change_default(text: dict[str, Any]) -> None:
    properties(text)["day"]["default"] = "today"


def change_cron(text: dict[str, Any]) -> None:
    text["beat"]["daily"]["cron"] = "0 7 * * *"


def add_entry(text: dict[str, Any]) -> None:
    text["beat"]["other"] = text["beat"]["daily"]


def expand_data(text: dict[str, Any]) -> None:
    text["data"] = {"writes": 1, "reads": [1, 2]}


def write_what_old_cannot_read(text: dict[str, Any]) -> None:
    text["data"] = {"writes": 2, "reads": [1, 2]}


def forget_what_old_writes(text: dict[str, Any]) -> None:
    text["data"] = {"writes": 1, "reads": [2]}


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        (remove_task, "task", "removed"),
        (to_new_queue, "queue", "new queue fast"),
        (from_removed_queue, "queue", "new workers do not serve"),
        (remove_argument, "argument", "argument day: removed"),
        (add_required, "argument", "argument language: added and required"),
        (require, "argument", "argument day: required now"),
        (narrow, "argument", "argument limit: takes less"),
        (write_what_old_cannot_read, "data", "2 writes format 2, which 1 cannot read"),
        (forget_what_old_writes, "data", "1 writes format 1, which 2 cannot read"),
    ],
)
def test_what_would_lose_tasks_or_data_is_refused(edit: Edit, kind: str, words: str) -> None:
    first = changes(edit)[0]
    assert not first.is_compatible
    assert first.kind == kind
    assert words in first.line()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (add_task, "added"),
        (to_known_queue, "goes to analysis"),
        (take_others, "argument day: no longer named"),
        (add_argument, "argument language: added"),
        (make_optional, "argument limit: optional now"),
        (widen, "argument limit: takes more"),
        (change_default, "argument day: another default"),
        (change_cron, "cron 0 6 * * * -> 0 7 * * *"),
        (add_entry, "other: added"),
    ],
)
def test_what_both_can_live_with_is_told(edit: Edit, words: str) -> None:
    [change] = changes(edit)
    assert change.is_compatible
    assert words in change.line()


def test_nothing_is_told_of_what_is_the_same_and_reading_more_is_no_matter() -> None:
    assert changes() == []
    assert changes(expand_data) == []


def test_a_format_changes_in_two_steps() -> None:
    """Expand, then contract: each step alone is fine, both at once are not."""

    def contract(text: dict[str, Any]) -> None:
        text["data"] = {"writes": 2, "reads": [1, 2]}

    first, second, third = manifest(), manifest(expand_data), manifest(contract)
    assert compare(first, second) == []
    assert all(change.is_compatible for change in compare(second, third))
    assert not compare(first, third)[0].is_compatible


def test_fields_of_a_newer_release_are_ignored() -> None:
    text = json.dumps(BASIS | {"colour": "blue"})
    assert parse_manifest(text, "new.json").release == "1"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"release": 1}'])
def test_what_is_no_manifest_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"new\.json is no manifest") as caught:
        parse_manifest(text, "new.json")
    assert "\n" not in str(caught.value)


def test_the_command_fails_with_a_line_for_each_that_is_refused(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(manifest(release="1").model_dump_json())
    new.write_text(manifest(add_task, narrow).model_dump_json())
    run = CliRunner().invoke(app, ["release", "compare", str(old), str(new)])
    assert run.exit_code == 1
    assert run.stderr.startswith(f"{TASK}: argument limit: takes less")
    assert run.stdout.startswith("nova.trends.other: added")
    run = CliRunner().invoke(app, ["release", "compare", "-", str(old)], input=new.read_text())
    assert run.exit_code == 1, "the other way round a task is missing"
    answer = CliRunner().invoke(app, ["release", "compare", str(old), str(old), "--json"])
    assert json.loads(answer.stdout) == {"is_compatible": True, "changes": []}


@pytest.mark.parametrize("names", [("-", "-"), ("there-is-none.json", "-")])
def test_files_that_cannot_be_read_are_an_error_for_people(names: tuple[str, str]) -> None:
    run = CliRunner().invoke(app, ["release", "compare", *names])
    assert isinstance(run.exception, InputError)
