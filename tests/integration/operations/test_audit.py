"""The audit: what was done, by whom, in Redis and in the journal."""

import json
import syslog
from collections.abc import Callable

import pytest
import redis

from nova.errors import InputError, UnavailableError
from nova.operations import audit, commands
from nova.operations.audit import new_note, read_audit, record
from nova.settings import Settings
from nova.store import Keys
from tests.conftest import JWT_SECRET, Invoke


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to syslog in place of the machine's own."""
    lines: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _level, line: lines.append(line))
    return lines


def test_the_newest_comes_first_and_the_journal_has_the_same_line(
    client: redis.Redis, command_line: Callable[..., Invoke], journal: list[str]
) -> None:
    nova = command_line(commands)
    words = ("fleet", "note", "--by", "ann", "--action", "deploy", "--to", "0.2.0")
    nova(*words, "--from", "0.1.0", "--result", "failed", "--detail", "nova2: the gate")
    line = nova(*words, "--result", "ok")
    assert journal == ["ann: deploy 0.1.0 -> 0.2.0: failed (nova2: the gate)", line.strip()]
    newest, oldest = json.loads(nova("audit", "--json"))
    assert newest.keys() == {"id", "at", "by", "action", "from", "to", "result", "detail"}
    assert (newest["result"], oldest["result"]) == ("ok", "failed")
    assert len(json.loads(nova("audit", "--limit", "1", "--json"))) == 1
    assert "nova2: the gate" in nova("audit")
    assert json.loads(nova("fleet", "show", "--json"))["last"] == newest


def test_no_secret_gets_into_it(
    client: redis.Redis, make_settings: Callable[..., Settings]
) -> None:
    """Not even one that a failed command had in its words."""
    settings = make_settings(NOVA_REDIS_PASSWORD="hunter2hunter2")
    detail = f"login with hunter2hunter2 and {JWT_SECRET} failed"
    record(client, new_note(settings, by="ann", action="deploy", detail=detail))
    [entry] = read_audit(client, 1)
    assert entry.detail == "login with *** and *** failed"


def test_the_oldest_go(client: redis.Redis, settings: Settings) -> None:
    for number in range(audit.ENTRIES_KEPT + 500):
        record(client, new_note(settings, by="ann", action=f"note {number}"))
    assert client.xlen(Keys.AUDIT) <= audit.ENTRIES_KEPT + 100  # whole nodes of the stream go
    assert read_audit(client, 1)[0].action == f"note {audit.ENTRIES_KEPT + 499}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\t here \n", "two lines here"),
        ("\x1b[31mred", "?[31mred"),
        ("x" * 5000, "x" * 996 + " ..."),
        (f"{'x' * 990} {JWT_SECRET}", "x" * 990 + " ***"),
    ],
)
def test_what_a_program_said_becomes_one_line(settings: Settings, text: str, line: str) -> None:
    """A roll that fails must not fail once more over the words of its reason."""
    assert new_note(settings, by="ann", action="deploy", detail=text).detail == line


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "x" * 201])
def test_a_name_is_one_line(settings: Settings, name: str) -> None:
    with pytest.raises(InputError, match="who did it must be one line"):
        new_note(settings, by=name, action="deploy")


def test_the_journal_has_the_line_also_while_redis_is_away(
    command_line: Callable[..., Invoke],
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    journal: list[str],
) -> None:
    nova = command_line(commands)
    away = make_settings(REDIS_URL="redis://127.0.0.1:1/0")
    monkeypatch.setattr(commands, "get_settings", lambda: away)
    with pytest.raises(UnavailableError):
        nova("fleet", "note", "--by", "ann", "--action", "deploy", "--result", "failed")
    assert journal == ["ann: deploy: failed"]
