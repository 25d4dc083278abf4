"""Slots: the planned times of a schedule, what became of them, and which are due.

Everything is computed from the entry, its mark and the time that Redis tells, so that every beat
comes to the same result. Nothing here talks to Redis. All times are aware and in UTC.
"""

import copy
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from celery.schedules import BaseSchedule, crontab
from celery.schedules import schedule as interval

from nova.schedule import CatchUp

#: A slot's id is made of this, its entry and its planned time. Never change it.
SLOT_NAMESPACE = uuid.UUID("5f3c1d0e-8a52-4d43-9f0b-6d0c2a7be914")
#: With `skip`, a slot found so late still counts as in time: longer than a takeover takes.
GRACE = timedelta(seconds=15)
#: With `all`, the most slots that are caught up.
CATCH_UP_LIMIT = 1000
#: Clocks of schedules that have one may repeat an hour.
CLOCK_CHANGE = timedelta(hours=1)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def slot_id(entry: str, slot: datetime) -> str:
    """Return the id of the task that a slot publishes: the same whoever computes it."""
    return str(uuid.uuid5(SLOT_NAMESPACE, f"{entry} {_iso(slot)}"))


class Slots:
    """The planned times of one schedule.

    An interval's slots are the multiples of the interval since 1970, whenever beat started. All
    other schedules are asked as Celery asks them.

    Raises:
        ValueError: the schedule's slots cannot be told from the clock alone.
    """

    def __init__(self, schedule: BaseSchedule) -> None:
        self.identity = _identity(schedule)
        self._after = EPOCH
        # A copy: its clock is stopped where the next slot is looked for.
        self._schedule = copy.copy(schedule)
        self._schedule.app = schedule.app
        self._schedule.nowfun = lambda: self._after

    def following(self, after: datetime) -> datetime:
        """Return the first slot after a time."""
        if isinstance(self._schedule, interval):
            every: timedelta = self._schedule.run_every
            return EPOCH + ((after - EPOCH) // every + 1) * every
        self._after = after
        slot: datetime = after + self._schedule.remaining_estimate(after)
        return slot if slot > after else self.following(after + CLOCK_CHANGE)

    def between(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """Return the newest `limit` slots in (after, until], oldest first."""
        span = timedelta(minutes=limit)
        if isinstance(self._schedule, interval):
            span = self._schedule.run_every * limit
        # Backwards in growing steps: what lies years back is not walked through minute by minute.
        while True:
            start = max(after, until - span)
            found: deque[datetime] = deque(maxlen=limit)
            slot = self.following(start)
            while slot <= until:
                found.append(slot)
                slot = self.following(slot)
            if len(found) == limit or start == after:
                return list(found)
            span *= 8


def next_slot(schedule: BaseSchedule, after: datetime) -> datetime:
    """Return the first planned time of a schedule after `after`."""
    return Slots(schedule).following(after)


def _identity(schedule: BaseSchedule) -> str:
    """Describe a schedule, the same way in every process."""
    if isinstance(schedule, interval):
        if schedule.run_every <= timedelta(0):
            raise ValueError("its interval must be longer than 0 s")
        return f"every {schedule.run_every.total_seconds()} s"
    if not any("__reduce__" in vars(kind) for kind in type(schedule).__mro__[:-1]):
        raise ValueError(f"its schedule, {type(schedule).__name__}, must define __reduce__")
    fields = schedule.__reduce__()[1]
    if isinstance(schedule, crontab):
        minute, hour, day_of_week, day_of_month, month = fields
        cron = f"cron {minute} {hour} {day_of_month} {month} {day_of_week}"
        zone = str(schedule.tz)
        return cron if zone == "UTC" else f"{cron} {zone}"
    return f"{type(schedule).__name__} {' '.join(map(str, fields))}"


@dataclass(frozen=True)
class Mark:
    """The last slot of an entry that is settled, and the schedule that it belongs to."""

    slot: datetime
    identity: str

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read what `str` wrote.

        Raises:
            ValueError: it is something else.
        """
        slot, _, identity = text.partition(" ")
        try:
            return cls(datetime.fromisoformat(slot).astimezone(UTC), identity)
        except ValueError:
            raise ValueError(f"its mark is no time: {text[:60]!r}") from None

    def __str__(self) -> str:
        """Of one length up to the first space: fire.lua compares the times as texts."""
        return f"{_iso(self.slot)} {self.identity}"


@dataclass(frozen=True)
class Plan:
    """What is to be done for one entry now."""

    #: Slots to publish, oldest first.
    fire: tuple[datetime, ...] = ()
    #: The mark to set when nothing is published.
    mark: Mark | None = None
    #: The oldest slot that is passed over, and why.
    passed_over: datetime | None = None
    reason: str = ""
    #: How many slots are passed over; no more than 1,000 are counted.
    missed: int = 0
    #: How far the mark lies ahead of the clock.
    ahead: timedelta = timedelta(0)


def plan(slots: Slots, mark: Mark | None, now: datetime, policy: CatchUp) -> Plan:
    """Decide what to do for an entry, given its mark and the time of Redis."""
    if mark is None:
        return Plan(mark=Mark(now, slots.identity), reason="new")
    if mark.identity != slots.identity:
        # Never back: the slots up to the old mark may have been published.
        start = max(now, mark.slot)
        return Plan(mark=Mark(start, slots.identity), reason=f"changed from {mark.identity}")
    if mark.slot > now:
        return Plan(ahead=mark.slot - now)
    first = slots.following(mark.slot)
    if first > now:
        return Plan()
    return _catch_up(slots, mark, now, policy, first)


def _catch_up(slots: Slots, mark: Mark, now: datetime, policy: CatchUp, first: datetime) -> Plan:
    if policy == "all":
        fire = slots.between(mark.slot, now, CATCH_UP_LIMIT)
        reason = f"more than {CATCH_UP_LIMIT:,} were missed"
    elif policy == "latest":
        fire = slots.between(mark.slot, now, 1)
        reason = "only the latest is caught up"
    else:
        fire = [
            slot for slot in slots.between(mark.slot, now, CATCH_UP_LIMIT) if now - slot < GRACE
        ]
        reason = "it is not caught up"
    if fire and fire[0] == first:
        return Plan(fire=tuple(fire))
    settled = None if fire else Mark(now, slots.identity)
    until = fire[0] if fire else now
    passed = slots.between(mark.slot, until, CATCH_UP_LIMIT + 1)
    missed = min(len(passed) - bool(fire), CATCH_UP_LIMIT)
    return Plan(fire=tuple(fire), mark=settled, passed_over=first, reason=reason, missed=missed)


def _iso(moment: datetime) -> str:
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text}Z"
