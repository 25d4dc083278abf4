"""Dead letters as they are read from Redis, whatever stands in them."""

import json
from datetime import UTC, datetime

from celery import Celery

from nova.runtime.deadletters import _read
from nova.store import Keys


def letter(**fields: object) -> bytes:
    """Return a letter as lua/claim.lua writes it."""
    whole = {
        "id": "0f3a9c51be27",
        "task_id": "task-1",
        "task": "nova.trends.scan",
        "queue": "trends",
        "reason": "started 5 times and never finished",
        "at": 1767225600.25,
        "starts": 2,
        "history": "1767225500.125 trends@a\n1767225550.500 trends@b\n",
        "message": json.dumps({"headers": {"argsrepr": "(1,)", "kwargsrepr": "{'a': 2}"}}),
    }
    return json.dumps(whole | fields).encode()


def test_a_letter_tells_what_was_called_and_where_it_was_started_when() -> None:
    found = _read(letter())
    assert found.at == datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)
    assert [start.worker for start in found.history] == ["trends@a", "trends@b"]
    assert found.history[0].at == datetime(2025, 12, 31, 23, 58, 20, 125_000, UTC)
    assert found.arguments == "(1,) {'a': 2}"
    assert found.is_message


def test_a_message_of_another_client_has_no_arguments_to_show() -> None:
    for message in ("no JSON", "[]", "{}", '{"headers": null}', '{"headers": {"argsrepr": 1}}'):
        assert _read(letter(message=message)).arguments == ""


def test_text_that_is_no_message_can_be_read() -> None:
    found = _read(letter(task_id="", task="", history="", starts=0).replace(b"2}", b"\xff}"))
    assert not found.is_message
    assert "\ufffd" in found.message


def test_the_short_form_has_neither_message_nor_arguments() -> None:
    assert not {"message", "arguments", "history"} & _read(letter()).line().model_dump().keys()


def test_results_stand_where_celery_looks_for_them() -> None:
    backend = Celery(backend="redis://localhost").backend
    assert backend.get_key_for_task("task-1") == Keys.result("task-1").encode()
