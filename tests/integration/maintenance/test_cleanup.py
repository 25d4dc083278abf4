"""Cleaning a real Redis: what goes, what stays, and that a dry run tells it beforehand."""

import inspect
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nova.maintenance.keys import KEYS_AT_A_TIME, Kind
from nova.maintenance.models import MaintenanceReport
from nova.maintenance.reports import STORE
from nova.maintenance.service import clean, record
from nova.memory import Memory
from nova.queues import QUEUES
from nova.runtime import ledger
from nova.runtime.ledger import TOKEN_HEADER, Run, StaleRunError
from nova.settings import Settings
from nova.store import Keys
from tests.integration.maintenance.conftest import LetIdle, StoreDay, StorePage, removed

DAY = date(2020, 1, 31)
#: Frees all that may be freed at all.
HARSHEST = {
    "NOVA_METRIC_RETENTION_DAYS": 1,
    "NOVA_REPORT_RETENTION_DAYS": 1,
    "NOVA_AGENT_MEMORY_DAYS": 1,
    "NOVA_CACHE_MAX_MB": 0,
    "NOVA_REDIS_MEMORY_LIMIT_MB": 1,
}


def run(client: redis.Redis, settings: Settings, **options: Any) -> MaintenanceReport:
    """Clean up and store the report, as the task does."""
    report = clean(client, settings, "run", **options)
    with client.pipeline() as effects:
        record(effects, report)
        effects.execute()
    return report


def contents(client: redis.Redis) -> dict[bytes, bytes | None]:
    """Every key with its value."""
    return {key: client.dump(key) for key in client.scan_iter()}


def forget_use(client: redis.Redis, member: str, hours: float, index: str) -> None:
    """Let the last use of a page or an entry be some hours ago."""
    seconds, _ = client.time()
    client.zadd(index, {member: seconds - hours * 3600}, xx=True)


# --- What must never go


def all_names() -> set[str]:
    """One key of every name in the home of names, and those of Celery, kombu and strangers."""
    samples = {date: DAY, int: 1, str: "x"}
    names = {*QUEUES, "trends\x06\x163", "test@host.dq2", "_kombu.binding.trends", "somebody:else"}
    for name, value in vars(Keys).items():
        if isinstance(value, str) and not name.startswith("_") and not value.endswith(":"):
            names.add(value)
        elif isinstance(value, staticmethod):
            function: Callable[..., str] = value.__func__
            parameters = inspect.signature(function, eval_str=True).parameters.values()
            names.add(function(*(samples.get(each.annotation, "x") for each in parameters)))
    return names


#: Of them those that go under the harshest policy when nobody has used them for long.
MAY_GO = {
    Keys.metric_day(DAY),
    Keys.video_day(DAY),
    Keys.metric_staging("x"),
    Keys.video_staging("x"),
    Keys.cached_page("x"),
    Keys.memory("x"),
    Keys.worker("x"),
    Keys.worker_counts("x"),
    Keys.count_batch("x"),
    Keys.result("x"),
    Keys.group_result("x"),
    Keys.governance_scores("x"),
    Keys.governance_flags("x"),
}


def test_of_all_keys_that_there_are_only_those_go_that_may(
    client: redis.Redis,
    make_settings: Callable[..., Settings],
    store_page: StorePage,
    store_day: StoreDay,
    let_idle: LetIdle,
) -> None:
    """Each name that Nova knows, never expiring, unused for years, under the harshest policy.

    A name that is added to nova/store.py is in this test at once, as one that must stay.
    """
    store_page("x", hours_ago=10_000)
    store_day(DAY)
    store_day(DAY + timedelta(days=1))
    Memory(client).put("x", "x", 1)
    forget_use(client, "x:x", 10_000, Keys.MEMORY_INDEX)
    client.zadd(Keys.WORKERS, {"x": 1})
    for name in all_names():
        client.set(name, "value", nx=True)
    client.persist(Keys.cached_page("x"))
    names = {key.decode() for key in client.scan_iter()}
    let_idle(*names, hours=10_000)
    clean(client, make_settings(**HARSHEST), "run")
    gone = names - {key.decode() for key in client.scan_iter()}
    indexes = {Keys.HTTP_CACHE, Keys.MEMORY_INDEX}
    assert gone - indexes == MAY_GO
    assert client.zrange(Keys.METRIC_DAYS, 0, -1) == [b"2020-02-01"], "the newest day stays"


# --- Leftovers


def test_a_result_that_would_never_expire_goes_when_nobody_asked_for_it_for_long(
    client: redis.Redis, settings: Settings, let_idle: LetIdle
) -> None:
    for name in ("old", "young", "expires"):
        client.set(Keys.result(name), "{}")
    client.set(Keys.group_result("old"), "{}")
    client.expire(Keys.result("expires"), 3600)
    let_idle(Keys.result("old"), Keys.result("expires"), Keys.group_result("old"), hours=25)
    let_idle(Keys.result("young"), hours=23)
    report = run(client, settings, max_age_hours=24)
    assert removed(report) == {Kind.RESULTS: 2}
    assert client.exists(Keys.result("young"), Keys.result("expires")) == 2
    assert client.ttl(Keys.result("expires")) > 3500


def test_the_age_is_the_one_that_was_asked_for(
    client: redis.Redis, settings: Settings, let_idle: LetIdle
) -> None:
    client.set(Keys.metric_staging("killed"), "half a day")
    let_idle(Keys.metric_staging("killed"), hours=25)
    assert removed(run(client, settings, max_age_hours=26)) == {}
    assert removed(run(client, settings, max_age_hours=24)) == {Kind.STAGING: 1}


def test_looking_at_a_key_is_no_use_of_it(
    client: redis.Redis, settings: Settings, let_idle: LetIdle
) -> None:
    client.set(Keys.result("old"), "{}")
    let_idle(Keys.result("old"))
    for _ in range(3):
        run(client, settings, dry_run=True)
    assert client.object("IDLETIME", Keys.result("old")) >= 48 * 3600


def test_where_redis_does_not_tell_ages_nothing_is_old(
    client: redis.Redis, settings: Settings, let_idle: LetIdle
) -> None:
    """With a policy of the kind lfu it counts how often keys are used, not when."""
    client.set(Keys.result("old"), "{}")
    let_idle(Keys.result("old"))
    client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        report = run(client, settings)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert removed(report) == {}


def test_a_full_redis_can_be_cleaned(
    client: redis.Redis, settings: Settings, let_idle: LetIdle, store_page: StorePage
) -> None:
    client.set(Keys.result("old"), "{}")
    let_idle(Keys.result("old"))
    store_page("page", hours_ago=1)
    client.config_set("maxmemory", "1mb")
    try:
        report = clean(client, settings, "run")
    finally:
        client.config_set("maxmemory", "0")
    assert removed(report) == {Kind.RESULTS: 1, Kind.PAGES: 1}
    assert report.memory_limit_bytes == int(2**20 * 0.8)
    assert report.over_limit_bytes > 0
    assert " over" in report.headline


# --- Reports and days


def store_report(client: redis.Redis, report_id: str, days_ago: float) -> None:
    """Store a governance report with its parts, which live longer than the settings say."""
    made = datetime.now(UTC) - timedelta(days=days_ago)
    client.zadd(Keys.reports("governance"), {report_id: made.timestamp()})
    parts = (Keys.governance_scores(report_id), Keys.governance_flags(report_id))
    for key in (Keys.report("governance", report_id), *parts):
        client.set(key, "{}", ex=timedelta(days=400))


def test_reports_past_their_retention_go_with_their_parts_and_index(
    client: redis.Redis, make_settings: Callable[..., Settings]
) -> None:
    """The retention was shortened; an id may hold a colon."""
    for report_id, days_ago in (("a:old", 31), ("b:young", 29)):
        store_report(client, report_id, days_ago)
    report = run(client, make_settings(NOVA_REPORT_RETENTION_DAYS=30))
    assert removed(report) == {Kind.REPORTS: 3}
    assert client.zrange(Keys.reports("governance"), 0, -1) == [b"b:young"]
    assert client.exists(Keys.report("governance", "b:young")) == 1
    assert client.exists(Keys.governance_flags("b:young")) == 1


def test_parts_of_a_report_that_is_not_in_the_index_go_only_when_they_are_old(
    client: redis.Redis, settings: Settings, let_idle: LetIdle
) -> None:
    """A run that is about to store its report may have written them before it."""
    client.set(Keys.governance_scores("lost"), "x")
    client.set(Keys.governance_scores("coming"), "x")
    let_idle(Keys.governance_scores("lost"))
    assert removed(run(client, settings)) == {Kind.REPORTS: 1}
    assert client.exists(Keys.governance_scores("coming")) == 1


def test_days_past_their_retention_go_each_as_a_whole(
    client: redis.Redis, make_settings: Callable[..., Settings], store_day: StoreDay
) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(5)]
    for day in days:
        store_day(day)
    client.hset(Keys.DAY_WRITES, Keys.metric_day(DAY), 3)
    report = run(client, make_settings(NOVA_METRIC_RETENTION_DAYS=3))
    assert report.days_removed == days[:2]
    assert removed(report) == {Kind.CHANNEL_DAYS: 2, Kind.VIDEO_DAYS: 2}
    left = [day.isoformat().encode() for day in days[2:]]
    assert client.zrange(Keys.METRIC_DAYS, 0, -1) == left
    assert client.zrange(Keys.VIDEO_DAYS, 0, -1) == left
    assert not client.exists(Keys.metric_day(DAY), Keys.video_day(DAY))
    assert client.exists(Keys.metric_day(days[2]), Keys.video_day(days[2])) == 2
    assert client.hget(Keys.DAY_WRITES, Keys.metric_day(DAY)) == b"3"


def test_without_a_retention_all_days_stay_and_the_report_says_so(
    client: redis.Redis, settings: Settings, store_day: StoreDay
) -> None:
    store_day(date(2017, 11, 14))
    store_day(date(2026, 3, 1))
    report = run(client, settings)
    assert report.days_removed == []
    reasons = {omission.reason: omission.count for omission in report.basis.left_out}
    assert reasons["NOVA_METRIC_RETENTION_DAYS is not set: all are kept"] == 4


def test_a_worker_that_lost_its_run_removes_no_day(
    client: redis.Redis,
    make_settings: Callable[..., Settings],
    store_day: StoreDay,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings(NOVA_METRIC_RETENTION_DAYS=1)
    monkeypatch.setattr(ledger, "get_settings", lambda: settings)
    for offset in range(3):
        store_day(DAY + timedelta(days=offset))
    request = SimpleNamespace(id="run", get={TOKEN_HEADER: "nova:gone@host:1:1.0"}.get)
    task = SimpleNamespace(request=request, app=Celery("test", backend=redis_url))
    stale = Run(task, client)
    with pytest.raises(StaleRunError):
        clean(client, settings, "run", commit_slice=stale.commit_slice)
    assert client.zcard(Keys.METRIC_DAYS) == client.zcard(Keys.VIDEO_DAYS) == 3


# --- Limits


def test_the_oldest_pages_go_until_the_cache_is_within_its_limit(
    client: redis.Redis, make_settings: Callable[..., Settings], store_page: StorePage
) -> None:
    for number in range(5):
        store_page(f"page{number}", hours_ago=number, size=400_000)
    report = run(client, make_settings(NOVA_CACHE_MAX_MB=1))
    assert removed(report) == {Kind.PAGES: 3}
    assert client.zrange(Keys.HTTP_CACHE, 0, -1) == [b"page1", b"page0"]
    [use] = [use for use in report.kinds if use.kind == Kind.PAGES]
    assert use.after.count == 2
    assert 800_000 < use.after.bytes <= 1_000_000


def test_over_the_memory_limit_pages_go_first_then_memory_that_is_old(
    client: redis.Redis, make_settings: Callable[..., Settings], store_page: StorePage
) -> None:
    store_page("page", hours_ago=0.1)
    memory = Memory(client)
    for name, hours in (("old", 30), ("young", 3)):
        memory.put("trends", name, "x" * 1000)
        forget_use(client, f"trends:{name}", hours, Keys.MEMORY_INDEX)
    report = run(client, make_settings(NOVA_REDIS_MEMORY_LIMIT_MB=1), max_age_hours=24)
    assert removed(report) == {Kind.PAGES: 1, Kind.MEMORY: 1}
    assert [entry.key for entry in memory.entries("trends", 9)] == ["young"]


def test_the_pages_that_go_are_enough_and_no_more(
    client: redis.Redis, make_settings: Callable[..., Settings], store_page: StorePage
) -> None:
    """Redis is over its limit by pages of 100 kB, each as large in Redis, each used later."""
    for number in range(100):
        store_page(f"page{number:02}", hours_ago=100 - number, size=100_000)
    page_bytes = client.memory_usage(Keys.cached_page("page00"))
    assert page_bytes is not None
    used = client.info("memory")["used_memory"]
    limit_mb = used // 1_000_000 - 2
    settings = make_settings(NOVA_REDIS_MEMORY_LIMIT_MB=limit_mb)
    report = run(client, settings)
    assert report.memory_before.used_bytes - report.removed.bytes <= limit_mb * 1_000_000
    one_less = report.removed.count - 1
    assert report.memory_before.used_bytes - one_less * page_bytes > limit_mb * 1_000_000
    assert client.zrange(Keys.HTTP_CACHE, 0, 0) == [f"page{report.removed.count:02}".encode()]
    assert report.over_limit_bytes == 0


def test_agent_memory_goes_when_nobody_used_it_for_its_days(
    client: redis.Redis, make_settings: Callable[..., Settings]
) -> None:
    """And not for max_age_hours: a week's task must find what it noted a week before."""
    memory = Memory(client)
    for name, hours in (("old", 50), ("young", 40)):
        memory.put("trends", name, 1)
        forget_use(client, f"trends:{name}", hours, Keys.MEMORY_INDEX)
    report = run(client, make_settings(NOVA_AGENT_MEMORY_DAYS=2), max_age_hours=1)
    assert removed(report) == {Kind.MEMORY: 1}
    [use] = [use for use in report.kinds if use.kind == Kind.MEMORY]
    assert (use.before.count, use.after.count) == (2, 1)
    assert [entry.key for entry in memory.entries("trends", 9)] == ["young"]


def test_expired_pages_leave_the_index(
    client: redis.Redis, settings: Settings, store_page: StorePage
) -> None:
    """More of them than one step takes."""
    client.zadd(Keys.HTTP_CACHE, {f"gone{number}": number for number in range(1200)})
    store_page("page", hours_ago=1)
    run(client, settings)
    assert client.zrange(Keys.HTTP_CACHE, 0, -1) == [b"page"]


# --- Dry runs, second runs, slices


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None
)
@given(
    idle=st.lists(st.integers(0, 60), max_size=30),
    page_hours=st.lists(st.integers(0, 60), max_size=8),
    memory_hours=st.lists(st.integers(0, 60), max_size=8),
    days=st.sets(st.integers(0, 20), max_size=6),
    keep=st.integers(1, 10),
)
def test_a_dry_run_changes_nothing_and_tells_what_a_run_then_does_once(
    client: redis.Redis,
    make_settings: Callable[..., Settings],
    let_idle: LetIdle,
    store_page: StorePage,
    store_day: StoreDay,
    idle: list[int],
    page_hours: list[int],
    memory_hours: list[int],
    days: set[int],
    keep: int,
) -> None:
    client.flushall()
    for number, hours in enumerate(idle):
        client.set(Keys.result(str(number)), "{}")
        let_idle(Keys.result(str(number)), hours=hours)
    for number, hours in enumerate(page_hours):
        store_page(str(number), hours + 0.1, size=200_000)
    memory = Memory(client)
    for number, hours in enumerate(memory_hours):
        memory.put("trends", str(number), "x" * number)
        forget_use(client, f"trends:{number}", hours + 0.1, Keys.MEMORY_INDEX)
    for offset in days:
        store_day(DAY + timedelta(days=offset))
    settings = make_settings(
        NOVA_METRIC_RETENTION_DAYS=keep, NOVA_CACHE_MAX_MB=1, NOVA_AGENT_MEMORY_DAYS=1
    )
    before = sorted(client.scan_iter())
    dry = clean(client, settings, "dry", dry_run=True)
    assert sorted(client.scan_iter()) == before
    done = clean(client, settings, "done")
    assert [use.removed for use in dry.kinds] == [use.removed for use in done.kinds]
    assert dry.days_removed == done.days_removed
    assert removed(done).get(Kind.RESULTS, 0) == sum(hours >= 24 for hours in idle)
    assert removed(done).get(Kind.MEMORY, 0) == sum(hours >= 24 for hours in memory_hours)
    assert removed(clean(client, settings, "again")) == {}


def test_a_dry_run_changes_no_value(
    client: redis.Redis,
    make_settings: Callable[..., Settings],
    let_idle: LetIdle,
    store_page: StorePage,
    store_day: StoreDay,
) -> None:
    store_page("page", hours_ago=2)
    client.zadd(Keys.HTTP_CACHE, {"expired": 1})
    for offset in range(3):
        store_day(DAY + timedelta(days=offset))
    Memory(client).put("trends", "cats", 1)
    forget_use(client, "trends:cats", 10_000, Keys.MEMORY_INDEX)
    store_report(client, "old", 31)
    client.set(Keys.result("old"), "{}")
    before = contents(client)
    let_idle(Keys.result("old"))
    report = clean(client, make_settings(**HARSHEST), "run", dry_run=True)
    kinds = {Kind.PAGES, Kind.MEMORY, Kind.RESULTS, Kind.REPORTS}
    assert set(removed(report)) == kinds | {Kind.CHANNEL_DAYS, Kind.VIDEO_DAYS}
    assert contents(client) == before


def test_everything_is_counted_once_and_what_goes_adds_up(
    client: redis.Redis, settings: Settings, let_idle: LetIdle
) -> None:
    """More keys than one step looks at, so that the walk takes several."""
    number = 5 * KEYS_AT_A_TIME
    for i in range(number):
        client.set(Keys.result(str(i)), "{}")
        client.set(f"stranger:{i}", "x")
    let_idle(*(Keys.result(str(i)) for i in range(0, number, 2)))
    client.config_resetstat()
    report = run(client, settings)
    counts = {use.kind: use for use in report.kinds}
    assert report.basis.rows == 2 * number
    assert counts[Kind.OTHER].before.count == number
    assert counts[Kind.RESULTS].before.count == number
    assert counts[Kind.RESULTS].removed.count == number // 2
    assert counts[Kind.RESULTS].after.count == number // 2
    assert counts[Kind.RESULTS].before.bytes > number * 50
    assert client.dbsize() == 2 * number - number // 2 + 2, "the report and its index came"
    steps = client.info("commandstats")["cmdstat_scan"]["calls"]
    assert steps >= 2 * number / KEYS_AT_A_TIME, "no step looks at more"


def test_the_report_is_stored_and_says_what_it_rests_on(
    client: redis.Redis, settings: Settings
) -> None:
    client.hset(Keys.issued_task("some"), "name", "x")
    report = run(client, settings, earlier_starts=1)
    assert STORE.get(client) == report
    assert report.basis.sources == ["all keys of Redis", "heartbeats of workers"]
    left_out = {omission.what: omission.count for omission in report.basis.left_out}
    assert left_out["earlier starts of this run"] == 1
    assert left_out["keys of runs, messages, dead letters, schedule, totals and indexes"] == 1
    assert report.memory_before.used_bytes > 0
    assert report.memory_after.fragmentation > 0
    assert report.headline.startswith("removed nothing; Redis uses ")
