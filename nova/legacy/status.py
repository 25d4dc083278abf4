"""How the migration stands: slot by slot what each scheduler did, and whether it is safe to go on.

What beat's tasks did is read from what Redis remembers of their runs, what the loops did from their
own notes. Both are kept for a week.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import cast

import redis
from pydantic import BaseModel, Field

from nova.domains import DOMAINS, Domain
from nova.errors import NotFoundError
from nova.legacy.runs import KEPT, run_id
from nova.reports import BaseReport
from nova.runtime.fleet import read_fleet
from nova.runtime.leader import (
    LEGACY_PLACE,
    SCHEDULE_PLACE,
    LeaderInfo,
    Place,
    read_leader,
)
from nova.runtime.slots import EPOCH, Slots, slot_id
from nova.runtime.task_status import find_task
from nova.schedule import SCHEDULE, ScheduleEntry
from nova.settings import SchedulerMode, Settings
from nova.store import Keys

#: Slots are looked at for so long at most, which is how long runs are remembered.
LONGEST = KEPT
#: A run that begins later after its slot is late.
LATE = timedelta(minutes=1)
#: Slots of an entry that are looked at: the newest.
SLOTS_LIMIT = 1000
#: Domains whose headlines are not compared: what one run removed, the other does not find.
NOT_COMPARED = frozenset({"maintenance"})
NEXT_PHASE: dict[SchedulerMode, int] = {"legacy": 1, "parallel": 2, "celery": 3}


class State(StrEnum):
    """What became of one slot with one scheduler."""

    RAN = "ran"
    FAILED = "failed"
    RUNNING = "running"
    #: Due, and not begun yet.
    WAITING = "waiting"
    #: Nobody began it.
    MISSED = "missed"
    #: It began, and its process went away.
    LOST = "lost"


class OriginRun(BaseModel):
    """What one scheduler did with a slot."""

    run_id: str
    state: State
    began: datetime | None = None
    ended: datetime | None = None
    late_seconds: float | None = Field(
        default=None, description="How long after its time it began."
    )
    is_late: bool = False
    headline: str | None = Field(default=None, description="Of its report; null without one.")
    error: str | None = None


class SlotStatus(BaseModel):
    """One slot, and what each scheduler did with it; null for one that does not run it."""

    entry: str
    slot: datetime
    legacy: OriginRun | None = None
    celery: OriginRun | None = None
    differs: bool | None = Field(
        default=None,
        description="Whether the headlines of both reports differ; null where they are not "
        "compared: not both ran, or one removed what the other would find.",
    )


class MigrationStatus(BaseModel):
    """How the migration stands, at the time `at` of Redis."""

    at: datetime
    mode: SchedulerMode | None = Field(
        default=None,
        description="Who runs the schedule, by the scheduler that leads; null before any has led.",
    )
    since: datetime | None = None
    leader: LeaderInfo | None = Field(default=None, description="Who runs the schedule now.")
    legacy_leader: LeaderInfo | None = Field(
        default=None, description="The API whose loops report beside beat now."
    )
    slots: list[SlotStatus] = Field(default=[], description="Newest first.")
    next_phase: int | None = Field(default=None, description="The phase that would come next.")
    is_safe: bool = Field(
        default=False, description="Whether it is safe to go on to the next phase."
    )
    reasons: list[str] = Field(default=[], description="Why it is not.")
    remarks: list[str] = Field(
        default=[], description="What is worth a look, and stands in nobody's way."
    )


@dataclass(frozen=True)
class _Facts:
    """What stands in Redis."""

    client: redis.Redis
    settings: Settings
    entries: Sequence[ScheduleEntry]
    now: datetime
    mode: SchedulerMode
    since: datetime
    #: Token of whoever runs the loops.
    loops: str


@dataclass(frozen=True)
class _Leaders:
    schedule: LeaderInfo | None
    legacy: LeaderInfo | None


def read_status(
    client: redis.Redis,
    settings: Settings,
    *,
    hours: float = 48,
    min_hours: float = 24,
    entries: Sequence[ScheduleEntry] = SCHEDULE,
) -> MigrationStatus:
    """Return how the migration stands.

    Args:
        client: Redis.
        settings: of this host; they should name the mode in which the fleet is.
        hours: how far back to look, no further than the last change of the mode.
        min_hours: for how long the mode must have lasted until it is safe to go on.
        entries: the beat table.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    seconds, microseconds = client.time()
    now = EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
    state = client.hmget(Keys.BEAT_STATE, ["mode", "mode_since"])
    mode_text, since_text = cast("list[bytes | None]", state)
    if mode_text is None or since_text is None:
        reason = "no scheduler has led yet: is celery-beat running, or with legacy the API?"
        return MigrationStatus(at=now, reasons=[reason])
    mode = cast(SchedulerMode, mode_text.decode())
    since = datetime.fromtimestamp(int(since_text), UTC)
    place = LEGACY_PLACE if mode == "parallel" else SCHEDULE_PLACE
    facts = _Facts(client, settings, entries, now, mode, since, _token(client, place))
    start = max(since, now - timedelta(hours=hours), now - LONGEST)
    slots = [row for entry in entries for row in _slots_of(entry, facts, start)]
    slots.sort(key=lambda row: (row.slot, row.entry), reverse=True)
    leaders = _Leaders(read_leader(client), read_leader(client, LEGACY_PLACE))
    reasons = [*_fleet_reasons(facts, leaders), *_time_reasons(facts, min_hours)]
    reasons += _slot_reasons(slots)
    return MigrationStatus(
        at=now,
        mode=mode,
        since=since,
        leader=leaders.schedule,
        legacy_leader=leaders.legacy,
        slots=slots,
        next_phase=NEXT_PHASE[mode],
        is_safe=not reasons,
        reasons=reasons,
        remarks=list(_remarks(slots, facts, leaders)),
    )


def find_report(client: redis.Redis, report_id: str) -> tuple[Domain, BaseReport]:
    """Return the report of a run that only reported, and its domain.

    Raises:
        NotFoundError: there is none of this id, or not any more.
    """
    for name, domain in DOMAINS.items():
        report = _own_report(client, name, report_id)
        if report is not None:
            return domain, report
    raise NotFoundError(
        f"there is no report {report_id} of the loops beside beat, or not any more; "
        "see: nova migration status --json"
    )


def _token(client: redis.Redis, place: Place) -> str:
    value = cast("bytes | None", client.get(place.leader))
    return "" if value is None else value.decode()


# --- Slots


def _slots_of(entry: ScheduleEntry, facts: _Facts, start: datetime) -> Iterator[SlotStatus]:
    for slot in Slots(entry.schedule).between(start, facts.now, SLOTS_LIMIT):
        row = SlotStatus(entry=entry.name, slot=slot)
        if facts.mode != "legacy":
            row.celery = _celery_run(entry, slot, facts)
        if facts.mode != "celery":
            row.legacy = _legacy_run(entry, slot, facts)
        row.differs = _differs(entry, row)
        yield row


def _differs(entry: ScheduleEntry, row: SlotStatus) -> bool | None:
    if row.legacy is None or row.celery is None or entry.queue in NOT_COMPARED:
        return None
    if not row.legacy.state == row.celery.state == State.RAN:
        return None
    return row.legacy.headline != row.celery.headline


def _celery_run(entry: ScheduleEntry, slot: datetime, facts: _Facts) -> OriginRun:
    task_id = slot_id(entry.name, slot)
    fields = _fields(facts.client, Keys.issued_task(task_id))
    run = OriginRun(run_id=task_id, state=_celery_state(fields, task_id, slot, facts))
    run.error = fields.get("error")
    if run.state is State.FAILED and run.error is None:
        run.error = "it was killed, perhaps at its time limit"
    if run.state is State.RAN:
        run.headline = _headline(entry, lambda domain: domain.store.find(facts.client, task_id))
    return _timed(run, fields, slot, facts.now)


def _celery_state(fields: dict[str, str], task_id: str, slot: datetime, facts: _Facts) -> State:
    if "name" not in fields:  # nobody published it
        return State.MISSED if facts.now - slot > LATE else State.WAITING
    if "status" in fields:
        return State.RAN if fields["status"] == "SUCCESS" else State.FAILED
    if "done" in fields:
        has_committed = fields["done"].endswith("committed")
        return State.RAN if has_committed or _succeeded(facts, task_id) else State.FAILED
    has_begun = "holder" in fields and int(fields.get("starts", 0)) > 0
    return State.RUNNING if has_begun else State.WAITING


def _succeeded(facts: _Facts, task_id: str) -> bool:
    """Whether a run succeeded whose end is not noted: Redis was away at that moment."""
    try:
        found = find_task(facts.client, task_id, facts.settings.result_expires_hours)
    except NotFoundError:
        return False
    return found.state == "SUCCESS"


def _legacy_run(entry: ScheduleEntry, slot: datetime, facts: _Facts) -> OriginRun:
    reports_only = facts.mode == "parallel"
    own_id = run_id(entry.name, slot, reports_only=reports_only)
    fields = _fields(facts.client, Keys.legacy_run(own_id))
    if not fields:
        state = State.MISSED if facts.now - slot > LATE else State.WAITING
    elif "status" in fields:
        state = State.RAN if fields["status"] == "SUCCESS" else State.FAILED
    else:
        state = State.RUNNING if fields.get("leader") == facts.loops else State.LOST
    run = OriginRun(run_id=own_id, state=state, error=fields.get("error"))
    if state is State.RAN:
        run.headline = _headline(
            entry,
            lambda domain: (
                _own_report(facts.client, domain.name, own_id)
                if reports_only
                else domain.store.find(facts.client, own_id)
            ),
        )
    return _timed(run, fields, slot, facts.now)


def _own_report(client: redis.Redis, domain: str, report_id: str) -> BaseReport | None:
    stored = cast("bytes | None", client.get(Keys.legacy_report(domain, report_id)))
    return None if stored is None else DOMAINS[domain].store.model.model_validate_json(stored)


def _headline(entry: ScheduleEntry, find: Callable[[Domain], BaseReport | None]) -> str | None:
    domain = next((domain for domain in DOMAINS.values() if domain.task == entry.task), None)
    report = None if domain is None else find(domain)
    return None if report is None else report.headline


def _timed(run: OriginRun, fields: dict[str, str], slot: datetime, now: datetime) -> OriginRun:
    for name in ("began", "ended"):
        if name in fields:
            setattr(run, name, datetime.fromtimestamp(float(fields[name]), UTC))
    begun = run.began or (now if run.state is State.WAITING else None)
    if begun is not None:
        run.late_seconds = max(0.0, (begun - slot).total_seconds())
        run.is_late = run.late_seconds > LATE.total_seconds()
    return run


def _fields(client: redis.Redis, key: str) -> dict[str, str]:
    found = cast("dict[bytes, bytes]", client.hgetall(key))
    return {name.decode(): value.decode(errors="replace") for name, value in found.items()}


# --- Judgement


def _fleet_reasons(facts: _Facts, leaders: _Leaders) -> Iterator[str]:
    if "scheduler" in facts.settings.stock_parts:
        yield "NOVA_STOCK_PARTS has scheduler: Celery's own leaves no notes to judge by"
    if facts.settings.scheduler != facts.mode:
        yield (
            f"NOVA_SCHEDULER is {facts.settings.scheduler} on this host, and the fleet runs "
            f"{facts.mode}: restart what runs with the old setting, or mend the setting"
        )
    if leaders.schedule is None:
        who = "the API" if facts.mode == "legacy" else "celery-beat"
        yield f"nobody runs the schedule now: is {who} running?"
    if facts.mode == "parallel" and leaders.legacy is None:
        yield "no loops run beside beat now: is the API running?"
    fleet = read_fleet(facts.client)
    for queue in sorted({entry.queue for entry in facts.entries}):
        if not fleet.workers_of(queue):
            yield f"no worker takes the tasks of {queue}: see nova status"


def _time_reasons(facts: _Facts, min_hours: float) -> Iterator[str]:
    lasted = (facts.now - facts.since).total_seconds() / 3600
    if facts.mode != "legacy" and lasted < min_hours:
        yield f"{facts.mode} for {lasted:.1f} hours only; {min_hours:g} are wanted"


def _slot_reasons(slots: list[SlotStatus]) -> Iterator[str]:
    for row in slots:
        run = row.celery
        if run is None:
            continue
        waits = run.state is State.WAITING and run.is_late
        if waits or run.state in {State.MISSED, State.FAILED, State.LOST}:
            why = f": {run.error}" if run.error else ""
            yield f"celery {run.state} {row.entry} of {row.slot:%Y-%m-%d %H:%M}{why}"


def _remarks(slots: list[SlotStatus], facts: _Facts, leaders: _Leaders) -> Iterator[str]:
    seen = {row.entry for row in slots}
    for entry in facts.entries:
        if entry.name not in seen:
            yield f"{entry.name} had no slot in this time"
    late = sum(1 for row in slots if row.celery and row.celery.is_late)
    if late:
        yield f"celery began {late} of {len(slots)} slots more than {LATE.seconds} s late"
    bad = {State.MISSED, State.FAILED, State.LOST}
    count = sum(1 for row in slots if row.legacy and row.legacy.state in bad)
    if count:
        yield f"the loops missed, failed or lost {count} of {len(slots)} slots"
    differing = sum(1 for row in slots if row.differs)
    if differing:
        yield (
            f"{differing} slots have another headline: compare nova report show ID with "
            "nova migration report ID"
        )
    if facts.mode == "celery" and leaders.legacy is not None:
        yield "an API still runs loops beside beat: restart it"
