"""How a scheduled run ended is noted with it, and no run suffers from that."""

import logging
from typing import Any

import pytest

from nova.runtime import ending
from nova.settings import Settings
from nova.store import Keys

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any


@pytest.fixture(autouse=True)
def _settings_of_the_test(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "get_settings", lambda: settings)


def test_success_and_failure_are_noted_with_their_times(client: Client) -> None:
    for run in ("good", "bad"):
        client.hset(Keys.issued_task(run), "name", "task")
    ending.note("good", "SUCCESS", {"report_id": "good"}, 12.5)
    ending.note("bad", "FAILURE", ValueError("two\nlines"), None)
    good, bad = client.hgetall(Keys.issued_task("good")), client.hgetall(Keys.issued_task("bad"))
    assert (good[b"status"], good[b"began"]) == (b"SUCCESS", b"12.500")
    assert abs(float(good[b"ended"]) - client.time()[0]) < 5
    assert b"error" not in good
    assert (bad[b"status"], bad[b"error"]) == (b"FAILURE", b"ValueError: two lines")
    assert b"began" not in bad


def test_a_run_that_is_not_remembered_gets_no_note(client: Client) -> None:
    """Else the note would stay for ever."""
    ending.note("gone", "SUCCESS", None, 1.0)
    assert client.keys() == []


def test_a_redis_that_is_away_costs_a_line(
    make_settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(REDIS_URL="redis://127.0.0.1:1/0")
    monkeypatch.setattr(ending, "get_settings", lambda: settings)
    with caplog.at_level(logging.WARNING):
        ending.note("any", "SUCCESS", None, 1.0)
    assert "how the run any ended is not noted with it" in caplog.text


def test_a_long_error_is_cut() -> None:
    assert len(ending.describe(ValueError("x" * 5000))) == ending.ERROR_LENGTH
