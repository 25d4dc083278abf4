"""Drives the real scripts of beat on a real Redis, in any order of events.

A hypothesis state machine lets several beats look, publish, freeze, wake, crash and resign, lets
leases end, sets the clock of Redis, fills its memory, and fails over to a replica that lags. After
every step no slot may have fired twice on the history that Redis has, none may have been passed
over, and nobody but the leader may have changed anything. In the end every slot must have fired.

The time that a look brings from Redis is replaced by that of the machine, which can be set: what
depends on the time is decided from that value. The end of a lease is the lack of its key.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, cast

import pytest
import redis
from celery.schedules import schedule as interval
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nova.runtime.leader import Leader, Look
from nova.runtime.messages import PreparedMessage
from nova.runtime.slots import EPOCH, Mark, Slots, plan, slot_id
from nova.schedule import CatchUp
from nova.store import Keys

ENTRY = "entry"
QUEUE = "slots"
PERIOD = timedelta(seconds=60)
START = datetime(2026, 1, 1, 2, 0, 30, tzinfo=UTC)
SLOTS = Slots(interval(PERIOD))
#: Leases end when the machine says so, and not while it is at work.
LONG_LEASE_SECONDS = 3600.0
RUN_EXPIRES_SECONDS = 3600
BEATS = 3

Contents = dict[bytes, bytes]


def contents(client: redis.Redis) -> Contents:
    """All that Redis holds, but for how long leases still last."""
    return {key: cast(bytes, client.dump(key)) for key in cast(list[bytes], client.keys())}


def restore(client: redis.Redis, replica: Contents) -> None:
    """Put a Redis back to what a replica has; a lease without an end would be none."""
    client.flushall()
    for key, value in replica.items():
        client.restore(key, round(LONG_LEASE_SECONDS * 1000), value)


@dataclass
class Beat:
    """One process of beat, and what it remembers of its last look."""

    leader: Leader
    look: Look | None = None
    #: The mark as this beat knows it, and the slots that it is about to publish.
    looked_at: str = ""
    due: list[datetime] = field(default_factory=list)
    start: Mark | None = None


class SlotMachine(RuleBasedStateMachine):
    """Beats on one Redis whose clock, memory and replicas misbehave."""

    client: ClassVar[redis.Redis]
    policy: ClassVar[CatchUp]

    @initialize()
    def begin(self) -> None:
        """An empty Redis, and beats that have not looked yet."""
        self.client.config_set("maxmemory", "0")
        self.client.flushall()
        self.now = START
        self.replica: Contents = {}
        self.is_full = False
        self.beats = [self.new_beat() for _ in range(BEATS)]

    def new_beat(self) -> Beat:
        return Beat(Leader(self.client, LONG_LEASE_SECONDS))

    def history(self) -> list[str]:
        """Ids that were published, in order, as Redis has them."""
        raw = cast(list[bytes], self.client.lrange(QUEUE, 0, -1))
        return [text.decode() for text in reversed(raw)]

    def mark(self) -> Mark | None:
        text = cast(bytes | None, self.client.hget(Keys.BEAT_SLOTS, ENTRY))
        return Mark.parse(text.decode()) if text else None

    def leads(self, beat: Beat) -> bool:
        return self.client.get(Keys.BEAT_LEADER) == beat.leader.value.encode()

    # What beats do.

    @rule(number=st.integers(0, BEATS - 1))
    def look(self, number: int) -> None:
        """A beat looks; if it does not come to lead, Redis stays as it is."""
        beat = self.beats[number]
        before = contents(self.client)
        may_lead = not self.client.exists(Keys.BEAT_LEADER) or self.leads(beat)
        look = beat.leader.look()
        beat.look = look = replace(look, now=self.now)
        assert look.leads == may_lead
        if not look.leads:
            assert contents(self.client) == before
            assert look.other is not None
            beat.due, beat.start = [], None
            return
        beat.looked_at = look.marks.get(ENTRY, "")
        mark = Mark.parse(beat.looked_at) if beat.looked_at else None
        todo = plan(SLOTS, mark, look.now, self.policy)
        beat.due, beat.start = list(todo.fire), todo.mark

    def busy(self) -> list[Beat]:
        """Beats that have found something to do."""
        return [beat for beat in self.beats if beat.due or beat.start]

    @precondition(lambda self: self.busy())
    @rule(number=st.integers(0, BEATS - 1))
    def act(self, number: int) -> None:
        """A beat does the next thing it found to do; its look may be old: it may have frozen."""
        busy = self.busy()
        self.act_once(busy[number % len(busy)])

    def act_once(self, beat: Beat) -> None:
        before, led = contents(self.client), self.leads(beat)
        try:
            status = self.publish(beat) if beat.due else self.settle(beat)
        except redis.ResponseError:
            assert self.is_full
            status = "refused"
        if status == "fired":
            assert led
        else:
            assert contents(self.client) == before
            assert status != "moved" or led
            beat.due, beat.start = [], None

    def publish(self, beat: Beat) -> str:
        assert beat.look is not None
        slot = beat.due.pop(0)
        new, task_id = Mark(slot, SLOTS.identity), slot_id(ENTRY, slot)
        message = PreparedMessage(QUEUE, task_id, task_id, "tests.slot", QUEUE)
        fired = beat.leader.fire(
            *(ENTRY, beat.looked_at, new, message),
            published_at=beat.look.now,
            expires_seconds=RUN_EXPIRES_SECONDS,
        )
        beat.looked_at = str(new)
        if fired.status == "fired":
            run = Keys.issued_task(task_id)
            assert self.history()[-1] == task_id, "marked and not published"
            assert self.client.hget(run, "name") == b"tests.slot"
            assert 0 < self.client.ttl(run) <= RUN_EXPIRES_SECONDS
        return fired.status

    def settle(self, beat: Beat) -> str:
        assert beat.start is not None
        start, beat.start = beat.start, None
        return beat.leader.set_mark(ENTRY, beat.looked_at, start)

    @rule(number=st.integers(0, BEATS - 1))
    def resign(self, number: int) -> None:
        """A beat stops cleanly; a new process follows. Another's lead is not touched."""
        beat = self.beats[number]
        before, led = contents(self.client), self.leads(beat)
        beat.leader.resign(self.client)
        assert not self.leads(beat)
        assert led or contents(self.client) == before
        self.beats[number] = self.new_beat()

    @rule(number=st.integers(0, BEATS - 1))
    def crash(self, number: int) -> None:
        """A beat dies in the middle of anything; a new process follows, the lease stays."""
        self.beats[number] = self.new_beat()

    # What happens to Redis.

    @rule()
    def lease_ends(self) -> None:
        """Its holder was away for too long."""
        self.client.delete(Keys.BEAT_LEADER)

    @rule(seconds=st.integers(1, 300))
    def time_passes(self, seconds: int) -> None:
        """Up to a handful of slots."""
        self.now += timedelta(seconds=seconds)

    @rule(seconds=st.integers(-3600, 3600))
    def clock_is_set(self, seconds: int) -> None:
        """Redis' clock jumps, back or forward, over many slots."""
        self.now += timedelta(seconds=seconds)

    @rule()
    def memory_is_full_or_free(self) -> None:
        """At the limit nothing is published, and nothing is half published."""
        self.is_full = not self.is_full
        self.client.config_set("maxmemory", "1" if self.is_full else "0")

    @rule()
    def replicate(self) -> None:
        """The replica has all up to here."""
        self.replica = contents(self.client)

    @precondition(lambda self: not self.is_full)
    @rule()
    def fail_over(self) -> None:
        """The primary is lost with all that came after the last replication."""
        restore(self.client, self.replica)

    # What always holds.

    @invariant()
    def no_slot_fires_twice(self) -> None:
        """On the history that Redis has."""
        history = self.history()
        assert len(history) == len(set(history))

    @invariant()
    def the_mark_is_the_last_slot(self) -> None:
        """Message, note and mark come in one step."""
        history, mark = self.history(), self.mark()
        if history:
            assert mark is not None
            assert self.client.exists(*map(Keys.issued_task, history)) == len(history)
            # With `skip` the mark may have gone on without a message.
            if self.policy != "skip":
                assert history[-1] == slot_id(ENTRY, mark.slot)

    @invariant()
    def slots_fire_in_order_and_all_of_them(self) -> None:
        """Later slots later; with the policy `all` without a gap."""
        history = self.history()
        if not history or (mark := self.mark()) is None:
            return
        # From the newest slot back, as far as any clock has been.
        reach = (mark.slot - EPOCH) // PERIOD
        ids = {slot_id(ENTRY, EPOCH + (reach - n) * PERIOD): -n for n in range(2000)}
        numbers = [ids[task_id] for task_id in history]
        assert numbers == sorted(numbers)
        if self.policy == "all":
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    def teardown(self) -> None:
        """With one beat that is left alone, every slot up to now is settled."""
        if not hasattr(self, "beats"):
            return
        self.client.config_set("maxmemory", "0")
        self.is_full = False
        self.client.delete(Keys.BEAT_LEADER)
        self.look(0)
        self.run_to_the_end()
        self.time_passes(300)
        self.look(0)
        self.run_to_the_end()
        self.no_slot_fires_twice()
        self.the_mark_is_the_last_slot()
        self.slots_fire_in_order_and_all_of_them()
        mark, look = self.mark(), self.beats[0].look
        assert mark is not None
        assert look is not None
        assert SLOTS.following(mark.slot) > look.now

    def run_to_the_end(self) -> None:
        while self.beats[0].due or self.beats[0].start:
            self.act_once(self.beats[0])


def catching_up(client: redis.Redis) -> tuple[Leader, Mark, PreparedMessage, PreparedMessage]:
    """A leader, a mark, and messages of the two slots that follow it."""
    client.config_set("maxmemory", "0")
    leader, mark = Leader(client, LONG_LEASE_SECONDS), Mark(START, SLOTS.identity)
    assert leader.look().leads
    assert leader.set_mark(ENTRY, "", mark) == "fired"
    one, two = (PreparedMessage(QUEUE, i, i, "tests.slot", QUEUE) for i in ("1", "2"))
    return leader, mark, one, two


def fire(leader: Leader, looked_at: Mark, slot: Mark, message: PreparedMessage) -> str:
    fired = leader.fire(
        *(ENTRY, str(looked_at), slot, message), published_at=START, expires_seconds=60
    )
    return fired.status


def test_a_failover_that_lost_a_slot_lets_no_later_one_fire(client: redis.Redis) -> None:
    """The leader goes on with the next slot on a primary that has never seen the last one."""
    leader, mark, one, two = catching_up(client)
    first, second = (Mark(START + n * PERIOD, SLOTS.identity) for n in (1, 2))
    replica = contents(client)
    assert fire(leader, mark, first, one) == "fired"
    restore(client, replica)
    assert fire(leader, first, second, two) == "moved"
    assert contents(client) == replica
    assert fire(leader, mark, first, one) == "fired"
    assert fire(leader, first, second, two) == "fired"


@pytest.mark.parametrize("back", [timedelta(0), PERIOD])
def test_a_mark_never_goes_back(back: timedelta, client: redis.Redis) -> None:
    """Not even by a leader that knows the mark: a slot that is marked has been published."""
    leader, mark, one, _ = catching_up(client)
    before = contents(client)
    assert fire(leader, mark, Mark(START - back, SLOTS.identity), one) == "moved"
    assert contents(client) == before


@pytest.mark.parametrize("policy", ["all", "latest", "skip"])
def test_slots_fire_once_in_any_order_of_events(policy: CatchUp, client: redis.Redis) -> None:
    """The state machine above, for each policy."""
    machine = type("Machine", (SlotMachine,), {"client": client, "policy": policy})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
