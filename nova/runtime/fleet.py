"""The fleet at a glance: workers that are online, what waits in the queues, which beat leads.

All of it stands in Redis; no worker is asked.
"""

from typing import cast

import redis
from pydantic import BaseModel, Field

import nova
from nova.queues import QUEUES
from nova.runtime.deliveries import by_queue
from nova.runtime.heartbeat import WorkerHeartbeat, parse_heartbeats
from nova.runtime.leader import LeaderInfo, parse_leader
from nova.runtime.waiting import read_oldest
from nova.store import Keys


class Fleet(BaseModel):
    """The fleet as Redis shows it, and the release of the process that looked."""

    release: str
    workers: list[WorkerHeartbeat]
    queues: dict[str, int] = Field(description="Tasks that wait in each queue.")
    dead_letters: dict[str, int] = Field(
        description="Messages that were given up, by queue; direct stands for the workers' own."
    )
    beat: LeaderInfo | None = Field(description="The beat that leads; null if no beat runs.")

    def workers_of(self, queue: str) -> int:
        """Count the online workers that take tasks from a queue."""
        return sum(queue in worker.queues for worker in self.workers)


class QueueStatus(BaseModel):
    """One queue: its row of the queue table, and what is in it."""

    name: str = Field(examples=["trends"])
    purpose: str = Field(examples=["Content opportunities"])
    waiting: int = Field(description="Tasks that no worker has yet.", examples=[3])
    held: int = Field(
        description="Tasks that online workers hold: they run, or wait for an ETA or a process. As "
        "the workers said last, some seconds ago."
    )
    oldest_seconds: float = Field(description="How long the next task has waited; 0 if none does.")
    dead_letters: int = Field(description="Messages that were given up.")
    workers: int = Field(description="Workers online that take tasks from it.")
    processes: int = Field(description="Processes of these workers, which may serve more queues.")
    concurrency: int = Field(description="Processes of the queue's own worker, by the queue table.")
    soft_time_limit_seconds: int = Field(description="When a task is asked to stop.")
    time_limit_seconds: int = Field(description="When its process is killed.")


def read_fleet(client: redis.Redis) -> Fleet:
    """Return the fleet; two round trips to Redis.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.zrange(Keys.WORKERS, 0, -1)
        pipe.smembers(Keys.DEAD_LETTER_QUEUES)
        pipe.get(Keys.BEAT_LEADER)
        for name in QUEUES:
            pipe.llen(name)
        workers, dead_queues, leader, *depths = pipe.execute()
    names, dead_names = sorted(_decoded(workers)), _decoded(dead_queues)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(Keys.worker(name))
        for name in dead_names:
            pipe.llen(Keys.dead_letters(name))
        answers = pipe.execute()
    notes, dead = answers[: len(names)], answers[len(names) :]
    return Fleet(
        release=nova.__release__,
        workers=parse_heartbeats(notes),
        queues=dict(zip(QUEUES, depths, strict=True)),
        dead_letters=by_queue(zip(dead_names, dead, strict=True)),
        beat=None if leader is None else parse_leader(leader),
    )


def read_queues(client: redis.Redis) -> list[QueueStatus]:
    """Return every queue, in the order of the queue table; four round trips to Redis.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    fleet, oldest = read_fleet(client), read_oldest(client)
    return [
        QueueStatus(
            **vars(queue),
            waiting=fleet.queues[name],
            held=sum(worker.held.get(name, 0) for worker in fleet.workers),
            oldest_seconds=oldest[name],
            dead_letters=fleet.dead_letters[name],
            workers=fleet.workers_of(name),
            processes=sum(worker.concurrency for worker in fleet.workers if name in worker.queues),
        )
        for name, queue in QUEUES.items()
    ]


def _decoded(members: object) -> list[str]:
    return [member.decode() for member in cast(list[bytes], members)]
