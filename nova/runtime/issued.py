"""Tells which task ids were ever issued.

Celery's result backend cannot tell an id that waits from one that never was: both are PENDING.
Every publisher of Nova - API, command line, beat, retries - leaves a note in the step in which it
publishes; it stays until a week after the run.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, cast

import redis
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema
from redis.client import Pipeline

from nova.runtime.claims import worker_of_token
from nova.store import Keys

#: At least so many of the tasks that were published last are listed; 0.5 MB in Redis.
RECENT_TASKS_KEPT = 10_000
#: What `parse_note` reads of a run.
NOTE_FIELDS = ("name", "queue", "published_at", "holder", "starts", "done")
#: What became of a task, by Celery's names.
TaskState = Literal["PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED"]


class IssuedTask(BaseModel):
    """What the publisher left about a task."""

    task_id: str = Field(examples=["8c6e2a52-64a5-5b0c-9c37-2f1a0b7d4e11"])
    name: str = Field(examples=["nova.governance.run_governance_task"])
    queue: str = Field(examples=["governance"])
    published_at: datetime
    worker: str | None = Field(default=None, description="The worker that runs it now.")
    #: When and how its run ended, as lua/settle.lua writes it.
    done: SkipJsonSchema[str | None] = Field(default=None, exclude=True)

    @property
    def is_done(self) -> bool:
        """Whether its run has ended."""
        return self.done is not None


def remember(
    client: redis.Redis, task_id: str, name: str, queue: str, expires_seconds: int
) -> None:
    """Leave a note about a task that is about to be published, as lua/publish.lua does.

    Raises:
        redis.RedisError: Redis did not take it.
    """
    key = Keys.issued_task(task_id)
    note = {"name": name, "queue": queue, "published_at": datetime.now(UTC).isoformat()}
    left = client.ttl(key)  # -2: there is no note, -1: the run is held and has no end
    with client.pipeline() as pipe:
        # What a running or finished task left there stays.
        if left == -2:
            pipe.hset(key, mapping=note)  # type: ignore[arg-type]
        if left != -1 and left < expires_seconds:
            pipe.expire(key, expires_seconds)
        if left == -2:
            note_recent(pipe, task_id)
        pipe.execute()


def note_recent(pipe: Pipeline, task_id: str) -> None:
    """Record the commands that list a task among those that were published last, as lua does."""
    pipe.xadd(Keys.RECENT_TASKS, {"id": task_id}, maxlen=RECENT_TASKS_KEPT)


def find_issued(client: redis.Redis, task_id: str) -> IssuedTask | None:
    """Return the note about a task id, or None if the id was never issued or has expired."""
    answer = client.hmget(Keys.issued_task(task_id), NOTE_FIELDS)
    return parse_note(task_id, cast(list[bytes | None], answer))


def parse_note(task_id: str, answer: Sequence[bytes | None]) -> IssuedTask | None:
    """Read the fields NOTE_FIELDS of a run; None if no publisher left a note."""
    *note, holder, starts, done = [None if value is None else value.decode() for value in answer]
    if None in note:
        return None
    name, queue, published_at = note
    # A task whose ETA lies ahead is held as well, and has not started.
    worker = worker_of_token(holder) if holder and int(starts or 0) > 0 else None
    return IssuedTask.model_validate(
        {
            "task_id": task_id,
            "name": name,
            "queue": queue,
            "published_at": published_at,
            "worker": worker,
            "done": done,
        }
    )
