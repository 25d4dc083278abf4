"""The commands on a real Redis: what a person reads, what a program reads, and errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from nova import domain_commands
from nova.cli import app
from nova.errors import (
    ConfigurationError,
    InputError,
    NotFoundError,
    NotificationError,
)
from nova.governance import commands
from nova.governance.service import list_overrides, run_governance
from nova.memory import Memory
from nova.settings import Settings
from tests.conftest import Invoke
from tests.integration.governance.servers import Hook


@pytest.fixture
def nova(command_line: Callable[..., Invoke]) -> Invoke:
    """Run a command and return what it prints; an error of Nova's is raised."""
    return command_line(commands, domain_commands)


@pytest.fixture
def report_id(client: redis.Redis, settings: Settings, fleet: list[str]) -> str:
    """A report with actions and an override."""
    run_governance(client, settings, "first", True)
    return "first"


def test_the_list_of_reports_says_how_to_get_one_when_there_is_none(nova: Invoke) -> None:
    assert "Run: nova trigger governance" in nova("report", "list")


def test_reports_are_listed(nova: Invoke, report_id: str) -> None:
    [line] = [line for line in nova("report", "list").splitlines() if line.startswith("first ")]
    assert "governance: judged 30 channels: promote 8" in line
    page = json.loads(nova("report", "list", "--json"))
    assert [line["id"] for line in page["reports"]] == ["first"]


def test_a_report_shows_window_flags_channels_reasons_and_actions(
    nova: Invoke, report_id: str, fleet: list[str]
) -> None:
    text = nova("report", "show")
    assert "2026-03-01 to 2026-03-28: 10 days with data, 18 not" in text
    assert f"{fleet[0]} " in text
    assert "standard deviations above average" in text
    assert "promoted" in text


def test_channels_with_a_flag_are_listed_up_to_a_limit(
    nova: Invoke, report_id: str, fleet: list[str]
) -> None:
    text = nova("report", "show", report_id, "--flag", "promote", "--limit", "2")
    assert fleet[1] in text
    assert fleet[2] not in text
    assert "2 of 8" in text
    arguments = ("report", "show", "latest", "--flag", "retire", "--json")
    page = json.loads(nova(*arguments))
    assert page["channels"][0]["channel"] == fleet[-1]


def test_an_unknown_report_is_an_error_for_people(nova: Invoke) -> None:
    with pytest.raises(NotFoundError):
        nova("report", "show", "absent")


def test_overrides_are_set_listed_and_cleared(nova: Invoke, client: redis.Redis) -> None:
    nova("override", "set", "[a]", "--ignore", "--reason", "test [channel]", "--by", "ann")
    nova("override", "set", "b", "--force", "watch", "--reason", "r")
    first = list_overrides(client)[0]
    assert (first.channel, first.rule, first.by) == ("[a]", "ignore", "ann")
    text = nova("override", "list")
    assert "[a]" in text, "brackets are the channel's, not markup"
    assert "test [channel]" in text
    assert "force watch" in text
    nova("override", "clear", "[a]")
    listed: list[dict[str, Any]] = json.loads(nova("override", "list", "--json"))
    assert [override["channel"] for override in listed] == ["b"]
    assert listed[0]["by"], "the present user, when nobody is named"


@pytest.mark.parametrize("rules", [(), ("--ignore", "--force", "watch")])
def test_an_override_needs_exactly_one_rule(nova: Invoke, rules: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="either --ignore or --force"):
        nova("override", "set", "a", "--reason", "r", *rules)


def test_the_policy_is_shown_with_its_source_and_as_a_schema(nova: Invoke) -> None:
    text = nova("governance", "policy")
    assert "packaged policy" in text
    assert "enforcement.auto_actions" in text
    assert json.loads(nova("governance", "policy", "--json"))["window_days"] == 28
    schema = json.loads(nova("governance", "policy", "--schema"))
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"])


def test_statuses_are_listed_and_reset(nova: Invoke, report_id: str, fleet: list[str]) -> None:
    assert fleet[0] in nova("governance", "status")
    nova("governance", "reset", fleet[0])
    held = json.loads(nova("governance", "status", "--json"))
    assert fleet[0] not in [status["channel"] for status in held]


@pytest.fixture
def watch_settings(
    hook: Hook, make_settings: Callable[..., Settings], watch_file: Callable[..., Path]
) -> Settings:
    """Settings with a watch file: a tool, a version and a target."""
    path = watch_file(
        tools=[{"name": "thumbs", "url": hook.url("/health"), "expected_latency_ms": 5000}],
        versions=[{"name": "api", "url": hook.url("/version"), "kind": "text"}],
        notify={"targets": [{"name": "ops", "kind": "webhook", "url": hook.url("/ops")}]},
    )
    return make_settings(NOVA_GOVERNANCE_WATCH=path, NOVA_FETCH_PAUSE_SECONDS=0)


@pytest.fixture
def watching(
    nova: Invoke, hook: Hook, watch_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Hook:
    """The watch file in force; returns the server that is watched and notified."""
    monkeypatch.setattr(commands, "get_settings", lambda: watch_settings)
    hook.answers["/version"] = (200, b"1.2[bold]")
    return hook


def test_without_a_watch_file_the_commands_say_how_to_get_one(nova: Invoke) -> None:
    for command in ("watch", "tools"):
        assert "NOVA_GOVERNANCE_WATCH; see config/governance-watch.yml" in nova(
            "governance", command
        )


def test_what_is_watched_is_listed_and_has_a_schema(nova: Invoke, watching: Hook) -> None:
    text = nova("governance", "watch")
    assert watching.url("/health") in text
    assert "notified of: flags, tools, versions (promote, watch, retire)" in text
    listed = json.loads(nova("governance", "watch", "--json"))
    assert [tool["name"] for tool in listed["tools"]] == ["thumbs"]
    assert set(json.loads(nova("governance", "watch", "--schema"))["properties"]) == set(listed)


def test_tools_are_checked_once_and_nothing_is_remembered(
    nova: Invoke, watching: Hook, client: redis.Redis
) -> None:
    text = nova("governance", "tools")
    assert "1.2[bold]" in text, "brackets are the version's, not markup"
    found = json.loads(nova("governance", "tools", "--json"))
    assert [tool["status"] for tool in found["tools"]] == ["ok"]
    assert [version["status"] for version in found["versions"]] == ["new"]
    assert Memory(client).namespaces() == {}


@pytest.mark.parametrize("path", ["/health", "/version"])
def test_a_check_that_fails_is_exit_code_1(nova: Invoke, watching: Hook, path: str) -> None:
    watching.answers[path] = (404, b"")
    result = CliRunner().invoke(app, ["governance", "tools"])
    assert result.exit_code == 1
    assert "answers 404 Not Found" in result.output


def test_a_trial_reaches_the_target_or_is_only_shown(nova: Invoke, watching: Hook) -> None:
    shown = nova("governance", "notify-test", "ops", "--dry-run")
    assert '"event":"governance.test"' in shown
    assert watching.posted == []
    assert nova("governance", "notify-test", "ops") == "ops: sent to 127.0.0.1\n"
    answer = json.loads(nova("governance", "notify-test", "ops", "--json"))
    assert answer["sent"]
    assert watching.keys[-1] == answer["idempotency_key"] != watching.keys[0]
    assert json.loads(watching.posted[0][1])["event"] == "governance.test"


def test_a_trial_that_fails_is_an_error_for_people(nova: Invoke, watching: Hook) -> None:
    watching.answers["/ops"] = (401, b"")
    with pytest.raises(NotificationError, match="target ops: answers 401"):
        nova("governance", "notify-test", "ops")
    with pytest.raises(ConfigurationError, match="has no target 'absent'"):
        nova("governance", "notify-test", "absent")


def test_a_report_shows_tools_versions_notifications_and_what_was_left_out(
    nova: Invoke,
    watching: Hook,
    client: redis.Redis,
    fleet: list[str],
    watch_settings: Settings,
    make_settings: Callable[..., Settings],
) -> None:
    run_governance(client, watch_settings, "run", outbox=lambda *_: "task-of-ops")
    text = nova("report", "show")
    for words in ("thumbs", "1.2[bold]", "task-of-ops", "flags"):
        assert words in text
    missing = make_settings(NOVA_GOVERNANCE_WATCH=Path("absent.yml"))
    run_governance(client, missing, "next")
    assert "cannot read the governance watch file absent.yml" in nova("report", "show")
