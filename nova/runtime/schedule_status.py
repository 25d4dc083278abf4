"""What became of the schedule: who leads, and the last and the next slot of each entry."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis
from pydantic import BaseModel, Field

from nova.runtime.leader import LeaderInfo, parse_leader
from nova.runtime.slots import EPOCH, Mark, Slots, slot_id
from nova.schedule import SCHEDULE, CatchUp, ScheduleEntry
from nova.store import Keys


class EntryStatus(BaseModel):
    """One entry of the beat table, and what became of its slots."""

    name: str
    task: str
    queue: str
    cron: str
    catch_up: CatchUp
    last_slot: datetime | None = Field(
        default=None, description="Planned time of the last slot that was published."
    )
    last_published_at: datetime | None = None
    last_task_id: str | None = Field(default=None, description="The task that it published.")
    lateness_seconds: float | None = Field(
        default=None, description="How late the last slot was published."
    )
    next_slot: datetime = Field(
        description="Planned time of the next slot; in the past if it is overdue."
    )
    overdue_seconds: float = Field(
        description="For how long the next slot is due and not published; 0 before its time."
    )
    missed_slots: int = Field(description="Slots that were passed over by the policy, ever.")


class ScheduleStatus(BaseModel):
    """The schedule, at the time `at` of Redis."""

    at: datetime
    leader: LeaderInfo | None = Field(description="The beat that leads; none if no beat runs.")
    last_tick: datetime | None = Field(description="When a leader looked last what is due.")
    entries: list[EntryStatus]


@dataclass(frozen=True)
class _Notes:
    """What beat left in Redis."""

    now: datetime
    marks: dict[str, str]
    state: dict[str, str]


def read_schedule(client: redis.Redis) -> ScheduleStatus:
    """Return the state of the schedule; one round trip to Redis.

    With `NOVA_STOCK_PARTS=scheduler` nothing is known: Celery's own scheduler leaves no notes.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.get(Keys.BEAT_LEADER)
        pipe.hgetall(Keys.BEAT_SLOTS)
        pipe.hgetall(Keys.BEAT_STATE)
        (seconds, microseconds), leader, marks, state = pipe.execute()
    now = EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
    notes = _Notes(now, _decoded(marks), _decoded(state))
    tick = notes.state.get("tick")
    return ScheduleStatus(
        at=now,
        leader=None if leader is None else parse_leader(leader),
        last_tick=None if tick is None else datetime.fromtimestamp(int(tick), UTC),
        entries=[_status(entry, notes) for entry in SCHEDULE],
    )


def _status(entry: ScheduleEntry, notes: _Notes) -> EntryStatus:
    slots = Slots(entry.schedule)
    status = EntryStatus(
        name=entry.name,
        task=entry.task,
        queue=entry.queue,
        cron=entry.cron,
        catch_up=entry.catch_up,
        next_slot=_next_slot(slots, notes.marks.get(entry.name), notes.now),
        overdue_seconds=0,
        missed_slots=int(notes.state.get(f"missed:{entry.name}", 0)),
    )
    status.overdue_seconds = max(0.0, (notes.now - status.next_slot).total_seconds())
    fired = notes.state.get(f"fired:{entry.name}")
    if fired is not None:
        slot, _, published_at = fired.partition(" ")
        status.last_slot = datetime.fromisoformat(slot)
        status.last_published_at = datetime.fromtimestamp(float(published_at), UTC)
        status.last_task_id = slot_id(entry.name, status.last_slot)
        late = (status.last_published_at - status.last_slot).total_seconds()
        status.lateness_seconds = max(0.0, late)
    return status


def _next_slot(slots: Slots, mark: str | None, now: datetime) -> datetime:
    """Return the first slot that is not settled. What is new or changed starts now."""
    if mark is None:
        return slots.following(now)
    try:
        settled = Mark.parse(mark)
    except ValueError:  # somebody else's; beat complains about it
        return slots.following(now)
    return slots.following(settled.slot if settled.identity == slots.identity else now)


def _decoded(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}
