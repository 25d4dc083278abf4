"""arq with its defaults, but that it asks for jobs every 10 ms.

At its default, 100 jobs each half second, it could not do more than 200 a second and process.
"""

import asyncio
from collections.abc import Collection
from typing import Any

import redis
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from bench.contenders.work import COUNT_KEY, STARTS_KEY, now, redis_url

#: For `arq --custom-log-dict`: warnings only, like all others here.
LOGGING = {"version": 1, "loggers": {"arq": {"level": "WARNING"}}}


async def count(context: dict[str, Any], number: int) -> int:
    """Count one up, and return the task's number."""
    await context["redis"].incr(COUNT_KEY)
    return number


async def empty(context: dict[str, Any], number: int) -> int:
    """Do nothing."""
    return number


async def stamp(context: dict[str, Any], number: int) -> int:
    """Leave when the task started."""
    started_at = now()
    await context["redis"].hset(STARTS_KEY, str(number), started_at)
    return number


class WorkerSettings:
    """What the program `arq` runs."""

    functions = (count, empty, stamp)
    poll_delay = 0.01
    redis_settings = RedisSettings.from_dsn(redis_url())


class ArqSystem:
    """Publishes through one connection."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.pool: ArqRedis | None = None

    def publish(self, task: str, number: int) -> str:
        """Publish a task; return its id."""
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            self.pool = self.loop.run_until_complete(create_pool(WorkerSettings.redis_settings))
        assert self.pool is not None  # noqa: S101 - made above
        job = self.loop.run_until_complete(self.pool.enqueue_job(task, number))
        assert job is not None  # noqa: S101 - only a job id that was given can be refused
        return str(job.job_id)

    def finished(self, client: redis.Redis, ids: Collection[str]) -> set[str]:
        """Return those ids whose result is stored."""
        found = client.mget([f"arq:result:{job_id}" for job_id in ids])
        return {job_id for job_id, result in zip(ids, found, strict=True) if result is not None}


system = ArqSystem()
