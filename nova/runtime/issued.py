"""Remembers which task ids were ever issued.

Celery's result backend cannot tell an id that waits from one that never was: both are PENDING.
Every publisher of Nova - API, command line, beat, retries - leaves a note before the message
goes out, which expires together with the result.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import redis
from celery import signals
from pydantic import BaseModel

from nova.settings import Settings
from nova.store import Keys, connect


class IssuedTask(BaseModel):
    """What the publisher left about a task."""

    task_id: str
    name: str
    queue: str
    published_at: datetime


def install(settings: Settings) -> None:
    """Leave a note for every task that this process publishes."""
    client = connect(settings)
    expires_seconds = settings.result_expires_hours * 3600

    def on_publish(sender: str, headers: Mapping[str, Any], routing_key: str, **_: Any) -> None:
        note = IssuedTask(
            task_id=headers["id"],
            name=sender,
            queue=routing_key,
            published_at=datetime.now(UTC),
        )
        client.set(Keys.issued_task(note.task_id), note.model_dump_json(), ex=expires_seconds)

    signals.before_task_publish.connect(on_publish, weak=False)


def find_issued(client: redis.Redis, task_id: str) -> IssuedTask | None:
    """Return the note about a task id, or None if the id was never issued or has expired."""
    note = client.get(Keys.issued_task(task_id))
    return None if note is None else IssuedTask(**orjson.loads(note))
