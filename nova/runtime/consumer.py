"""The worker's consumer: what becomes of claims when a connection is lost or a worker stops."""

import logging
from typing import Any

import redis
from celery.app.amqp import AMQP
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu import Connection

from nova.runtime.holdings import HOLDINGS

logger = logging.getLogger(__name__)

#: Seconds between two tries to connect: the first, what is added each time, the most.
RETRY_SECONDS_FIRST, RETRY_SECONDS_STEP, RETRY_SECONDS_MOST = 0.5, 0.5, 5.0


class NovaConnection(Connection):  # type: ignore[misc]  # kombu ships no types
    """A connection that tries again soon, and for as long as it takes."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect; kombu's own default waits up to 30 seconds between two tries."""
        backoff = {
            "interval_start": RETRY_SECONDS_FIRST,
            "interval_step": RETRY_SECONDS_STEP,
            "interval_max": RETRY_SECONDS_MOST,
        }
        return super().ensure_connection(*args, **(backoff | kwargs))


class NovaAMQP(AMQP):  # type: ignore[misc]  # celery ships no types
    """Celery's messaging with Nova's connection."""

    Connection = NovaConnection


class NovaConsumer(Consumer):  # type: ignore[misc]
    """A consumer whose claims outlive its connection."""

    def on_close(self) -> None:
        """The connection is lost: keep the claims of what runs, give back what has not begun."""
        super().on_close()
        running = {request.message.delivery_tag for request in tuple(state.active_requests)}
        returned = HOLDINGS.give_back(should_keep=running.__contains__)
        if returned or running:
            logger.info("keeping %d running tasks, returning %d others", len(running), returned)

    def apply_eta_task(self, task: Any) -> None:
        """The ETA of a task has come: from now on its start counts."""
        HOLDINGS.start(task.message.delivery_tag)
        super().apply_eta_task(task)

    def _limit_post_eta(self, request: Any, bucket: Any, tokens: int) -> Any:
        HOLDINGS.start(request.message.delivery_tag)
        return super()._limit_post_eta(request, bucket, tokens)

    def shutdown(self) -> None:
        """The pool has ended: settle what has ended, give back the rest."""
        HOLDINGS.is_draining = True
        HOLDINGS.give_back()
        if self.task_consumer is not None:
            try:
                self.task_consumer.channel.leave()
            except (redis.RedisError, OSError) as error:
                logger.warning("could not settle at the end, the lease will run out: %s", error)
        super().shutdown()
