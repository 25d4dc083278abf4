"""Whole runs on a real Redis: what is stored, when it becomes visible, and that once is enough."""

import threading
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest
import redis

from nova import staging
from nova.errors import ConfigurationError, InputError, NotFoundError
from nova.governance import reports, service
from nova.governance.models import Flag, Report, Status
from nova.governance.service import (
    clear_override,
    get_report,
    list_channels,
    list_overrides,
    list_reports,
    list_statuses,
    reset_status,
    run_governance,
    set_override,
)
from nova.settings import Settings
from nova.store import Keys, connect
from tests.integration.governance.conftest import LAST_DAY, Store

PolicySettings = Callable[..., Settings]


def run(
    client: redis.Redis,
    settings: Settings,
    report_id: str = "run",
    auto: bool | None = None,
    commit: reports.Commit = reports.commit_plainly,
) -> Report:
    report = run_governance(client, settings, report_id, auto, commit)
    assert report is not None
    return report


def die(*_: Any) -> None:
    """In place of a commit: everything before it has happened."""
    raise RuntimeError("killed")


def keys_of_governance(client: redis.Redis) -> set[str]:
    return {key.decode() for key in client.scan_iter("nova:governance:*")}


def test_without_any_metrics_there_is_no_report_and_no_error(
    client: redis.Redis, settings: Settings
) -> None:
    assert run_governance(client, settings, "run") is None
    assert keys_of_governance(client) == set()


def test_a_run_stores_the_report_it_returns(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    report = run(client, settings)
    assert get_report(client, "run") == report
    assert get_report(client) == report
    assert (report.channels_seen, report.channels_judged) == (30, 30)
    assert [verdict.channel for verdict in report.top] == fleet[:10]
    assert [verdict.channel for verdict in report.bottom] == fleet[::-1][:10]
    assert [(metric.name, metric.channels) for metric in report.metrics] == [("views", 30)]


def test_the_window_ends_at_the_newest_day_with_data_and_names_its_days(
    client: redis.Redis, settings: Settings, store_day: Store
) -> None:
    for days_ago in (0, 3, 27, 28, 200):
        store_day(days_ago, {"a": {"views": 1.0}})
    window = run(client, settings).window
    assert (window.start, window.end) == (date(2026, 3, 1), LAST_DAY)
    assert window.days_used == [LAST_DAY - timedelta(days=ago) for ago in (27, 3, 0)]
    assert len(window.days_missing) == 25


def test_a_channel_that_is_seldom_seen_is_counted_but_not_judged(
    client: redis.Redis, settings: Settings, fleet: list[str], store_day: Store
) -> None:
    store_day(0, {"newcomer": {"views": 1e9}})
    report = run(client, settings)
    assert (report.channels_seen, report.channels_judged) == (31, 30)
    assert report.counts.not_judged == 1
    assert sum(report.counts.model_dump().values()) == 31
    assert client.zscore(Keys.governance_scores("run"), "newcomer") is None


def test_every_judged_channel_can_be_listed_and_flags_can_be_asked_for(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    report = run(client, settings)
    everyone = list_channels(client, "run", limit=100)
    assert [verdict.channel for verdict in everyone.channels] == fleet
    for flag in Flag:
        page = list_channels(client, "latest", flag, limit=100)
        expected = [v.channel for v in everyone.channels if v.flag is flag]
        if flag in (Flag.WATCH, Flag.RETIRE):
            expected.reverse()
        assert [verdict.channel for verdict in page.channels] == expected
        assert page.total == getattr(report.counts, flag.value) > 0
    second = list_channels(client, "run", offset=1, limit=2)
    assert ([v.channel for v in second.channels], second.total) == (fleet[1:3], 30)


def test_flagged_channels_have_reasons_and_a_score_that_is_the_stored_one(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    run(client, settings)
    best = list_channels(client, "run", Flag.PROMOTE).channels[0]
    assert best.score == client.zscore(Keys.governance_scores("run"), best.channel)
    assert best.reasons[-1] == f"score {best.score:.3f} reaches the promote threshold 1.000"


def test_everything_of_a_report_expires_with_it(
    client: redis.Redis, make_settings: PolicySettings, fleet: list[str]
) -> None:
    run(client, make_settings(NOVA_REPORT_RETENTION_DAYS=2))
    two_days = 2 * 86_400
    names = (partial(Keys.report, "governance"), Keys.governance_scores, Keys.governance_flags)
    for name in names:
        assert two_days - 60 < client.ttl(name("run")) <= two_days


def test_a_run_removes_index_entries_past_their_retention(
    client: redis.Redis, make_settings: PolicySettings, fleet: list[str]
) -> None:
    settings = make_settings(NOVA_REPORT_RETENTION_DAYS=2)
    run(client, settings, "old")
    run(client, settings, "kept")
    three_days_ago = get_report(client, "kept").generated_at - timedelta(days=3)
    client.zadd(Keys.reports("governance"), {"old": three_days_ago.timestamp()})
    run(client, settings, "new")
    page = list_reports(client)
    assert ([line.id for line in page.reports], page.total) == (["new", "kept"], 2)


def test_a_report_whose_summary_is_gone_is_not_listed(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    run(client, settings, "a")
    run(client, settings, "b")
    client.delete(Keys.report("governance", "b"))
    assert [line.id for line in list_reports(client).reports] == ["a"]


def test_reports_are_listed_newest_first_in_pages(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    for report_id in ("a", "b", "c"):
        run(client, settings, report_id)
    page = list_reports(client, offset=1, limit=1)
    assert ([line.id for line in page.reports], page.total) == (["b"], 3)


def test_an_unknown_report_is_not_found(client: redis.Redis) -> None:
    with pytest.raises(NotFoundError, match="no governance report yet"):
        get_report(client)
    with pytest.raises(NotFoundError, match="no governance report xyz"):
        list_channels(client, "xyz")


def test_a_run_that_dies_before_the_last_transaction_shows_and_leaves_nothing(
    client: redis.Redis, settings: Settings, fleet: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The large keys are written by then; nobody can see them, and they go away."""
    staged: set[str] = set()

    def look_and_die(*_: Any) -> None:
        staged.update(keys_of_governance(client))
        die()

    with pytest.raises(RuntimeError, match="killed"):
        run(client, settings, auto=True, commit=look_and_die)
    assert len(staged) == 2, "scores and flags were written before"
    assert all(key.startswith("nova:governance:staging:") for key in staged)
    assert keys_of_governance(client) == set()


def test_what_a_killed_run_leaves_behind_expires_by_itself(
    client: redis.Redis, settings: Settings, fleet: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill -9 gives no chance to tidy up."""
    monkeypatch.setattr(staging.Staging, "remove", lambda self: None)
    with pytest.raises(RuntimeError, match="killed"):
        run(client, settings, commit=die)
    left = keys_of_governance(client)
    assert len(left) == 2
    assert all(0 < client.ttl(key) <= staging.STAGING_EXPIRES_SECONDS for key in left)


def test_a_second_delivery_that_dies_leaves_the_first_report_whole(
    client: redis.Redis, settings: Settings, fleet: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(client, settings)
    scores = client.zrange(Keys.governance_scores("run"), 0, -1, withscores=True)
    with pytest.raises(RuntimeError, match="killed"):
        run(client, settings, commit=die)
    assert get_report(client, "run") == first
    assert client.zrange(Keys.governance_scores("run"), 0, -1, withscores=True) == scores


def test_the_same_task_run_again_replaces_its_report(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    first = run(client, settings)
    client.hdel(Keys.metric_day(LAST_DAY), *fleet[:2])
    set_override(client, fleet[0], "ignore", reason="gone", by="test")
    second = run(client, settings)
    assert list_reports(client).total == 1
    assert second.channels_judged == first.channels_judged - 1
    assert client.zscore(Keys.governance_scores("run"), fleet[0]) is None


def test_nothing_of_the_replaced_report_remains(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    """Not even when the second delivery finds nobody to judge."""
    run(client, settings)
    for days_ago in range(1, 10):
        client.delete(Keys.metric_day(LAST_DAY - timedelta(days=days_ago)))
    assert run(client, settings).channels_judged == 0
    assert list_channels(client, "run").total == 0
    assert client.exists(Keys.governance_scores("run"), Keys.governance_flags("run")) == 0


def test_auto_actions_are_applied_once_when_the_same_task_runs_twice(
    client: redis.Redis, policy_settings: PolicySettings, fleet: list[str]
) -> None:
    settings = policy_settings(enforcement={"max_promotions": 2, "max_retirements": 1})
    first = run(client, settings, auto=True)
    before = list_statuses(client)
    assert [(s.channel, s.status) for s in before] == [
        (fleet[0], Status.PROMOTED),
        (fleet[1], Status.PROMOTED),
        (fleet[-1], Status.RETIRED),
    ]
    second = run(client, settings, auto=True)
    assert list_statuses(client) == before, "not even the time of the action changes"
    assert second.enforcement == first.enforcement


def test_the_next_run_goes_on_with_what_was_deferred(
    client: redis.Redis, policy_settings: PolicySettings, fleet: list[str]
) -> None:
    settings = policy_settings(enforcement={"max_promotions": 2, "max_retirements": 0})
    first = run(client, settings, "monday", auto=True)
    deferred = [action.channel for action in first.enforcement.deferred]
    assert deferred[0] == fleet[2]
    assert fleet[-1] in deferred
    second = run(client, settings, "tuesday", auto=True)
    assert [action.channel for action in second.enforcement.taken] == fleet[2:4]


def test_two_copies_of_a_task_at_the_same_time_keep_to_the_limits_together(
    client: redis.Redis,
    policy_settings: PolicySettings,
    fleet: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second copy commits between the first one's planning and its commit."""
    settings = policy_settings(enforcement={"max_promotions": 1, "max_retirements": 1})
    build, copies = service.Judgement.report, list[str]()

    def build_slowly(*arguments: Any) -> Report:
        if not copies:
            copies.append("other")
            with connect(settings) as other_client:
                set_override(other_client, fleet[0], "force", flag=Flag.NONE, reason="r", by="b")
                thread = threading.Thread(target=run, args=(other_client, settings, "run", True))
                thread.start()
                thread.join(timeout=30)
        return build(*arguments)

    monkeypatch.setattr(service.Judgement, "report", build_slowly)
    report = run(client, settings, auto=True)
    promoted = [s.channel for s in list_statuses(client) if s.status is Status.PROMOTED]
    assert promoted == [fleet[1]], "the copy's choice stands; the first one made no other"
    assert [action.channel for action in report.enforcement.taken] == [fleet[1], fleet[-1]]


def test_report_only_changes_no_status(
    client: redis.Redis, policy_settings: PolicySettings, fleet: list[str]
) -> None:
    settings = policy_settings(enforcement={"auto_actions": True})
    report = run(client, settings, auto=False)
    assert not report.enforcement.auto_actions
    assert report.enforcement.note.startswith("report only")
    assert list_statuses(client) == []


def test_the_policy_decides_on_actions_when_the_task_does_not(
    client: redis.Redis, policy_settings: PolicySettings, fleet: list[str]
) -> None:
    settings = policy_settings(enforcement={"auto_actions": True})
    assert run(client, settings).enforcement.taken != []


def test_a_window_beyond_the_memory_limit_is_refused_before_it_is_loaded(
    client: redis.Redis,
    policy_settings: PolicySettings,
    store_day: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_day(0, {f"c{number}": {"views": 1.0} for number in range(500)})
    monkeypatch.setattr("nova.governance.window.load_day", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ConfigurationError, match=r"28 days and 500 channels needs about 2 MB"):
        run(client, policy_settings(enforcement={"memory_limit_mb": 1}))
    assert keys_of_governance(client) == set()


def test_channels_that_come_and_go_count_for_the_memory_limit(
    client: redis.Redis, policy_settings: PolicySettings, store_day: Store
) -> None:
    for days_ago in range(4):
        store_day(days_ago, {f"c{days_ago}-{n}": {"views": 1.0} for n in range(100)})
    with pytest.raises(ConfigurationError, match=r"memory_limit_mb \(1\)"):
        run(client, policy_settings(enforcement={"memory_limit_mb": 1}))


def test_an_ignored_channel_is_left_out_and_the_report_says_so(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    set_override(client, fleet[0], "ignore", reason="test channel", by="ann")
    report = run(client, settings)
    assert (report.counts.ignored, report.channels_judged) == (1, 29)
    assert report.top[0].channel == fleet[1]
    [applied] = report.overrides
    assert (applied.channel, applied.effect) == (fleet[0], "left out of judging")
    assert (applied.reason, applied.by) == ("test channel", "ann")


def test_a_forced_flag_wins_over_the_score_and_gives_the_operators_reason(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    set_override(client, fleet[-1], "force", flag=Flag.PROMOTE, reason="contract", by="ann")
    report = run(client, settings, auto=True)
    verdict = report.bottom[0]
    assert (verdict.channel, verdict.flag) == (fleet[-1], Flag.PROMOTE)
    assert verdict.reasons[0] == "flag set by ann: contract"
    assert report.overrides[0].effect == "flag promote; by its score alone: retire"
    assert report.enforcement.taken[0].channel == fleet[-1], "forced ones come first"


def test_a_forced_flag_none_keeps_a_channel_from_actions(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    set_override(client, fleet[0], "force", flag=Flag.NONE, reason="not yet", by="ann")
    report = run(client, settings, auto=True)
    assert fleet[0] not in [action.channel for action in report.enforcement.taken]
    assert fleet[0] in [v.channel for v in list_channels(client, "run", Flag.NONE).channels]


def test_a_forced_channel_that_cannot_be_judged_has_a_flag_and_no_score(
    client: redis.Redis, settings: Settings, fleet: list[str], store_day: Store
) -> None:
    store_day(0, {"newcomer": {"views": 5.0}})
    set_override(client, "newcomer", "force", flag=Flag.WATCH, reason="new", by="ann")
    report = run(client, settings)
    listed = list_channels(client, "run", Flag.WATCH, limit=100).channels[-1]
    assert (listed.channel, listed.score, listed.flag) == ("newcomer", None, Flag.WATCH)
    assert listed.reasons[1] == "seen on 1 of 28 days, fewer than 7: not judged"
    assert sum(report.counts.model_dump().values()) == 31


def test_an_override_of_a_channel_that_is_not_there_is_listed_as_without_effect(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    set_override(client, "absent", "force", flag=Flag.PROMOTE, reason="soon", by="ann")
    report = run(client, settings, auto=True)
    assert [note.effect for note in report.overrides] == ["no effect: not seen in the window"]
    assert "absent" not in [action.channel for action in report.enforcement.taken]


def test_overrides_are_set_replaced_and_cleared(client: redis.Redis) -> None:
    set_override(client, " b ", "ignore", reason="r", by="ann")
    set_override(client, "b", "force", flag=Flag.RETIRE, reason="s", by="bob")
    set_override(client, "a", "ignore", reason="r", by="ann")
    found = list_overrides(client)
    assert [(o.channel, o.rule, o.flag) for o in found] == [
        ("a", "ignore", None),
        ("b", "force", Flag.RETIRE),
    ]
    clear_override(client, "b")
    assert [override.channel for override in list_overrides(client)] == ["a"]
    with pytest.raises(NotFoundError, match="channel b has no override"):
        clear_override(client, "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channel": " ", "rule": "ignore", "reason": "r"}, "id is empty"),
        ({"channel": "a", "rule": "ignore", "reason": " "}, "needs a reason"),
        ({"channel": "a", "rule": "force", "reason": "r"}, "force needs a flag"),
        ({"channel": "a", "rule": "ignore", "reason": "r", "flag": Flag.NONE}, "ignore takes none"),
    ],
)
def test_a_wrong_override_is_refused(
    client: redis.Redis, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        set_override(client, **arguments, by="ann")
    assert list_overrides(client) == []


def test_a_status_can_be_taken_back(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    run(client, settings, auto=True)
    held = [status.channel for status in list_statuses(client)]
    reset_status(client, held[0])
    assert [status.channel for status in list_statuses(client)] == held[1:]
    with pytest.raises(NotFoundError, match="has no status"):
        reset_status(client, held[0])


def test_a_record_of_an_older_release_with_fewer_metrics_is_judged(
    client: redis.Redis, settings: Settings, fleet: list[str]
) -> None:
    day = Keys.metric_day(LAST_DAY)
    record = client.hget(day, fleet[0])
    assert record is not None
    client.hset(day, fleet[0], record[:8])
    assert run(client, settings).top[0].channel == fleet[0]


@pytest.mark.parametrize("flag", [None, *Flag])
def test_the_pages_of_a_list_are_the_list(
    client: redis.Redis,
    settings: Settings,
    fleet: list[str],
    store_day: Store,
    flag: Flag | None,
) -> None:
    """Whatever an operator forced: on a channel in the middle, and on two that were not judged."""
    store_day(0, {"newcomer": {"views": 5.0}, "guest": {"views": 5.0}})
    forced = {fleet[9]: Flag.NONE, "newcomer": Flag.WATCH, "guest": Flag.NONE}
    for channel, wanted in forced.items():
        set_override(client, channel, "force", flag=wanted, reason="new", by="ann")
    run(client, settings)
    whole = list_channels(client, "run", flag, limit=100)
    pages = [list_channels(client, "run", flag, offset, 3) for offset in range(0, 36, 3)]
    assert [verdict for page in pages for verdict in page.channels] == whole.channels
    assert {page.total for page in pages} == {whole.total} == {len(whole.channels)}
    if flag is None:
        everyone = [verdict.channel for verdict in whole.channels]
        assert everyone == [*fleet, "guest", "newcomer"]
