"""Checks of tools and versions: asked from a real server, remembered in a real Redis."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from nova.governance import checks
from nova.governance.models import Report, ToolCheck, VersionCheck
from nova.governance.reports import STORE, get_report
from nova.governance.service import run_governance
from nova.memory import Memory
from nova.settings import Settings
from tests.integration.governance.servers import Hook

SettingsMaker = Callable[..., Settings]
WatchFileMaker = Callable[..., Path]


@pytest.fixture
def run(
    client: redis.Redis,
    make_settings: SettingsMaker,
    watch_file: WatchFileMaker,
    fleet: list[str],
) -> Callable[..., Report]:
    """Run governance with a watch file of these sections; each run has an id of its own."""
    ids = iter("abcdefgh")

    def run(**sections: Any) -> Report:
        path = watch_file(**sections)
        settings = make_settings(NOVA_GOVERNANCE_WATCH=path, NOVA_FETCH_PAUSE_SECONDS=0)
        report = run_governance(client, settings, next(ids))
        assert report is not None
        assert get_report(client, report.id) == report
        return report

    return run


def tool(hook: Hook, expected_latency_ms: float = 5000.0, **fields: Any) -> dict[str, Any]:
    url = hook.url("/health")
    return {"name": "thumbs", "url": url, "expected_latency_ms": expected_latency_ms} | fields


def version(hook: Hook, **fields: Any) -> dict[str, Any]:
    return {"name": "api", "url": hook.url("/version"), "kind": "text"} | fields


def only(found: list[Any]) -> Any:
    [single] = found
    return single


def test_a_tool_that_answers_in_time_is_ok(hook: Hook, run: Callable[..., Report]) -> None:
    check: ToolCheck = only(run(tools=[tool(hook)]).tools)
    assert (check.status, check.problems, check.past_checks) == ("ok", [], 0)
    assert check.latency_ms is not None
    assert 0 < check.latency_ms < 5000
    assert check.usual_latency_ms is None


def test_a_tool_that_is_slower_than_expected_exceeds(
    hook: Hook, run: Callable[..., Report]
) -> None:
    hook.delay_seconds = 0.1
    check: ToolCheck = only(run(tools=[tool(hook, 50.0)]).tools)
    assert check.status == "exceeded"
    assert check.latency_ms is not None
    assert check.latency_ms >= 100
    assert check.problems == [f"answers after {check.latency_ms:,.0f} ms, expected within 50 ms"]


def test_a_tool_that_costs_more_than_its_limit_exceeds(
    hook: Hook, run: Callable[..., Report]
) -> None:
    costs = {"cost_per_month_usd": 49, "cost_per_call_usd": 0.01, "calls_per_month": 1200}
    check: ToolCheck = only(run(tools=[tool(hook, **costs, cost_limit_usd=60)]).tools)
    assert check.status == "exceeded"
    assert check.problems == ["costs 61.00 USD a month, limit 60.00 USD"]
    check = only(run(tools=[tool(hook, **costs, cost_limit_usd=61)]).tools)
    assert check.status == "ok"


def test_a_tool_and_a_version_that_fail_are_lines_of_a_report_that_is_whole(
    hook: Hook, run: Callable[..., Report]
) -> None:
    hook.answers = {"/health": (404, b""), "/version": (200, b"")}
    report = run(tools=[tool(hook)], versions=[version(hook)])
    failed_tool: ToolCheck = only(report.tools)
    assert (failed_tool.status, failed_tool.latency_ms) == ("failed", None)
    assert failed_tool.problems == ["answers 404 Not Found"]
    failed_version: VersionCheck = only(report.versions)
    assert (failed_version.status, failed_version.version) == ("failed", None)
    assert failed_version.problem == "its answer has an empty version"
    assert report.channels_judged == 30


def test_latencies_are_remembered_and_their_median_is_what_is_usual(
    client: redis.Redis, hook: Hook, run: Callable[..., Report]
) -> None:
    past = [float(number) for number in range(1, checks.LATENCIES_KEPT + 1)]
    Memory(client).put("governance", "tool thumbs", {"latencies_ms": list(past)})
    check: ToolCheck = only(run(tools=[tool(hook)]).tools)
    assert (check.usual_latency_ms, check.past_checks) == (15.5, 30)
    kept = Memory(client).get("governance", "tool thumbs")
    assert kept == {"latencies_ms": [*past[1:], check.latency_ms]}


def test_a_failed_check_leaves_what_is_remembered(
    client: redis.Redis, hook: Hook, run: Callable[..., Report]
) -> None:
    hook.answers["/version"] = (200, b"1.0")
    sections = {"tools": [tool(hook)], "versions": [version(hook)]}
    run(**sections)
    memory = Memory(client)
    before = memory.get_many("governance", ["tool thumbs", "version api"])
    assert len(before) == 2
    hook.answers = {"/health": (404, b""), "/version": (404, b"")}
    run(**sections)
    assert memory.get_many("governance", ["tool thumbs", "version api"]) == before


def test_a_change_of_version_is_told_once_with_what_it_was(
    hook: Hook, run: Callable[..., Report]
) -> None:
    """Also when the endpoint could not be read in between."""
    found = []
    for status, body in [(200, b"1"), (200, b"1"), (404, b""), (200, b"2"), (200, b"2")]:
        hook.answers["/version"] = (status, body)
        found.append(only(run(versions=[version(hook)]).versions))
    told = [(check.status, check.version, check.previous) for check in found]
    assert told == [
        ("new", "1", None),
        ("unchanged", "1", None),
        ("failed", None, "1"),
        ("changed", "2", "1"),
        ("unchanged", "2", None),
    ]
    assert found[1].since == found[0].since
    assert found[4].since == found[3].since


@pytest.mark.parametrize("value", ["text", [], {"latencies_ms": "x"}, {"version": 1}, {"since": 0}])
def test_whatever_somebody_wrote_to_agent_memory_no_check_breaks(
    client: redis.Redis, hook: Hook, run: Callable[..., Report], value: Any
) -> None:
    for key in ("tool thumbs", "version api"):
        Memory(client).put("governance", key, value)
    hook.answers["/version"] = (200, b"1")
    report = run(tools=[tool(hook)], versions=[version(hook)])
    assert (only(report.tools).status, only(report.versions).status) == ("ok", "new")


def test_a_credential_goes_to_the_tool_and_nowhere_else(
    hook: Hook,
    run: Callable[..., Report],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("NOVA_TOOL_KEY", "hunter2")
    hook.answers["/health?token=swordfish"] = (403, b"")
    url = hook.url("/health?token=swordfish")
    report = run(tools=[tool(hook, url=url, headers={"X-Key": "NOVA_TOOL_KEY"})])
    assert only(report.tools).status == "failed"
    assert only(report.tools).url == hook.url("/health?...")
    for secret in ("hunter2", "swordfish"):
        assert secret not in report.model_dump_json() + caplog.text


def test_no_more_is_asked_when_the_time_for_all_checks_is_over(
    hook: Hook, run: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty dead endpoints of one host would take longer than the run may."""
    monkeypatch.setattr(checks, "BUDGET_SECONDS", 0.3)
    hook.delay_seconds = 0.2
    tools = [tool(hook, name=f"tool-{number}") for number in range(6)]
    found = run(tools=tools).tools
    assert [check.status for check in found[-3:]] == ["failed"] * 3
    assert found[-1].problems == ["not asked: the time for all of them is over"]
    assert len(hook.asked) < 5


def test_a_wrong_watch_file_does_not_keep_governance_from_judging(
    run: Callable[..., Report], caplog: pytest.LogCaptureFixture
) -> None:
    report = run(tools=[{"name": "thumbs"}])
    assert report.channels_judged == 30
    [omission] = [left for left in report.basis.left_out if left.count is None]
    assert omission.what == "tools, versions and notifications"
    assert "watch.yml: line 2, tools.0.url: Field required" in omission.reason
    assert omission.reason in caplog.text


def test_a_report_from_before_there_were_checks_can_be_read(
    client: redis.Redis, run: Callable[..., Report]
) -> None:
    report = run()
    old = report.model_dump(mode="json", exclude={"tools", "versions", "notifications"})
    stored = STORE.model.model_validate(old)
    assert (stored.tools, stored.versions, stored.notifications) == ([], [], [])
    assert yaml.safe_load(stored.model_dump_json())["tools"] == []
