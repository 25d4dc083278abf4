"""What is told about the schedule, from what beat leaves in Redis."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nova.runtime.leader import Leader
from nova.runtime.messages import PreparedMessage
from nova.runtime.schedule_status import read_schedule
from nova.runtime.slots import CATCH_UP_LIMIT, Mark, Plan, Slots, plan, slot_id
from nova.schedule import SCHEDULE
from nova.store import Keys

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
ENTRY = SCHEDULE[0]
SLOTS = Slots(ENTRY.schedule)


def fire(client: Client, slot: datetime, missed: int = 0) -> str:
    """Publish a slot as beat does."""
    leader = Leader(client)
    leader.look()
    looked_at = (client.hget(Keys.BEAT_SLOTS, ENTRY.name) or b"").decode()
    message = PreparedMessage(ENTRY.queue, "{}", "1", ENTRY.task, ENTRY.queue)
    fired = leader.fire(
        *(ENTRY.name, looked_at, Mark(slot, SLOTS.identity), message),
        published_at=slot,
        expires_seconds=60,
        missed=missed,
    )
    leader.resign(client)
    return fired.status


def last_slot(client: Client) -> datetime:
    """Return the newest slot that is not after the time of Redis."""
    now = datetime.fromtimestamp(client.time()[0], UTC)
    return SLOTS.between(now - timedelta(days=400), now, 1)[0]


def test_without_a_beat_there_are_the_entries_and_their_next_slots(client: Client) -> None:
    status = read_schedule(client)
    assert (status.leader, status.last_tick) == (None, None)
    assert [entry.name for entry in status.entries] == [entry.name for entry in SCHEDULE]
    for entry in status.entries:
        assert entry.next_slot > status.at
        assert (entry.last_slot, entry.overdue_seconds, entry.missed_slots) == (None, 0, 0)


def test_a_published_slot_tells_how_late_it_was(client: Client) -> None:
    slot = last_slot(client)
    assert fire(client, slot, missed=3) == "fired"
    status = read_schedule(client)
    [entry] = [entry for entry in status.entries if entry.name == ENTRY.name]
    assert entry.last_slot == slot
    assert entry.last_task_id == slot_id(ENTRY.name, slot)
    assert entry.last_published_at is not None
    late = (entry.last_published_at - slot).total_seconds()
    assert entry.lateness_seconds == pytest.approx(late)
    assert abs((status.at - entry.last_published_at).total_seconds()) < 5
    assert entry.next_slot == SLOTS.following(slot) > status.at
    assert (entry.overdue_seconds, entry.missed_slots) == (0, 3)
    assert status.last_tick is not None
    assert abs((status.at - status.last_tick).total_seconds()) < 5


def test_a_slot_that_nobody_publishes_is_overdue(client: Client) -> None:
    slot = last_slot(client)
    before = SLOTS.between(slot - timedelta(days=400), slot - timedelta(seconds=1), 1)[0]
    fire(client, before)
    status = read_schedule(client)
    [entry] = [entry for entry in status.entries if entry.name == ENTRY.name]
    assert entry.next_slot == slot
    assert entry.overdue_seconds == (status.at - slot).total_seconds()


def test_missed_slots_are_counted_once(client: Client) -> None:
    """Who asks again, since the answer was lost, finds that the mark has moved."""
    leader, slot = Leader(client), last_slot(client)
    leader.look()
    mark = Mark(slot, SLOTS.identity)
    assert leader.set_mark(ENTRY.name, "", mark, missed=2) == "fired"
    assert leader.set_mark(ENTRY.name, "", mark, missed=2) == "moved"
    assert read_schedule(client).entries[0].missed_slots == 2


def test_the_leader_is_told_while_it_leads(client: Client) -> None:
    leader = Leader(client)
    leader.look()
    found = read_schedule(client).leader
    assert found is not None
    assert found.pid > 0
    leader.resign(client)
    assert read_schedule(client).leader is None


@pytest.mark.parametrize(("policy", "missed"), [("all", 0), ("latest", 2), ("skip", 3)])
def test_slots_that_are_passed_over_are_counted(policy: Any, missed: int) -> None:
    """Three were missed, the last of them an hour ago."""
    now = SLOTS.following(datetime(2026, 3, 1, tzinfo=UTC))
    slots = SLOTS.between(now - timedelta(days=2000), now, 4)
    mark = Mark(slots[0], SLOTS.identity)
    todo = plan(SLOTS, mark, slots[-1] + timedelta(hours=1), policy)
    assert todo.missed == missed


def test_no_more_than_a_thousand_are_counted() -> None:
    now = datetime(2026, 3, 1, 3, tzinfo=UTC)
    old = Mark(now - timedelta(days=365 * 60), SLOTS.identity)
    todo: Plan = plan(SLOTS, old, now, "latest")
    assert todo.missed == CATCH_UP_LIMIT
