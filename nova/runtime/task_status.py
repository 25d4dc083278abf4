"""What became of tasks: one by its id, and those that were published last.

A task is known from the publisher's note about its run and from its result, as long as Redis keeps
both. No worker is asked, and Celery is not needed.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import redis
from kombu.utils.json import loads
from pydantic import BaseModel, Field

from nova.errors import NotFoundError
from nova.runtime.issued import NOTE_FIELDS, IssuedTask, TaskState, find_issued, parse_note
from nova.store import Keys

#: Nothing follows these.
READY_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})

#: Tasks that are read from Redis in one round trip, and in one call at most: 20 ms.
BATCH = 200
SCAN_LIMIT = 1000
#: A stored result begins with its state. The rest may be long, and lists do not need it.
_HEAD_BYTES = 64
_HEAD_STATE = re.compile(rb'\s*{\s*"status":\s*"(\w+)"')


class TaskLine(IssuedTask):
    """A task in short."""

    state: str = Field(
        description="PENDING (waits in its queue), STARTED, RETRY, SUCCESS, FAILURE or REVOKED.",
        examples=["SUCCESS"],
    )
    finished_at: datetime | None = Field(default=None, description="When its run ended.")


class TaskStatus(TaskLine):
    """A task: what was published, and what became of it."""

    result: Any = Field(default=None, description="What the task returned, once it succeeded.")
    error: str | None = Field(
        default=None, description="Why it failed, or why it will be tried again."
    )


class TaskPage(BaseModel):
    """Some of the tasks that were published last, newest first."""

    tasks: list[TaskLine]
    next: str | None = Field(
        description="Ask for more with this as `after`; null when there is no more. A page may be "
        "short, or empty, and have a next one all the same.",
        examples=["1763944800123-0"],
    )


# --- One task


def find_task(client: redis.Redis, task_id: str, result_expires_hours: int) -> TaskStatus:
    """Return one task; two round trips to Redis.

    Raises:
        NotFoundError: the id was never issued, or its result is not kept any more.
        redis.RedisError: Redis does not answer.
    """
    issued = find_issued(client, task_id)
    if issued is None:
        raise NotFoundError(f"no task {task_id}: the id was never issued, or long ago")
    outcome = _decode(cast(bytes | None, client.get(Keys.result(task_id))))
    state = _state(issued, outcome.get("status"))
    if state is None:
        raise NotFoundError(
            f"task {task_id} has ended, and its result is kept for "
            f"{result_expires_hours} hours only"
        )
    has_failed = outcome.get("status") in {"RETRY", "FAILURE", "REVOKED"}
    return TaskStatus(
        **_fields(issued),
        state=state,
        finished_at=outcome.get("date_done") if state in READY_STATES else None,
        result=outcome.get("result") if state == "SUCCESS" else None,
        error=_error(outcome.get("result")) if has_failed else None,
    )


def _decode(stored: bytes | None) -> dict[str, Any]:
    """Read what Celery stored about a task. Exceptions stay as they are written down."""
    return {} if stored is None else cast(dict[str, Any], loads(stored))


def _error(result: Any) -> str | None:
    """Return an exception as people write it, from what Celery stored of it."""
    if not isinstance(result, dict) or "exc_type" not in result:
        return None if result is None else str(result)
    message = result.get("exc_message") or ""
    if isinstance(message, list | tuple):
        message = ", ".join(str(part) for part in message)
    return f"{result['exc_type']}: {message}"


# --- Many


def list_tasks(
    client: redis.Redis,
    *,
    state: TaskState | None = None,
    queue: str | None = None,
    name: str | None = None,
    limit: int = 20,
    after: str | None = None,
) -> TaskPage:
    """Return tasks that were published last, newest first, and at most `limit` of them.

    Looks at no more than SCAN_LIMIT tasks, in two round trips for each BATCH; those that are known
    no more are left out.

    Args:
        client: Redis.
        state: only those in this state.
        queue: only those of this queue.
        name: only those of this name.
        limit: how many to return at most, from 1.
        after: where to go on, `next` of a page; the newest if None.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    wanted = {"state": state, "queue": queue, "name": name}
    found: list[TaskLine] = []
    place, looked_at = after, 0
    # With a filter most of what is read may not be wanted.
    batch = BATCH if any(wanted.values()) else min(BATCH, limit)
    while looked_at < SCAN_LIMIT:
        lines = _read(client, place, batch)
        for place, line in lines:
            if line is not None and _matches(line, wanted):
                found.append(line)
            if len(found) == limit:
                return TaskPage(tasks=found, next=_next(client, place))
        if len(lines) < batch:
            return TaskPage(tasks=found, next=None)
        looked_at += batch
    return TaskPage(tasks=found, next=_next(client, place))


def _matches(line: TaskLine, wanted: Mapping[str, str | None]) -> bool:
    return all(value is None or getattr(line, field) == value for field, value in wanted.items())


def _older(client: redis.Redis, place: str | None, count: int) -> list[tuple[str, str]]:
    """Return places and task ids, newest first, from a place on or from the newest."""
    if place is not None and not place.strip("0-"):
        return []  # Redis takes nothing that would be before its first place
    newest = "+" if place is None else f"({place}"
    entries = cast(
        list[tuple[bytes, dict[bytes, bytes]]],
        client.xrevrange(Keys.RECENT_TASKS, max=newest, count=count),
    )
    return [(entry.decode(), fields[b"id"].decode()) for entry, fields in entries]


def _next(client: redis.Redis, place: str | None) -> str | None:
    """Return a place if there is something older, else None."""
    return place if _older(client, place, 1) else None


def _read(client: redis.Redis, place: str | None, count: int) -> list[tuple[str, TaskLine | None]]:
    """Read tasks older than a place, newest first; None for one that is known no more."""
    entries = _older(client, place, count)
    with client.pipeline(transaction=False) as pipe:
        for _, task_id in entries:
            pipe.hmget(Keys.issued_task(task_id), NOTE_FIELDS)
            pipe.getrange(Keys.result(task_id), 0, _HEAD_BYTES - 1)
        answers = pipe.execute()
    return [
        (entry, _line(task_id, note, head))
        for (entry, task_id), note, head in zip(entries, answers[::2], answers[1::2], strict=True)
    ]


def _line(task_id: str, note: list[bytes | None], head: bytes) -> TaskLine | None:
    issued = parse_note(task_id, note)
    if issued is None:
        return None
    match = _HEAD_STATE.match(head)
    state = _state(issued, match[1].decode() if match else None)
    if state is None:
        return None
    return TaskLine(**_fields(issued), state=state, finished_at=_done_at(issued.done))


def _done_at(done: str | None) -> datetime | None:
    """Return when a run was marked as done: the note begins with seconds since 1970."""
    return None if done is None else datetime.fromtimestamp(float(done.partition(" ")[0]), UTC)


def _state(issued: IssuedTask, stored: str | None) -> str | None:
    """Return the state of a task; None if it has ended and nobody knows how any more."""
    if stored in READY_STATES:
        return stored
    if issued.is_done:
        return None
    if issued.worker is not None:
        return "STARTED"
    return stored or "PENDING"


def _fields(issued: IssuedTask) -> dict[str, Any]:
    return {name: getattr(issued, name) for name in IssuedTask.model_fields}
