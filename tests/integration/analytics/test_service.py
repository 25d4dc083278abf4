"""Whole runs on a real Redis: what is kept, what is made anew, and that once is enough."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.client import Pipeline

from nova.analytics import days
from nova.analytics.models import AnalyticsReport, Period
from nova.analytics.reading import get_categories, get_channel, get_leaderboard
from nova.analytics.reports import STORE
from nova.analytics.service import PLAINLY, Commits, process_day
from nova.channels import METRIC_NAMES
from nova.errors import ConfigurationError, InputError, NotFoundError
from nova.settings import Settings
from nova.store import Keys
from nova.videos import forget_days
from tests.integration.analytics.conftest import (
    LAST_DAY,
    Stored,
    StoreDay,
    keys_of_staging,
    video,
)

Run = Callable[..., AnalyticsReport]


@pytest.fixture
def run(client: redis.Redis, settings: Settings) -> Run:
    """Process a day, so many days before the last, and return the report."""

    def run_(
        days_ago: int = 0, report_id: str = "run", commits: Commits = PLAINLY
    ) -> AnalyticsReport:
        day = LAST_DAY - timedelta(days=days_ago)
        report = process_day(client, settings, report_id, day, commits)
        assert report is not None
        return report

    return run_


def forget_metrics(client: redis.Redis, days_ago: int) -> None:
    """Remove a day as maintenance does when it is past its retention."""
    day = LAST_DAY - timedelta(days=days_ago)
    client.unlink(Keys.metric_day(day))
    client.zrem(Keys.METRIC_DAYS, day.isoformat())
    forget_days(client, [day])


def totals(client: redis.Redis, channel: str, metric: str = "views") -> dict[Period, float]:
    """Return a channel's total of each span that holds the last day."""
    found = get_channel(client, channel, LAST_DAY)
    return {
        span.period: one.total
        for span in found.spans
        for one in span.metrics
        if one.metric == metric
    }


def test_without_metrics_there_is_no_report_and_nothing_is_stored(
    client: redis.Redis, settings: Settings, store: StoreDay, stored: Stored
) -> None:
    assert process_day(client, settings, "run") is None
    store(0, {"a": 1})
    assert process_day(client, settings, "run", LAST_DAY - timedelta(days=1)) is None
    assert stored() == {}
    assert STORE.list(client).total == 0


def test_a_run_counts_each_day_in_each_span_that_holds_it(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    """29 March is a Sunday: 23 to 29 March is its week; 2 March is its month's; 28 February not."""
    for days_ago, views in ((0, 1), (6, 10), (7, 100), (27, 1000), (29, 10_000)):
        store(days_ago, {"a": views})
    report = run()
    assert totals(client, "a") == {
        Period.DAY: 1,
        Period.WEEK: 11,
        Period.MONTH: 1111,
        Period.ALL: 11_111,
    }
    assert [(span.days, span.rows) for span in report.spans] == [(1, 1), (2, 2), (4, 4), (5, 5)]
    assert (report.spans[-1].start, report.spans[-1].end) == (date(2026, 2, 28), LAST_DAY)


def test_the_newest_day_that_has_metrics_is_the_default(
    client: redis.Redis, settings: Settings, store: StoreDay
) -> None:
    store(3, {"a": 1})
    store(9, {"a": 1})
    report = process_day(client, settings, "run")
    assert report is not None
    assert report.day == LAST_DAY - timedelta(days=3)


def test_running_again_changes_nothing(
    client: redis.Redis, store: StoreDay, run: Run, stored: Stored
) -> None:
    """Not one byte, and the report says that nothing was to be done."""
    for days_ago in range(40):
        store(days_ago, {"a": {"views": days_ago, "revenue": 0.1 * days_ago}, "b": 7})
    assert all(span.written for span in run().spans)
    before = stored()
    again = run(report_id="again")
    assert stored() == before
    assert not any(span.written for span in again.spans)
    assert again.model_copy(update={"id": "run"}).headline == STORE.get(client, "run").headline


def test_days_one_by_one_give_the_bytes_of_all_at_once(
    client: redis.Redis, store: StoreDay, run: Run, stored: Stored
) -> None:
    """Fractions are added in one order, whether days come on top or all are added anew."""

    def metrics(days_ago: int) -> dict[str, dict[str, float]]:
        names = ["a", "b", "c"] if days_ago % 3 else ["c", "d", "a"]
        return {name: {"views": 3, "revenue": 0.1 + days_ago / 7} for name in names}

    for days_ago in reversed(range(35)):
        store(days_ago, metrics(days_ago), (video("v", "a", 10),))
        run(days_ago)
    one_by_one = stored()
    client.delete(*one_by_one)
    for days_ago in reversed(range(35)):
        run(days_ago)
    assert stored() == one_by_one


def test_a_late_change_of_an_old_day_is_counted_by_the_next_run_of_any_day(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    for days_ago, views in ((0, 1), (20, 100), (40, 1000)):
        store(days_ago, {"a": views})
    run()
    store(40, {"a": 3000})
    store(41, {"a": 20_000})
    run()
    assert totals(client, "a")[Period.ALL] == 23_101
    store(20, {"a": 500})
    run()
    assert totals(client, "a") == {
        Period.DAY: 1, Period.WEEK: 1, Period.MONTH: 501, Period.ALL: 23_501,
    }  # fmt: skip


def test_a_report_names_the_days_whose_leaderboards_are_missing_or_old(
    store: StoreDay, run: Run
) -> None:
    for days_ago in range(5):
        store(days_ago, {"a": 1})
    run()
    [left] = [left for left in run().basis.left_out if left.what == "days"]
    assert left.count == 3, "the day before was processed to be compared with"
    assert "--from 2026-03-25 --to 2026-03-27" in left.reason
    for days_ago in (4, 3, 2):
        run(days_ago)
    assert "days" not in [left.what for left in run().basis.left_out]
    store(3, {"a": 2})
    assert "--from 2026-03-26 --to 2026-03-26" in str(run().basis.left_out)


def test_days_past_retention_stay_in_month_and_all_time(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    for days_ago in range(5):
        store(days_ago, {"a": 10**days_ago})
    run()
    for days_ago in (4, 3):
        forget_metrics(client, days_ago)
    store(0, {"b": 1})
    store(-1, {"a": 7})
    report = run(-1)
    assert [span.days for span in report.spans[2:]] == [6, 6]
    assert totals(client, "a")[Period.ALL] == 11_111 + 7
    with pytest.raises(NotFoundError, match="no channel b"):
        get_channel(client, "b", date.min)
    left = [left for left in report.basis.left_out if "past retention" in left.reason]
    assert [(one.what, one.count) for one in left] == [("days", 1)] * 2, "the change of the 29th"
    assert "month:2026-03-01" in left[0].reason
    assert "week:2026-03-23" in left[1].reason


def test_a_channels_category_is_where_most_of_its_views_are(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    """Of equal ones the lower number; without any it is in no category."""
    videos = (
        video("1", "most", 10, 5),
        video("2", "most", 24, 3),
        video("3", "most", 24, 3),
        video("4", "lower", 24, 9),
        video("5", "lower", 10, 4),
        video("6", "lower", 10, 5),
        video("7", "unseen", 10, None),
        video("8", "none", None, 9),
    )
    store(0, {"most": 1, "unseen": 10, "lower": 100, "none": 1000, "no videos": 1000}, videos)
    report = run()
    page = get_categories(client)
    assert [(found.category, found.name) for found in page.categories] == [
        (10, "Music"),
        (24, "Entertainment"),
    ]
    assert [found.metrics[0].total for found in page.categories] == [110, 1]
    assert (page.rows, page.rows_without_category) == (5, 2)
    [left] = [left for left in report.basis.left_out if left.what == "channels"]
    assert left.count == 2
    assert "5 of the day's channels" not in str(report.notes)
    assert report.notes[0].startswith("4 of the day's channels come from a trending list")


def test_a_category_of_a_span_is_the_sum_of_its_days(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    """A channel counts each day in the category that it has on that day."""
    store(1, {"a": 5, "b": 7}, (video("1", "a", 10), video("2", "b", 10)))
    store(0, {"a": 11, "b": 13}, (video("3", "a", 24), video("2", "b", 10)))
    run()
    for period in (Period.WEEK, Period.MONTH, Period.ALL):
        page = get_categories(client, period)
        found = {one.category: one.metrics[0] for one in page.categories}
        assert {number: (one.days, one.total) for number, one in found.items()} == {
            10: (3, 25),
            24: (1, 11),
        }


def test_ranks_are_compared_with_the_span_before(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    store(7, {"a": 3, "b": 2, "c": 1})
    store(1, {"a": 1, "b": 3, "c": 2})
    store(0, {"b": 1, "c": 2, "new": 3})
    run()
    day = get_leaderboard(client, "views")
    assert [(one.channel, one.previous_rank, one.rank_change) for one in day.standings] == [
        ("new", None, None),
        ("c", 2, 0),
        ("b", 1, -2),
    ]
    week = get_leaderboard(client, "views", Period.WEEK)
    assert [(one.channel, one.value, one.rank_change) for one in week.standings] == [
        ("c", 4, 2),
        ("b", 4, 0),
        ("new", 3, None),
        ("a", 1, -3),
    ]
    assert week.compared_with == "week:2026-03-16"
    assert get_leaderboard(client, "views", Period.MONTH).compared_with is None


def test_a_leaderboard_comes_in_pages_whose_ranks_go_on(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    store(0, {f"c{number}": number for number in range(9)})
    run()
    page = get_leaderboard(client, "views", offset=2, limit=3)
    assert [(one.rank, one.channel) for one in page.standings] == [(3, "c6"), (4, "c5"), (5, "c4")]
    assert (page.total, page.ranked) == (9, 9)
    assert get_leaderboard(client, "views", offset=99).standings == []
    nobody = get_leaderboard(client, "shares")
    assert (nobody.total, nobody.ranked, nobody.standings) == (0, 0, [])


def test_what_is_kept_of_a_leaderboard_is_its_beginning(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    store(0, {f"c{number:04}": number for number in range(1100)})
    run()
    page = get_leaderboard(client, "views", limit=2000)
    assert (page.total, page.ranked) == (1000, 1100)
    assert [one.value for one in page.standings] == list(range(1099, 99, -1))


def test_a_channel_has_its_numbers_places_and_changes(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    store(1, {"a": {"views": 100, "ctr": 4}, "b": 1})
    store(0, {"a": {"views": 150, "ctr": 8}, "b": 1000})
    run()
    day, week, *_ = get_channel(client, "a").spans
    views, ctr = day.metrics
    assert (views.total, views.previous, views.change_percent, views.rank) == (150, 100, 50, 2)
    assert (ctr.measure, ctr.mean, ctr.previous, ctr.change_percent) == ("mean", 8, 4, 100)
    views, ctr = week.metrics
    assert (views.days, views.total, views.low, views.high) == (2, 250, 100, 150)
    assert (ctr.mean, ctr.previous) == (6, None)


def test_what_there_is_not_is_told(client: redis.Redis, store: StoreDay, run: Run) -> None:
    for read in (get_leaderboard, get_channel):
        with pytest.raises(NotFoundError, match="no day yet; run: nova trigger analytics"):
            read(client, "views")
    store(0, {"a": 1})
    run()
    with pytest.raises(NotFoundError, match="no channel b"):
        get_channel(client, "b")
    with pytest.raises(InputError, match="unknown metric likse; known are views, "):
        get_leaderboard(client, "likse")
    for day in (date.min, date.max):
        with pytest.raises(NotFoundError, match=f"run: nova trigger analytics --day {day}"):
            get_leaderboard(client, "views", Period.WEEK, day)
        assert [span.period for span in get_channel(client, "a", day).spans] == [Period.ALL]


def test_days_and_weeks_expire_and_months_stay(
    client: redis.Redis, store: StoreDay, run: Run
) -> None:
    store(0, {"a": 1}, (video("1", "a", 10),))
    store(40, {"a": 1})
    run()
    expiring = {key for key in client.scan_iter("nova:analytics:*") if client.ttl(key) > 0}
    assert {key.split(b":")[2] for key in expiring} == {b"day", b"week", b"report"}
    staying = {key.split(b":")[2] for key in client.scan_iter("nova:analytics:*")}
    assert staying >= {b"month", b"all", b"before", b"days", b"months", b"reports"}


def test_a_run_that_dies_shows_nothing_of_its_day_and_leaves_nothing(
    client: redis.Redis, store: StoreDay, run: Run, stored: Stored
) -> None:
    store(0, {"a": 1})

    def die(_effects: Pipeline, _report: AnalyticsReport) -> None:
        assert len(keys_of_staging(client)) > 0
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(commits=Commits(PLAINLY.slice, die))
    assert {key.split(b":")[2] for key in stored()} == {b"month", b"months"}, "a slice of its own"
    assert keys_of_staging(client) == []
    assert STORE.list(client).total == 0
    assert all(span.written for span in run().spans if span.period is not Period.MONTH)


def test_more_channels_than_memory_allows_are_refused_before_they_are_loaded(
    client: redis.Redis,
    make_settings: Callable[..., Settings],
    store: StoreDay,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store(0, {f"c{number}": 1 for number in range(300)})
    monkeypatch.setattr(days, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ConfigurationError, match=r"300 channels needs about 1 MB.*LIMIT_MB \(1\)"):
        process_day(client, make_settings(NOVA_ANALYTICS_MEMORY_LIMIT_MB=1), "run")
    assert stored() == {}


def test_channels_that_come_and_go_count_for_the_memory_limit(
    client: redis.Redis, make_settings: Callable[..., Settings], store: StoreDay
) -> None:
    for days_ago in range(3):
        store(days_ago, {f"c{days_ago}-{number}": 1 for number in range(100)})
    with pytest.raises(ConfigurationError, match=r"300 channels"):
        process_day(client, make_settings(NOVA_ANALYTICS_MEMORY_LIMIT_MB=1), "run")
    assert keys_of_staging(client) == []


DAY = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2**40).map(float), min_size=1)


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.integers(0, 40), DAY, min_size=1, max_size=6), st.data())
def test_any_order_of_ingest_and_runs_ends_with_the_same_totals(
    client: redis.Redis,
    store: StoreDay,
    run: Run,
    by_day: dict[int, dict[str, float]],
    data: st.DataObject,
) -> None:
    """Days in any order, some twice with other numbers, runs in between: the sums are Python's."""
    client.flushall()
    for days_ago in data.draw(st.permutations(sorted(by_day))):
        if data.draw(st.booleans()):
            store(days_ago, dict.fromkeys(by_day[days_ago], 1.0))
            run(days_ago)
        store(days_ago, by_day[days_ago])
    run(min(by_day))
    for channel in {name for channels in by_day.values() for name in channels}:
        expected = sum(channels.get(channel, 0) for channels in by_day.values())
        spans = {span.period: span.metrics[0] for span in get_channel(client, channel).spans}
        assert spans[Period.ALL].total == expected
    ranks = [one.rank for one in get_leaderboard(client, "views", Period.ALL).standings]
    assert ranks == list(range(1, len(ranks) + 1))


def test_a_day_is_loaded_in_one_order(client: redis.Redis, store: StoreDay) -> None:
    store(0, {name: number for number, name in enumerate("zbya")})
    found = days.load(client, LAST_DAY)
    assert found.channels == [b"a", b"b", b"y", b"z"]
    assert found.metrics[:, METRIC_NAMES.index("views")].tolist() == [3, 1, 2, 0]
