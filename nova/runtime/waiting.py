"""How long the tasks wait that are next in their queues."""

import json
from datetime import datetime
from typing import Any, cast

import redis

from nova.queues import QUEUES
from nova.store import Keys


def read_oldest(client: redis.Redis) -> dict[str, float]:
    """Return for each queue the seconds that its next task has waited, 0 if none waits.

    Two round trips to Redis. When a task was published stands in the note of its run; without one
    it counts as just published.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        for name in QUEUES:
            pipe.lindex(name, -1)
        pipe.time()
        *messages, (seconds, microseconds) = pipe.execute()
    now = seconds + microseconds / 1_000_000
    ids = [_task_id(message) for message in messages]
    with client.pipeline(transaction=False) as pipe:
        for task_id in ids:
            pipe.hmget(Keys.issued_task(task_id), ["queued_at", "published_at"])
        notes = cast(list[list[bytes | None]], pipe.execute())
    return {
        name: max(0.0, now - _published_at(*note, default=now))
        for name, note in zip(QUEUES, notes, strict=True)
    }


def _task_id(message: bytes | None) -> str:
    """Return the id of a message's task; empty if it has none."""
    try:
        fields: Any = json.loads(message or "{}")
        return str(fields["headers"]["id"])
    except (ValueError, LookupError, TypeError):  # not of a client of Celery
        return ""


def _published_at(queued_at: bytes | None, published_at: bytes | None, *, default: float) -> float:
    if queued_at:
        return float(queued_at)
    return datetime.fromisoformat(published_at.decode()).timestamp() if published_at else default
