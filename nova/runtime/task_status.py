"""What became of tasks: one by its id, and those that were published last.

A task is known from the publisher's note about its run and from its result, as long as Redis keeps
both. No worker is asked, and Celery is not needed.
"""

import re
from collections.abc import Iterator
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
        description="Ask for more with this as `after`; null when there is no more. With a filter "
        "a page may be short, or empty, and have a next one all the same."
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

    Looks at no more than SCAN_LIMIT tasks, in a round trip for each BATCH; those that are known
    no more are left out.

    Args:
        client: Redis.
        state: only those in this state.
        queue: only those of this queue.
        name: only those of this name.
        limit: how many to return at most, from 1.
        after: id of the task after which to begin; the newest if None.

    Raises:
        NotFoundError: `after` is not among the tasks that were published last.
        redis.RedisError: Redis does not answer.
    """
    wanted = {"state": state, "queue": queue, "name": name}
    found: list[TaskLine] = []
    looked_at = after
    for task_id, line in _newest(client, _first_rank(client, after)):
        if len(found) == limit:
            return TaskPage(tasks=found, next=looked_at)
        looked_at = task_id
        if line is not None and all(
            value is None or getattr(line, field) == value for field, value in wanted.items()
        ):
            found.append(line)
    return TaskPage(tasks=found, next=_next(client, looked_at))


def _first_rank(client: redis.Redis, after: str | None) -> int:
    if after is None:
        return 0
    rank = client.zrevrank(Keys.RECENT_TASKS, after)
    if rank is None:
        raise NotFoundError(f"task {after} is not among the last ones any more; begin anew")
    return cast(int, rank) + 1


def _next(client: redis.Redis, looked_at: str | None) -> str | None:
    """Return the id after which to go on, None if there is no older one."""
    oldest = cast(list[bytes], client.zrange(Keys.RECENT_TASKS, 0, 0))
    return None if not oldest or oldest[0].decode() == looked_at else looked_at


def _newest(client: redis.Redis, rank: int) -> Iterator[tuple[str, TaskLine | None]]:
    """Read tasks from a rank on, newest first; None for one that is known no more."""
    for start in range(rank, rank + SCAN_LIMIT, BATCH):
        members = client.zrevrange(Keys.RECENT_TASKS, start, start + BATCH - 1)
        ids = [member.decode() for member in cast(list[bytes], members)]
        with client.pipeline(transaction=False) as pipe:
            for task_id in ids:
                pipe.hmget(Keys.issued_task(task_id), NOTE_FIELDS)
                pipe.getrange(Keys.result(task_id), 0, _HEAD_BYTES - 1)
            answers = pipe.execute()
        for number, task_id in enumerate(ids):
            yield task_id, _line(task_id, *answers[2 * number : 2 * number + 2])
        if len(ids) < BATCH:
            return


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
