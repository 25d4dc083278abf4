"""Tells which task ids were ever issued.

Celery's result backend cannot tell an id that waits from one that never was: both are PENDING.
Every publisher of Nova - API, command line, beat, retries - leaves a note in the step in which it
publishes; it stays until some hours after the run.
"""

from datetime import UTC, datetime
from typing import cast

import redis
from pydantic import BaseModel

from nova.store import Keys


class IssuedTask(BaseModel):
    """What the publisher left about a task."""

    task_id: str
    name: str
    queue: str
    published_at: datetime


def remember(
    client: redis.Redis, task_id: str, name: str, queue: str, expires_seconds: int
) -> None:
    """Leave a note about a task that is about to be published, as lua/publish.lua does.

    Raises:
        redis.RedisError: Redis did not take it.
    """
    key = Keys.issued_task(task_id)
    note = {"name": name, "queue": queue, "published_at": datetime.now(UTC).isoformat()}
    with client.pipeline() as pipe:
        for field, value in note.items():
            pipe.hsetnx(key, field, value)
        pipe.expire(key, expires_seconds)
        pipe.execute()


def find_issued(client: redis.Redis, task_id: str) -> IssuedTask | None:
    """Return the note about a task id, or None if the id was never issued or has expired."""
    fields = ("name", "queue", "published_at")
    answer = cast(list[bytes | None], client.hmget(Keys.issued_task(task_id), fields))
    values = [value.decode() for value in answer if value is not None]
    if len(values) < len(fields):
        return None
    note = dict(zip(fields, values, strict=True))
    return IssuedTask.model_validate({"task_id": task_id, **note})
