"""Publishing that ends: with a confirmation, or with a clear error, within ten seconds.

docs/decisions/ says what a confirmation is worth.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import redis
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.utils.json import dumps

from nova.errors import ConflictError, InputError, UnavailableError, UnconfirmedPublishError
from nova.runtime.issued import RECENT_TASKS_KEPT
from nova.runtime.ledger import TOKEN_HEADER
from nova.runtime.scripts import load
from nova.runtime.transient import is_transient
from nova.settings import Settings
from nova.store import Keys, redis_errors

#: Seconds for which a publisher tries. The last attempt begins early enough to end in them.
PUBLISH_SECONDS = 10.0
#: Socket timeout of publishers: most seconds that one attempt waits for an answer.
ATTEMPT_SECONDS = 3.0
#: Most seconds for the replicas to confirm; less than the socket timeout.
WAIT_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 1.0

#: Header of a message: the same in all attempts to publish it.
PUBLICATION_HEADER = "nova_publication"
#: Header on the way to Redis only: what is asked for under the task id, in short. Who asks for the
#: same again publishes nothing more, who asks for something else is refused.
ASKED_HEADER = "nova_asked"

T = TypeVar("T")


class AnswerLostError(redis.ConnectionError):
    """Redis was asked to publish and did not answer: it may have done so, or may do so yet."""


class PublishingChannelMixin:
    """For a Redis channel of kombu: publishes a task with its note in one step, and confirmed.

    Reads the transport options `wait_replicas`, how many replicas must confirm, and
    `run_expires_seconds`, how long to keep the note of a run.
    """

    connection: Any
    pool: Any
    Client: Any

    #: kombu must not collect messages to push them later, past `_put`.
    supports_batch_publish = False

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        """Push a message to a queue.

        Raises:
            InputError: it has a priority.
            ConflictError: something else was asked for under this task id before.
            UnconfirmedPublishError: too few replicas confirmed in time.
            AnswerLostError: the connection was lost before Redis answered.
            redis.RedisError: nothing was published.
        """
        if message["properties"].get("priority"):
            raise InputError(
                f"a message for the queue {queue} has a priority; Nova has none: "
                "send it to another queue, or without"
            )
        headers = message.get("headers") or {}
        if not ("id" in headers and "task" in headers):  # an answer of the remote control
            super()._put(queue, message, **options)  # type: ignore[misc]
            return
        # One connection throughout: WAIT is about what its own connection wrote.
        with self.Client(connection_pool=self.pool, single_connection_client=True) as client:
            try:
                self._push(client, queue, message)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                raise AnswerLostError(str(error)) from error
            self._wait_for_replicas(client, headers["id"])

    def _push(self, client: redis.Redis, queue: str, message: dict[str, Any]) -> None:
        headers = message["headers"]
        # Celery takes headers over into a retry. The claim was that of this start.
        headers.pop(TOKEN_HEADER, None)
        # Nor is a retry what was asked for: it is published under the same id.
        asked = headers.pop(ASKED_HEADER, None) or ""
        options = self.connection.client.transport_options
        outcome = load(client, "publish")(
            keys=[Keys.issued_task(headers["id"]), queue, Keys.RECENT_TASKS],
            args=[
                dumps(message),
                headers.get(PUBLICATION_HEADER) or message["properties"]["delivery_tag"],
                headers["task"],
                queue,
                datetime.now(UTC).isoformat(),
                options["run_expires_seconds"],
                headers["id"],
                RECENT_TASKS_KEPT,
                asked,
            ],
        )
        if outcome < 0:
            raise ConflictError(
                f"something else was asked for under the task id {headers['id']} before; "
                "nothing was published"
            )

    def _wait_for_replicas(self, client: redis.Redis, task_id: str) -> None:
        wanted = self.connection.client.transport_options["wait_replicas"]
        if not wanted:
            return
        try:
            confirmed = client.wait(wanted, int(WAIT_SECONDS * 1000))
        except redis.RedisError as error:
            raise UnconfirmedPublishError(task_id, f"Redis was lost: {error}") from error
        if confirmed < wanted:
            reason = f"{confirmed} of {wanted} replicas confirmed in {WAIT_SECONDS:.0f} s"
            raise UnconfirmedPublishError(task_id, reason)


def publish(settings: Settings, task_id: str, attempt: Callable[[float], T]) -> T:
    """Call `attempt`, again while it fails for a reason that passes by itself, for ten seconds.

    `attempt` gets the seconds that are left, and publishes always the same publication.

    Raises:
        UnconfirmedPublishError: the task may have been published, or not.
        UnavailableError: Redis does not take it; nothing was published.
        ConfigurationError: Redis refused the user or password.
    """
    deadline = time.monotonic() + PUBLISH_SECONDS
    pause = FIRST_PAUSE_SECONDS
    is_answer_lost = False
    while True:
        try:
            return attempt(max(0.0, deadline - time.monotonic()))
        except LimitExceeded as error:
            if is_answer_lost:
                reason = f"Redis did not answer, and all connections to it wait: {error}"
                raise UnconfirmedPublishError(task_id, reason) from error
            raise UnavailableError(
                f"Redis at {settings.redis_location} is slow, and all connections to it wait; "
                "nothing was published"
            ) from error
        except (OperationalError, redis.RedisError) as error:
            is_answer_lost |= isinstance(error.__cause__, AnswerLostError)
            if is_transient(error) and time.monotonic() + pause + ATTEMPT_SECONDS < deadline:
                time.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
                continue
            if is_answer_lost:
                raise UnconfirmedPublishError(task_id, f"Redis did not answer: {error}") from error
            try:
                with redis_errors(settings):
                    raise _redis_error(error) from error
            except UnavailableError as refusal:
                raise UnavailableError(f"nothing was published: {refusal}") from error


def _redis_error(error: BaseException) -> redis.RedisError:
    """Return the error of redis-py that kombu wrapped."""
    cause = error.__cause__ if isinstance(error, OperationalError) else error
    return cause if isinstance(cause, redis.RedisError) else redis.ConnectionError(str(error))
