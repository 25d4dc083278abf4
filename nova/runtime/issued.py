"""Remembers which task ids were ever issued.

Celery's result backend cannot tell an id that waits from one that never was: both are PENDING.
Every publisher of Nova - API, command line, beat, retries - leaves a note before the message
goes out, which expires together with the result.
"""

from datetime import datetime
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


def remember(client: redis.Redis, note: IssuedTask, expires_seconds: int) -> None:
    """Leave a note about a task that is about to be published.

    Raises:
        redis.RedisError: Redis did not take it.
    """
    key = Keys.issued_task(note.task_id)
    with client.pipeline() as pipe:
        pipe.hset(key, mapping=note.model_dump(mode="json", exclude={"task_id"}))
        pipe.expire(key, expires_seconds)
        pipe.execute()


def find_issued(client: redis.Redis, task_id: str) -> IssuedTask | None:
    """Return the note about a task id, or None if the id was never issued or has expired."""
    values = client.hmget(Keys.issued_task(task_id), ["name", "queue", "published_at"])
    name, queue, published_at = cast(list[bytes | None], values)
    if name is None:
        return None
    fields = {"name": name, "queue": queue, "published_at": published_at}
    return IssuedTask.model_validate({"task_id": task_id} | fields)
