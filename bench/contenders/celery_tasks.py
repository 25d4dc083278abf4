"""The tasks for a Celery app, Nova's or a stock one."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

import redis
from celery import Celery

from bench.contenders.work import COUNT_KEY, STARTS_KEY, now, redis_url

#: Nova routes by the name: these go to its queue `maintenance`.
PREFIX = "nova.maintenance."
QUEUE = "maintenance"


@lru_cache
def client() -> redis.Redis:
    """Return this process's client; the first task in a pool process makes it."""
    return redis.Redis.from_url(redis_url())


def count(number: int) -> int:
    """Count one up, and return the task's number."""
    client().incr(COUNT_KEY)
    return number


def empty(number: int) -> int:
    """Do nothing."""
    return number


def stamp(number: int) -> int:
    """Leave when the task started."""
    started_at = now()
    client().hset(STARTS_KEY, str(number), started_at)
    return number


class CelerySystem:
    """Registers the tasks with an app, and publishes them."""

    def __init__(self, app: Celery) -> None:
        self.tasks = {
            function.__name__: app.task(name=f"{PREFIX}{function.__name__}")(function)
            for function in (count, empty, stamp)
        }

    def publish(self, task: str, number: int) -> str:
        """Publish a task; return its id."""
        result: Any = self.tasks[task].apply_async((number,))
        return str(result.id)

    def finished(self, client: redis.Redis, ids: Collection[str]) -> set[str]:
        """Return those ids that succeeded: a task that was only started has a result key too."""
        found = client.mget([f"celery-task-meta-{task_id}" for task_id in ids])
        return {
            task_id
            for task_id, meta in zip(ids, found, strict=True)
            if meta is not None and b'"SUCCESS"' in meta
        }
