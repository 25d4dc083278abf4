"""The nova command: output for people and programs, and errors in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

import nova
from nova import cli
from nova.errors import InputError, NovaError, UnavailableError
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


def commands(group: Any, path: str = "nova") -> Iterator[tuple[str, Any]]:
    """Yield every command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL_COMMANDS = dict(commands(get_command(cli.app)))


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_the_help_of_every_command_says_what_it_does_and_has_an_example(words: str) -> None:
    command = ALL_COMMANDS[words]
    assert command.help
    assert str(command.epilog).startswith(f"Example: {words}")


def test_the_commands_that_the_guide_of_operators_names_are_there() -> None:
    named = "status queues workers schedule task trigger report ingest token memory replay"
    assert set(named.split()) <= get_command(cli.app).commands.keys()  # type: ignore[attr-defined]


def test_a_command_loads_no_domain_that_it_has_no_use_for() -> None:
    """Playbooks run many commands; to load everything each time takes twice as long."""
    program = (
        "import sys\nfrom nova.cli import app\n"
        "app(['fleet', 'show', '--help'], standalone_mode=False)"
        "\nprint([name for name in ('celery', 'fastapi', 'httpx', 'numpy') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_short_name_is_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for short, long in (("replay", "deadletter replay"), ("workers", "worker list")):
        one, other = ALL_COMMANDS[f"nova {short}"], ALL_COMMANDS[f"nova {long}"]
        assert one.callback.__wrapped__ is other.callback.__wrapped__


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
    assert run(monkeypatch, "status") == os.EX_TEMPFAIL, "it may be back in a moment"
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


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(NovaError("no"), 1), (InputError("no"), 1), (UnavailableError("not now"), os.EX_TEMPFAIL)],
)
def test_the_exit_code_of_an_error_tells_whether_to_try_again(
    monkeypatch: pytest.MonkeyPatch, error: NovaError, exit_code: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert run(monkeypatch) == exit_code
