"""The nova command: output for people and programs, and errors in one line."""

import json
import sys

import pytest

import nova
from nova import cli
from nova.errors import UnavailableError
from nova.queues import QUEUES
from nova.settings import get_settings


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["nova", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_version_is_the_release(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"{nova.__release__}\n"


def test_queues_prints_json_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "queues", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)) == list(QUEUES)


def test_schedule_shows_the_nightly_run_to_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "schedule") == 0
    assert "nightly-governance-loop" in capsys.readouterr().out


def test_a_missing_setting_is_one_line_on_stderr_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    get_settings.cache_clear()
    assert run(monkeypatch, "status") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("nova: REDIS_URL is not set")


def test_an_absent_redis_is_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
    get_settings.cache_clear()
    assert run(monkeypatch, "status") == 1
    error = capsys.readouterr().err
    assert error.startswith("nova: Redis at redis://127.0.0.1:1/0 does not answer")
    assert "hunter2" not in error
    get_settings.cache_clear()


def test_an_unknown_command_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "no-such-command") == 2


def test_a_fault_in_nova_keeps_its_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only errors meant for people are shortened."""

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_every_error_for_people_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise UnavailableError("no answer")

    monkeypatch.setattr(cli, "app", fail)
    assert run(monkeypatch) == 1
