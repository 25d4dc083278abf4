"""Heartbeats: each worker leaves in Redis who it is and what it serves; they expire by themselves.

Reading them costs two commands, whatever the number of workers; Celery's own `inspect` asks all
workers and waits for the slowest.
"""

import logging
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, cast

import psutil
import redis
from celery import bootsteps
from celery.concurrency import prefork
from celery.worker import state
from pydantic import BaseModel, Field

import nova
from nova.runtime.consumer import NovaConsumer
from nova.runtime.holdings import HOLDINGS
from nova.settings import get_settings
from nova.store import Keys, connect

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5
#: Seconds for which the event loop waits for Redis here.
TIMEOUT_SECONDS = 2.0
#: A worker that has been silent for so long is not online.
EXPIRES_SECONDS = 20
#: A worker that has been silent for so long is forgotten.
FORGET_SECONDS = 24 * 3600


WorkerState = Literal["working", "draining", "drained", "stopping"]


class WorkerHeartbeat(BaseModel):
    """One worker as it described itself at `at`."""

    name: str
    pid: int
    release: str
    queues: list[str]
    concurrency: int
    active: int
    state: WorkerState = Field(
        default="working",
        description="draining: takes no more tasks, some still run; drained: none runs any more; "
        "stopping: was asked to end.",
    )
    held: dict[str, int] = Field(
        default_factory=dict,
        description="Tasks that it holds, by queue: they run, or wait for an ETA or a process.",
    )
    started_at: datetime
    at: datetime
    memory_bytes: int | None = Field(
        default=None, description="Resident memory of its main process; null if it does not say."
    )
    child_memory_bytes: list[int] = Field(
        default_factory=list,
        description="Resident memory of each process that runs its tasks, largest first; what they "
        "share is counted in each.",
    )


class HeartbeatStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Consumer step that leaves a heartbeat every five seconds while the worker consumes.

    It also reads whether an operator wants the worker to take tasks.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.client = connect(get_settings(), TIMEOUT_SECONDS)
        self.started_at = datetime.now(UTC)
        self.timer_entry: Any = None
        # What was drained stays drained: until Redis has told, this worker claims nothing.
        HOLDINGS.is_drained = isinstance(parent, NovaConsumer)

    def start(self, parent: Any) -> None:
        """Leave a heartbeat now and from now on."""
        self._beat(parent)
        self.timer_entry = parent.timer.call_repeatedly(INTERVAL_SECONDS, self._beat, (parent,))

    def stop(self, parent: Any) -> None:
        """Stop, and take the heartbeat away: the worker is no longer online."""
        if self.timer_entry is not None:
            self.timer_entry.cancel()
            self.timer_entry = None
        try:
            with self.client.pipeline() as pipe:
                pipe.delete(Keys.worker(parent.hostname))
                pipe.zrem(Keys.WORKERS, parent.hostname)
                pipe.execute()
        except redis.RedisError as error:
            logger.info("could not remove the heartbeat, it expires by itself: %s", error)

    def _beat(self, parent: Any) -> None:
        try:
            is_drained = self._write(parent)
            if isinstance(parent, NovaConsumer) and is_drained != HOLDINGS.is_drained:
                _set_drained(parent, is_drained)
                self._write(parent)
        except redis.RedisError as error:
            logger.warning("could not leave a heartbeat: %s", error)

    def _write(self, parent: Any) -> bool:
        """Leave a heartbeat; return whether the worker is to be drained."""
        heartbeat = WorkerHeartbeat(
            name=parent.hostname,
            pid=os.getpid(),
            release=nova.__release__,
            queues=sorted(queue.name for queue in parent.task_consumer.queues),
            concurrency=parent.pool.limit,
            active=len(state.active_requests),
            state=_state(),
            held=HOLDINGS.by_queue(),
            started_at=self.started_at,
            at=datetime.now(UTC),
            memory_bytes=_resident_bytes(os.getpid()),
            child_memory_bytes=_child_memory(parent.pool),
        )
        now = time.time()
        # No transaction: a full Redis refuses it as a whole, and what is read must come through.
        with self.client.pipeline(transaction=False) as pipe:
            pipe.set(Keys.worker(heartbeat.name), heartbeat.model_dump_json(), ex=EXPIRES_SECONDS)
            pipe.zadd(Keys.WORKERS, {heartbeat.name: now})
            pipe.zremrangebyscore(Keys.WORKERS, 0, now - FORGET_SECONDS)
            pipe.sismember(Keys.DRAINED, heartbeat.name)
            *written, is_drained = pipe.execute(raise_on_error=False)
        for answer in written:
            if isinstance(answer, redis.RedisError):
                logger.warning("could not leave a heartbeat: %s", answer)
                break
        if isinstance(is_drained, redis.RedisError):
            raise is_drained
        return bool(is_drained)


def _child_memory(pool: Any) -> list[int]:
    """Return what each child of a pool holds, largest first; nothing of a pool without children."""
    if not isinstance(pool, prefork.TaskPool) or pool._pool is None:
        return []
    sizes = [_resident_bytes(child.pid) for child in pool._pool._pool]
    return sorted((size for size in sizes if size is not None), reverse=True)


def _resident_bytes(pid: int) -> int | None:
    try:
        size: int = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
    return size


def _state() -> WorkerState:
    if HOLDINGS.is_stopping:
        return "stopping"
    if not HOLDINGS.is_drained:
        return "working"
    return "draining" if HOLDINGS.count() or state.active_requests else "drained"


def _set_drained(consumer: NovaConsumer, is_drained: bool) -> None:
    HOLDINGS.is_drained = is_drained
    if is_drained:
        returned = consumer.return_waiting()
        logger.info("drained: takes no more tasks, %d go back to their queues", returned)
    else:
        logger.info("takes tasks")


def read_workers(client: redis.Redis) -> list[WorkerHeartbeat]:
    """Return the workers that are online, by name."""
    members = cast(list[bytes], client.zrange(Keys.WORKERS, 0, -1))
    names = sorted(member.decode() for member in members)
    if not names:
        return []
    notes = cast(list[bytes | None], client.mget([Keys.worker(name) for name in names]))
    return parse_heartbeats(notes)


def parse_heartbeats(notes: Iterable[bytes | None]) -> list[WorkerHeartbeat]:
    """Read heartbeats as they stand in Redis; None for one that has expired."""
    return [WorkerHeartbeat.model_validate_json(note) for note in notes if note is not None]
