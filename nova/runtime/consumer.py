"""The worker's consumer: what becomes of claims when a connection is lost or a worker stops."""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import redis
from celery.app.amqp import AMQP
from celery.exceptions import CPendingDeprecationWarning
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.loops import asynloop
from kombu import Connection

from nova.runtime import watchdog
from nova.runtime.counts import COUNTS
from nova.runtime.deliveries import queue_label
from nova.runtime.drain import TIMEOUT_SECONDS
from nova.runtime.holdings import HOLDINGS
from nova.settings import get_settings
from nova.store import connect

logger = logging.getLogger(__name__)

#: Seconds between two tries to connect: the first, what is added each time, the most.
RETRY_SECONDS_FIRST, RETRY_SECONDS_STEP, RETRY_SECONDS_MOST = 0.5, 0.5, 5.0
#: Seconds until a task that this release does not know is offered again.
UNKNOWN_TASK_SECONDS = 30.0
#: What it is counted as.
UNKNOWN_TASK = "unknown"


class NovaConnection(Connection):  # type: ignore[misc]  # kombu ships no types
    """A connection that tries again soon, and for as long as it takes."""

    #: Called before each second of waiting for the next try.
    between_tries: Callable[[], None] = staticmethod(lambda: None)

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect; kombu's own default waits up to 30 seconds between two tries."""
        callback = kwargs.pop("callback", None)

        def between_tries() -> None:
            self.between_tries()
            if callback is not None:
                callback()

        backoff = {
            "callback": between_tries,
            "interval_start": RETRY_SECONDS_FIRST,
            "interval_step": RETRY_SECONDS_STEP,
            "interval_max": RETRY_SECONDS_MOST,
        }
        return super().ensure_connection(*args, **(backoff | kwargs))

    def info(self) -> dict[str, Any]:
        """Return what a worker tells of it, in JSON, to who asks with `inspect stats`.

        But for how sentinels are reached: there is a password in it, and what is no JSON.
        """
        told: dict[str, Any] = super().info()
        options = told["transport_options"].items()
        shown = {name: value for name, value in options if name != "sentinel_kwargs"}
        return told | {"transport_options": shown}


class NovaAMQP(AMQP):  # type: ignore[misc]  # celery ships no types
    """Celery's messaging with Nova's connection."""

    Connection = NovaConnection


class NovaConsumer(Consumer):  # type: ignore[misc]
    """A consumer whose claims outlive its connection."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, for as long as it takes, unless the worker is to stop."""
        conn.between_tries = self._between_tries
        watchdog.progress()
        with self.controller.drain.connecting():
            return super().ensure_connected(conn)

    def loop(self, *args: Any) -> None:
        """Turn the event loop; a worker that is to stop does not connect again for nothing."""
        try:
            asynloop(*args)
        except self.connection_errors:
            self.controller.drain.on_connection_lost()
            raise

    def _between_tries(self) -> None:
        watchdog.progress()
        self.controller.drain.while_connecting()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close what is broken; Celery's own, without its word on a setting that is on purpose."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """The connection is lost: keep the claims of what runs, give back what has not begun."""
        super().on_close()
        running = {request.message.delivery_tag for request in tuple(state.active_requests)}
        returned = HOLDINGS.give_back(should_keep=running.__contains__)
        if returned or running:
            logger.info("keeping %d running tasks, returning %d others", len(running), returned)

    def return_waiting(self) -> int:
        """Give back at once what has not begun: its ETA lies ahead, or it waits for the pool.

        Returns how many.
        """
        requests = tuple(state.requests.values())
        begun = {request.message.delivery_tag for request in requests if request.has_begun}
        returned = HOLDINGS.give_back(should_keep=begun.__contains__)
        for request in requests:
            if not request.has_begun:
                if request._eta_timer_entry is not None:
                    self.timer.cancel(request._eta_timer_entry)
                state.task_ready(request)
        for bucket in filter(None, self.task_buckets.values()):
            bucket.clear_pending()
        if self.controller.semaphore is not None:
            self.controller.semaphore.clear()
        # Each task with an ETA had raised it by one.
        self.qos.value = self.initial_prefetch_count
        return returned

    def is_quiet(self) -> bool:
        """Whether Redis has confirmed all ends of claims and nothing is on its way from it."""
        claimer = self.task_consumer.channel.claimer
        return not HOLDINGS.settlements() and (claimer is None or claimer.is_quiet())

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task of another release: some other worker may know it.

        Celery would drop the message. Nobody knows it for as long as it takes to count five
        starts: then it is a dead letter, which can be replayed.
        """
        logger.error(
            "task %s %s is unknown to this release; back to its queue for %.0f seconds",
            message.headers.get("task"),
            message.headers.get("id"),
            UNKNOWN_TASK_SECONDS,
        )
        # Not by its name: it is in no list, and there may be many.
        queue = queue_label((message.delivery_info or {}).get("routing_key"))
        COUNTS.event("rejected", UNKNOWN_TASK, queue)
        # The claim counts no start of a task with an ETA, and here that never comes.
        HOLDINGS.start(message.delivery_tag)
        HOLDINGS.postpone(message.delivery_tag, UNKNOWN_TASK_SECONDS)

    def apply_eta_task(self, task: Any) -> None:
        """The ETA of a task has come: from now on its start counts."""
        HOLDINGS.start(task.message.delivery_tag)
        super().apply_eta_task(task)

    def _limit_post_eta(self, request: Any, bucket: Any, tokens: int) -> Any:
        HOLDINGS.start(request.message.delivery_tag)
        return super()._limit_post_eta(request, bucket, tokens)

    def shutdown(self) -> None:
        """The pool has ended: settle what has ended, give back the rest."""
        HOLDINGS.is_stopping = True
        HOLDINGS.give_back()
        if self.task_consumer is not None:
            try:
                with connect(get_settings(), TIMEOUT_SECONDS) as client:
                    self.task_consumer.channel.leave(client)
            except (redis.RedisError, OSError) as error:
                logger.warning("could not settle at the end, the lease will run out: %s", error)
        super().shutdown()
