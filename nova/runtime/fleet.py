"""The fleet at a glance: workers that are online, and what waits in the queues."""

from typing import cast

import redis
from pydantic import BaseModel, Field

import nova
from nova.queues import QUEUES
from nova.runtime.heartbeat import WorkerHeartbeat, read_workers


class Fleet(BaseModel):
    """The fleet as Redis shows it, and the release of the process that looked."""

    release: str
    workers: list[WorkerHeartbeat]
    queues: dict[str, int] = Field(description="Tasks that wait in each queue.")

    def workers_of(self, queue: str) -> int:
        """Count the online workers that take tasks from a queue."""
        return sum(queue in worker.queues for worker in self.workers)


def read_fleet(client: redis.Redis) -> Fleet:
    """Return the fleet; three round trips to Redis, and no worker is asked.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        for name in QUEUES:
            pipe.llen(name)
        depths = cast(list[int], pipe.execute())
    return Fleet(
        release=nova.__release__,
        workers=read_workers(client),
        queues=dict(zip(QUEUES, depths, strict=True)),
    )
