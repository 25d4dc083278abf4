"""How the end of a task becomes the end of its claim, and is counted."""

import time
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import UnpickleableExceptionWrapper
from celery.worker import state
from celery.worker.request import Request

from nova.runtime import watchdog
from nova.runtime.counts import COUNTS, Event
from nova.runtime.deliveries import queue_label
from nova.runtime.holdings import HOLDINGS
from nova.runtime.ledger import StaleRunError

#: Seconds after which a message comes back that a commit found in other hands.
STALE_SECONDS = 5.0


class Deferred(Reject):  # type: ignore[misc]  # celery ships no types
    """Raised by a task that cannot run now: its message comes back after some seconds."""

    def __init__(self, reason: str, seconds: float) -> None:
        # Exceptions are rebuilt from their arguments when they come from a child process.
        super().__init__(reason, seconds)
        self.reason = reason
        self.requeue = True
        self.seconds = seconds


class NovaRequest(Request):  # type: ignore[misc]
    """A request that tells what its acknowledgement means, and counts what happens to its task."""

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(message, *args, **kwargs)
        self._received_at = time.monotonic()
        self._accepted_at: float | None = None
        self._has_ended = False
        self._claimed = HOLDINGS.find(message.delivery_tag)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Count successes: Celery derives a class for each task, whose `on_success` is its own."""
        super().__init_subclass__(**kwargs)
        on_success = cls.on_success

        def on_success_counted(self: "NovaRequest", result: Any, **kwargs: Any) -> Any:
            failed, _, _ = result
            if not failed:
                self._count_end("succeeded")
            return on_success(self, result, **kwargs)

        cls.on_success = on_success_counted

    @property
    def has_begun(self) -> bool:
        """Whether the pool has the task: it runs, or will as soon as a process is free."""
        return self._apply_result is not None or self in state.active_requests

    @property
    def _queue(self) -> str:
        return queue_label(self.delivery_info["routing_key"])

    def on_accepted(self, pid: int, time_accepted: float) -> Any:
        """A process of the pool has begun with the task."""
        self._accepted_at = time_accepted
        COUNTS.event("started", self.task.name, self._queue)
        waited = self._waited_seconds(time_accepted)
        if waited is not None:
            COUNTS.wait(self._queue, max(0.0, waited))
        return super().on_accepted(pid, time_accepted)

    def on_retry(self, exc_info: Any) -> Any:
        """The task has published itself again: the run goes on, under the same id."""
        HOLDINGS.release_when_acknowledged(self.message.delivery_tag)
        return super().on_retry(exc_info)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """The task ran into a time limit; at the hard one its process is killed."""
        # To store its result may take seconds while Redis is away, but not for ever.
        watchdog.progress()
        if not soft:
            self._count_failure(TimeLimitExceeded(timeout))
        return super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """The task did not end well, or left its end to another message."""
        watchdog.progress()
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        self._count_failure(error)
        if isinstance(error, Deferred):
            HOLDINGS.defer(self.message.delivery_tag, error.seconds)
        elif isinstance(error, StaleRunError):
            # If the claim is gone this changes nothing. But the task may have asked a Redis that is
            # not the primary any more and knows no better: then the message is still this worker's,
            # and nobody else would run it. The start counts, for the task has run.
            HOLDINGS.postpone(self.message.delivery_tag, STALE_SECONDS)
        elif isinstance(error, Ignore):
            # `replace` publishes another task under the same id.
            HOLDINGS.release_when_acknowledged(self.message.delivery_tag)
        return super().on_failure(exc_info, *args, **kwargs)

    # --- Counting

    def _waited_seconds(self, started_at: float) -> float | None:
        """Return how long the task has waited for its first start, if that is known.

        A task with an ETA waits from then on. One that starts again did not wait in between.
        """
        claimed = self._claimed
        # The start of a task with an ETA counts when it has come, not at the claim.
        if claimed is None or claimed.starts > (1 if self.eta is None else 0):
            return None
        if self.eta is not None:
            return time.time() - (time.monotonic() - started_at) - float(self.eta.timestamp())
        if claimed.waited_seconds is None:
            return None
        return claimed.waited_seconds + started_at - self._received_at

    def _count_failure(self, error: BaseException) -> None:
        # A process that was told to end is no failure; a revoked task is counted by its signal.
        if isinstance(error, Terminated) or self._already_cancelled or self._already_revoked:
            return
        if isinstance(error, Retry):
            self._count_end("retried")
        elif isinstance(error, Reject):
            self._count_end("rejected")
        elif isinstance(error, Ignore):
            self._count_end("ignored")
        elif isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            self._count_end("lost_child")
        else:
            if isinstance(error, TimeLimitExceeded) and not self._has_ended:
                COUNTS.event("hard_time_limit", self.task.name, self._queue)
            self._count_end("failed", _name(error))

    def _count_end(self, event: Event, *exception: str) -> None:
        """Count the end of this start, once: at a hard time limit the pool tells it twice."""
        if self._has_ended:
            return
        self._has_ended = True
        COUNTS.event(event, self.task.name, self._queue, *exception)
        if self._accepted_at is not None:
            COUNTS.runtime(self.task.name, event, time.monotonic() - self._accepted_at)


def _name(error: BaseException) -> str:
    if isinstance(error, UnpickleableExceptionWrapper):
        return str(error.exc_cls_name)
    return type(error).__name__
