"""Health checks as probes: published to a queue, answered by whoever claims them, or taken back.

Not by `app.send_task`: what is to be taken back must be known word for word, and no call may wait
longer than its client does.
"""

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import redis
from celery import Celery
from celery.utils.nodenames import worker_direct

from nova.queues import QUEUES
from nova.runtime.claims import RUN_EXPIRES_SECONDS, queue_of_inbox
from nova.runtime.issued import RECENT_TASKS_KEPT
from nova.runtime.messages import PreparedMessage, prepare
from nova.runtime.scripts import load
from nova.store import Keys

HEALTH_CHECK = "nova.health_check"
#: How a result that will not change says how its task ended.
_ENDED = {"SUCCESS", "FAILURE", "REVOKED"}


@dataclass(frozen=True)
class Answer:
    """What became of one probe."""

    queue: str
    #: Who answered, and its release; empty if the probe failed or had expired.
    worker: str = ""
    release: str = ""


def direct_queue(worker: str) -> str:
    """Return the name of a worker's own queue."""
    name: str = worker_direct(worker).name
    return name


class Probes:
    """The probes of one gate."""

    def __init__(self, client: redis.Redis, app: Celery, expires_seconds: float) -> None:
        self._client = client
        self._app = app
        self._expires_seconds = expires_seconds
        self._publish = load(client, "publish")
        self._withdraw = load(client, "withdraw")
        self._waiting: dict[str, PreparedMessage] = {}

    def waiting(self, queue: str) -> int:
        """Count the probes of a queue that nobody has answered."""
        return sum(message.queue == queue for message in self._waiting.values())

    def publish(self, queue: str, count: int) -> None:
        """Publish some probes to a shared queue, or to a worker's own; they expire.

        Raises:
            redis.RedisError: Redis is away, or refused; some may have been published.
        """
        if count < 1:
            return
        messages = [self._prepare(queue) for _ in range(count)]
        # Before they are sent: without an answer they may be there all the same.
        self._waiting |= {message.task_id: message for message in messages}
        with self._client.pipeline(transaction=False) as pipe:
            for message in messages:
                self._publish(
                    keys=[Keys.issued_task(message.task_id), message.list_key, Keys.RECENT_TASKS],
                    args=[
                        *(message.payload, message.task_id, message.name, message.queue),
                        *(datetime.now(UTC).isoformat(), RUN_EXPIRES_SECONDS, message.task_id),
                        *(RECENT_TASKS_KEPT, ""),
                    ],
                    client=pipe,
                )
            pipe.execute()

    def _prepare(self, queue: str) -> PreparedMessage:
        to = queue if queue in QUEUES else worker_direct(queue.removesuffix(".dq2"))
        task_id = str(uuid.uuid4())
        expires = self._expires_seconds
        return prepare(self._app, HEALTH_CHECK, task_id=task_id, queue=to, expires=expires)

    def collect(self) -> list[Answer]:
        """Return what has been answered since the last call.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        ids = list(self._waiting)
        if not ids:
            return []
        stored = cast(list[bytes | None], self._client.mget([Keys.result(i) for i in ids]))
        answers = []
        for task_id, text in zip(ids, stored, strict=True):
            meta: dict[str, Any] = {} if text is None else orjson.loads(text)
            if meta.get("status") in _ENDED:
                answers.append(_answer(self._waiting.pop(task_id).queue, meta))
        return answers

    def withdraw(self) -> int:
        """Take back what nobody has claimed; return how many probes that were.

        Messages lie in their queue, or in the inbox of a worker that waited and then froze.

        Raises:
            redis.RedisError: Redis does not answer; the probes expire by themselves.
        """
        if not self._waiting:
            return 0
        members = cast(list[bytes], self._client.zrange(Keys.INBOXES, 0, -1))
        inboxes = [member.decode() for member in members]
        outcome: Counter[bool] = Counter()
        for task_id, message in list(self._waiting.items()):
            lists = [inbox for inbox in inboxes if queue_of_inbox(inbox) == message.queue]
            keys = [Keys.issued_task(task_id), message.list_key, *lists]
            outcome[bool(self._withdraw(keys=keys, args=[message.payload]))] += 1
            del self._waiting[task_id]
        return outcome[True]


def _answer(queue: str, meta: dict[str, Any]) -> Answer:
    if meta["status"] != "SUCCESS":
        return Answer(queue)
    result = meta["result"]
    return Answer(queue, str(result.get("worker_name", "")), str(result.get("release", "")))
