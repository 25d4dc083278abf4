"""A slot is taken once, by whoever leads and knows the mark, and only then is its run noted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nova.runtime.leader import LEGACY_PLACE, Leader
from nova.runtime.slots import Mark
from nova.store import Keys

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
FIRST = Mark(datetime(2026, 3, 28, 2, tzinfo=UTC), "cron 0 2 * * *")
SECOND = Mark(FIRST.slot + timedelta(days=1), FIRST.identity)


@pytest.fixture
def leader(client: Client) -> Leader:
    """A process that leads."""
    leader = Leader(client, 600, mode="legacy")
    assert leader.look().leads
    return leader


def take(leader: Leader, looked_at: str, mark: Mark, run: str = "run") -> str:
    """Take a slot of the entry `nightly`."""
    return leader.take("nightly", looked_at, mark, run, {"entry": "nightly"}, expires_seconds=60)


def test_a_slot_is_marked_and_its_run_noted(client: Client, leader: Leader) -> None:
    """With the time of Redis, and as beat notes what it published."""
    assert take(leader, "", FIRST) == "fired"
    assert client.hget(Keys.BEAT_SLOTS, "nightly").decode() == str(FIRST)
    note = client.hgetall(Keys.legacy_run("run"))
    assert note[b"entry"] == b"nightly"
    assert abs(float(note[b"began"]) - client.time()[0]) < 5
    assert 0 < client.ttl(Keys.legacy_run("run")) <= 60
    slot, began = client.hget(Keys.BEAT_STATE, "fired:nightly").decode().split()
    assert (slot, began) == (str(FIRST).split()[0], note[b"began"].decode())


def test_a_slot_is_not_taken_twice(client: Client, leader: Leader) -> None:
    """Neither from the mark before it nor from its own."""
    take(leader, "", FIRST)
    assert take(leader, "", FIRST, "other") == "moved"
    assert take(leader, str(FIRST), FIRST, "other") == "moved"
    assert not client.exists(Keys.legacy_run("other"))
    assert take(leader, str(FIRST), SECOND, "other") == "fired"


def test_who_does_not_lead_takes_nothing(client: Client, leader: Leader) -> None:
    """As a process that froze and wakes when another leads."""
    late = Leader(client, 600, mode="legacy")
    assert take(late, "", FIRST) == "not leader"
    assert not client.exists(Keys.legacy_run("run"), Keys.BEAT_SLOTS)


def test_beside_beat_the_lead_and_the_marks_are_others(client: Client, leader: Leader) -> None:
    """So both may take the same slot."""
    beside = Leader(client, 600, place=LEGACY_PLACE, mode="parallel")
    assert beside.look().leads
    assert take(leader, "", FIRST, "one") == take(beside, "", FIRST, "two") == "fired"
    assert client.hget(Keys.BEAT_STATE, "mode") == b"legacy"


def test_the_mode_is_noted_by_who_leads_and_its_time_stays(client: Client, leader: Leader) -> None:
    """A standby of another mode changes nothing; another leader does."""
    client.hset(Keys.BEAT_STATE, "mode_since", 1)
    leader.look()
    other = Leader(client, 600, mode="parallel")
    assert not other.look().leads
    assert client.hmget(Keys.BEAT_STATE, "mode", "mode_since") == [b"legacy", b"1"]
    leader.resign(client)
    assert other.look().leads
    mode, since = client.hmget(Keys.BEAT_STATE, "mode", "mode_since")
    assert mode == b"parallel"
    assert abs(int(since) - client.time()[0]) < 5
