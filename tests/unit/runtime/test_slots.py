"""Slot arithmetic, and what is done about slots that were missed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import BaseSchedule, crontab
from celery.schedules import schedule as interval
from hypothesis import given
from hypothesis import strategies as st

from nova.runtime.slots import CATCH_UP_LIMIT, GRACE, Mark, Plan, Slots, next_slot, plan, slot_id
from nova.schedule import SCHEDULE, CatchUp

NIGHTLY = crontab(hour="2", minute="0")
HOURLY = interval(timedelta(hours=1))


def at(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def marked(schedule: BaseSchedule, slot: datetime) -> Mark:
    return Mark(slot, Slots(schedule).identity)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (NIGHTLY, "2026-01-01T01:59:59", "2026-01-01T02:00:00"),
        (NIGHTLY, "2026-01-01T02:00:00", "2026-01-02T02:00:00"),
        (NIGHTLY, "2026-01-31T12:00:00", "2026-02-01T02:00:00"),
        (crontab(minute="*/5"), "2026-01-01T02:04:59.999999", "2026-01-01T02:05:00"),
        (crontab(0, 0, day_of_month="29", month_of_year="2"), "2026-01-01", "2028-02-29"),
        (interval(10), "2026-01-01T00:00:00", "2026-01-01T00:00:10"),
        (interval(10), "2026-01-01T00:00:03.5", "2026-01-01T00:00:10"),
        (interval(0.25), "2026-01-01T00:00:00.3", "2026-01-01T00:00:00.5"),
    ],
)
def test_the_next_slot_is_the_first_after_a_time(
    schedule: BaseSchedule, after: str, expected: str
) -> None:
    assert next_slot(schedule, at(after)) == at(expected)


def test_the_tables_entries_have_a_next_slot() -> None:
    """`nova schedule` can show when each entry runs next."""
    noon = at("2026-03-01T12:00:00")
    slots = {entry.name: next_slot(entry.schedule, noon) for entry in SCHEDULE}
    assert slots["nightly-governance-loop"] == at("2026-03-02T02:00:00")
    assert all(slot > noon for slot in slots.values())


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"])
@given(
    after=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),
    minute=st.sampled_from(["0", "30", "*/20"]),
    hour=st.sampled_from(["*", "1", "2", "0-3"]),
)
def test_slots_go_forward_over_clock_changes(
    zone: str, after: datetime, minute: str, hour: str
) -> None:
    """Where clocks repeat or leave out an hour, the next slot is still later than the last."""
    app = Celery(set_as_current=False)
    app.conf.timezone = zone
    slot = after.replace(tzinfo=UTC)
    schedule = crontab(minute=minute, hour=hour, app=app)
    for _ in range(3):
        following = next_slot(schedule, slot)
        assert slot < following <= slot + timedelta(hours=50)
        slot = following


def test_the_newest_slots_are_found_oldest_first() -> None:
    found = Slots(NIGHTLY).between(at("2020-01-01T02:00:00"), at("2026-01-03T02:00:00"), 2)
    assert found == [at("2026-01-02T02:00:00"), at("2026-01-03T02:00:00")]


@given(
    every=st.integers(1, 5000),
    limit=st.integers(1, 20),
    length=st.integers(0, 1_000_000),
)
def test_slots_between_two_times_are_all_there_up_to_the_limit(
    every: int, limit: int, length: int
) -> None:
    after = at("2026-01-01T00:00:00")
    until = after + timedelta(seconds=length)
    found = Slots(interval(every)).between(after, until, limit)
    epoch = int(after.timestamp())
    expected = range((epoch // every + 1) * every, epoch + length + 1, every)[-limit:]
    assert [int(slot.timestamp()) for slot in found] == list(expected)


def test_the_id_of_a_slot_never_changes() -> None:
    """Two releases, and two hosts, give one slot one id. The value must stay for ever."""
    slot = at("2026-01-01T02:00:00")
    assert slot_id("nightly-governance-loop", slot) == "92368741-0de6-52e4-b06a-c5c301e5ef72"
    assert slot_id("other", slot) != slot_id("nightly-governance-loop", slot)


@pytest.mark.parametrize(
    ("schedule", "identity"),
    [
        (NIGHTLY, "cron 0 2 * * *"),
        (crontab(0, 2, day_of_week="1", day_of_month="3", month_of_year="4"), "cron 0 2 3 4 1"),
        (interval(2.5), "every 2.5 s"),
    ],
)
def test_a_schedule_is_described_by_what_it_does(schedule: BaseSchedule, identity: str) -> None:
    assert Slots(schedule).identity == identity


class Unstable(BaseSchedule):  # type: ignore[misc]  # celery ships no types
    """A schedule of which two processes cannot tell that it is the same."""


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [(interval(0), "must be longer than 0 s"), (Unstable(), "Unstable, must define __reduce__")],
)
def test_a_schedule_without_slots_is_refused(schedule: BaseSchedule, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Slots(schedule)


def test_a_mark_is_read_as_it_was_written() -> None:
    mark = Mark(at("2026-01-01T02:00:00.25"), "cron 0 2 * * *")
    assert str(mark) == "2026-01-01T02:00:00.250000Z cron 0 2 * * *"
    assert Mark.parse(str(mark)) == mark


def test_a_mark_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="its mark is no time: 'soon'"):
        Mark.parse("soon")


@dataclass(frozen=True)
class Case:
    policy: CatchUp
    late: timedelta
    fires: int
    passes_over: bool


@pytest.mark.parametrize(
    "case",
    [
        Case("all", timedelta(0), fires=3, passes_over=False),
        Case("latest", timedelta(0), fires=1, passes_over=True),
        Case("skip", timedelta(0), fires=1, passes_over=True),
        Case("all", timedelta(minutes=30), fires=3, passes_over=False),
        Case("latest", timedelta(minutes=30), fires=1, passes_over=True),
        Case("skip", GRACE - timedelta(seconds=1), fires=1, passes_over=True),
        Case("skip", GRACE, fires=0, passes_over=True),
    ],
    ids=str,
)
def test_missed_slots_are_treated_by_the_policy(case: Case) -> None:
    """Three slots were missed, the last of them `late` ago."""
    last = at("2026-01-01T12:00:00")
    mark = marked(HOURLY, last - timedelta(hours=3))
    todo = plan(Slots(HOURLY), mark, last + case.late, case.policy)
    newest = [last - timedelta(hours=hours) for hours in reversed(range(case.fires))]
    assert list(todo.fire) == newest
    assert (todo.passed_over is not None) == case.passes_over
    # When none is published the mark moves all the same: they are not looked at for ever.
    assert (todo.mark is not None) == (case.fires == 0)


@pytest.mark.parametrize("policy", ["all", "latest", "skip"])
def test_a_slot_in_time_fires_whatever_the_policy(policy: CatchUp) -> None:
    last = at("2026-01-01T12:00:00")
    todo = plan(Slots(HOURLY), marked(HOURLY, last - timedelta(hours=1)), last, policy)
    assert todo == Plan(fire=(last,))


@pytest.mark.parametrize("policy", ["all", "latest", "skip"])
def test_nothing_is_due_between_slots(policy: CatchUp) -> None:
    mark = marked(HOURLY, at("2026-01-01T12:00:00"))
    assert plan(Slots(HOURLY), mark, at("2026-01-01T12:59:59.999999"), policy) == Plan()


def test_all_has_a_limit_and_says_so() -> None:
    now = at("2026-01-01T12:00:00")
    missed = CATCH_UP_LIMIT + 1
    todo = plan(Slots(HOURLY), marked(HOURLY, now - timedelta(hours=missed)), now, "all")
    assert len(todo.fire) == CATCH_UP_LIMIT
    assert todo.fire[-1] == now
    assert todo.passed_over == now - timedelta(hours=CATCH_UP_LIMIT)
    assert todo.reason == "more than 1,000 were missed"


def test_a_new_entry_starts_now() -> None:
    now = at("2026-01-01T12:30:00")
    assert plan(Slots(HOURLY), None, now, "all").mark == marked(HOURLY, now)


def test_a_changed_schedule_fires_none_of_its_old_slots() -> None:
    now = at("2026-01-01T12:30:00")
    todo = plan(Slots(HOURLY), marked(NIGHTLY, at("2026-01-01T02:00:00")), now, "all")
    assert (todo.fire, todo.mark) == ((), marked(HOURLY, now))


def test_a_changed_schedule_does_not_take_a_mark_back() -> None:
    """The clock was set back: slots up to the old mark may have been published."""
    ahead = at("2026-01-05T02:00:00")
    todo = plan(Slots(HOURLY), marked(NIGHTLY, ahead), at("2026-01-01T12:30:00"), "all")
    assert (todo.fire, todo.mark) == ((), marked(HOURLY, ahead))


@given(
    steps=st.lists(st.integers(-100_000, 100_000), min_size=1, max_size=20),
    policy=st.sampled_from(["all", "latest", "skip"]),
)
def test_no_slot_fires_twice_whatever_the_clock_does(steps: list[int], policy: Any) -> None:
    """The clock of Redis is set back and forward; slots only go forward."""
    slots, now = Slots(HOURLY), at("2026-01-01T12:30:00")
    mark = marked(HOURLY, now)
    fired: list[datetime] = []
    for step in steps:
        now += timedelta(seconds=step)
        todo = plan(slots, mark, now, policy)
        fired += todo.fire
        mark = todo.mark or (marked(HOURLY, todo.fire[-1]) if todo.fire else mark)
    assert fired == sorted(set(fired))


def test_a_clock_that_was_set_back_is_told() -> None:
    slot = at("2026-01-02T00:00:00")
    todo = plan(Slots(HOURLY), marked(HOURLY, slot), slot - timedelta(hours=5), "all")
    assert todo == Plan(ahead=timedelta(hours=5))
