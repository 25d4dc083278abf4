"""Which beat leads, and what only the leader may do.

The lead is a lease in Redis with a token. Every change compares the token in the same script, so a
leader that froze and wakes late changes nothing.

Where the API's loops run the schedule (`nova/legacy`), they lead in the place of beat: the lease
and the marks are the same, so that never both run a slot.
"""

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

import redis

import nova
from nova.runtime.issued import RECENT_TASKS_KEPT
from nova.runtime.messages import PreparedMessage
from nova.runtime.scripts import load, run_confirmed
from nova.runtime.slots import EPOCH, Mark
from nova.settings import SchedulerMode
from nova.store import Keys

#: A leader that is gone is replaced within its lease and one look of the others.
LEASE_SECONDS = 6.0
LOOK_SECONDS = 1.0
#: How long replicas may take to confirm a slot.
WAIT_SECONDS = 1.0

FireStatus = Literal["fired", "not leader", "moved"]


@dataclass(frozen=True)
class Place:
    """Where a lead is kept, by the names of its keys: the lease, the marks and what was done."""

    leader: str
    slots: str
    state: str

    @property
    def keys(self) -> list[str]:
        """The three, in the order in which the scripts take them."""
        return [self.leader, self.slots, self.state]


#: Who leads here runs the schedule.
SCHEDULE_PLACE = Place(Keys.BEAT_LEADER, Keys.BEAT_SLOTS, Keys.BEAT_STATE)
#: Who leads here repeats what beat does, and only reports.
LEGACY_PLACE = Place(Keys.LEGACY_LEADER, Keys.LEGACY_SLOTS, Keys.LEGACY_STATE)


@dataclass(frozen=True)
class LeaderInfo:
    """The beat that leads, or the API process whose loops do."""

    host: str
    pid: int
    release: str


@dataclass(frozen=True)
class Look:
    """What one look at Redis showed."""

    leads: bool
    #: The time of Redis.
    now: datetime
    #: The mark of each entry, as it stands in Redis; none for who does not lead.
    marks: dict[str, str]
    #: Who leads, if it is another.
    other: LeaderInfo | None = None


@dataclass(frozen=True)
class Fired:
    """What became of a slot."""

    status: FireStatus
    #: Replicas that have the slot; 0 when none were waited for.
    replicas: int = 0


class Leader:
    """One process that leads or would lead."""

    def __init__(
        self,
        client: redis.Redis,
        lease_seconds: float = LEASE_SECONDS,
        *,
        place: Place = SCHEDULE_PLACE,
        mode: SchedulerMode = "celery",
    ) -> None:
        self._client = client
        self._place = place
        self._mode = mode
        self._lease_ms = round(lease_seconds * 1000)
        self._lead = load(client, "lead")
        self._fire = load(client, "fire")
        self._take = load(client, "take")
        self.leads = False
        #: The token, with what people want to know about its holder.
        self.value = json.dumps(
            {
                "token": uuid.uuid4().hex,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "release": nova.__release__,
            }
        )

    def look(self) -> Look:
        """Lead, or go on leading, if nobody else does; who does not lead changes nothing.

        Raises:
            redis.RedisError: Redis is away, or refused.
        """
        leads, seconds, microseconds, marks, *other = self._lead(
            keys=self._place.keys, args=[self.value, self._lease_ms, self._mode]
        )
        self.leads = bool(leads)
        now = EPOCH + timedelta(seconds=int(seconds), microseconds=int(microseconds))
        found = {
            entry.decode(): mark.decode()
            for entry, mark in zip(marks[::2], marks[1::2], strict=True)
        }
        return Look(self.leads, now, found, parse_leader(other[0]) if other else None)

    def set_mark(self, entry: str, looked_at: str, mark: Mark, missed: int = 0) -> FireStatus:
        """Settle an entry up to a time without publishing anything; `missed` slots lie before it.

        Raises:
            redis.RedisError: Redis is away, or refused.
        """
        answer = self._fire(
            keys=self._place.keys,
            args=[self.value, self._lease_ms, entry, looked_at, str(mark), missed],
        )
        return _status(answer)

    def fire(
        self,
        entry: str,
        looked_at: str,
        mark: Mark,
        message: PreparedMessage,
        *,
        published_at: datetime,
        expires_seconds: int,
        replicas: int = 0,
        missed: int = 0,
    ) -> Fired:
        """Publish a slot and mark it, in one step, if `looked_at` is still the entry's mark.

        Counts with it the `missed` slots before it, which are not published.

        Waits until so many replicas have both. With fewer, message and mark are still there; if the
        primary is then lost, they are lost together, and the next leader finds the slot by the
        older mark.

        Raises:
            redis.RedisError: Redis is away, or refused. Without an answer it may have fired; the
                mark tells.
        """
        keys = [
            *self._place.keys,
            Keys.issued_task(message.task_id),
            message.list_key,
            Keys.RECENT_TASKS,
        ]
        arguments: list[str | int] = [
            *(self.value, self._lease_ms, entry, looked_at, str(mark), missed),
            *(message.payload, message.name, message.queue, published_at.isoformat()),
            *(expires_seconds, message.task_id, RECENT_TASKS_KEPT),
        ]
        if not replicas:
            return Fired(_status(self._fire(keys=keys, args=arguments)))
        answer, confirmed = run_confirmed(
            self._client,
            self._fire,
            keys=keys,
            args=arguments,
            replicas=replicas,
            seconds=WAIT_SECONDS,
        )
        return Fired(_status(answer), confirmed)

    def take(
        self,
        entry: str,
        looked_at: str,
        mark: Mark,
        run_id: str,
        note: Mapping[str, str],
        *,
        expires_seconds: int,
        missed: int = 0,
    ) -> FireStatus:
        """Mark a slot that a loop of the API is about to run, in the step that notes its run.

        Nothing is published. Whoever restarts does not run the slot again.

        Raises:
            redis.RedisError: Redis is away, or refused.
        """
        words = [word for pair in note.items() for word in pair]
        answer = self._take(
            keys=[*self._place.keys, Keys.legacy_run(run_id)],
            args=[
                self.value,
                self._lease_ms,
                entry,
                looked_at,
                str(mark),
                missed,
                expires_seconds,
                *words,
            ],
        )
        return _status(answer)

    def resign(self, client: redis.Redis) -> None:
        """Give up the lead, through a client of the caller's.

        Raises:
            redis.RedisError: Redis is away, or refused; the lease runs out by itself.
        """
        load(client, "resign")(keys=[self._place.leader], args=[self.value])


def read_leader(client: redis.Redis, place: Place = SCHEDULE_PLACE) -> LeaderInfo | None:
    """Return which beat leads, or None if none does.

    Raises:
        redis.RedisError: Redis is away, or refused.
    """
    value = cast(bytes | None, client.get(place.leader))
    return None if value is None else parse_leader(value)


def read_marks(client: redis.Redis) -> dict[str, datetime]:
    """Return up to when each entry is settled: mostly its last slot.

    Raises:
        redis.RedisError: Redis is away, or refused.
        ValueError: a mark is no time.
    """
    marks = cast(dict[bytes, bytes], client.hgetall(Keys.BEAT_SLOTS))
    return {entry.decode(): Mark.parse(mark.decode()).slot for entry, mark in marks.items()}


def parse_leader(value: bytes) -> LeaderInfo:
    """Read what a leader says about itself; `unknown` if it says nothing."""
    try:
        fields: dict[str, Any] = json.loads(value)
        return LeaderInfo(fields["host"], fields["pid"], fields["release"])
    except (ValueError, KeyError, TypeError):  # of a release that writes something else
        return LeaderInfo("unknown", 0, "unknown")


def _status(answer: Any) -> FireStatus:
    return cast(FireStatus, answer.decode())
