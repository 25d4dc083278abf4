"""The thread of a worker's main process that renews what the process holds, and sweeps.

It also gives tasks that went to the dead letters their result.

A thread, because the event loop may be busy for long: with the pool at shutdown, with a connection
that does not come back. The leases of running tasks must go on meanwhile.
"""

import logging
import threading
from typing import Any

import redis
from celery import Celery, bootsteps

from nova.runtime.claims import ClaimCalls, Claims
from nova.runtime.deadletters import tell_failures
from nova.runtime.ending import describe
from nova.runtime.forking import no_fork
from nova.runtime.holdings import HOLDINGS, Holdings
from nova.settings import get_settings
from nova.store import connect

logger = logging.getLogger(__name__)

#: Seconds until another try when Redis does not answer.
RETRY_SECONDS = 1.0
#: Seconds that a stopping worker waits for the thread, which may wait for a Redis that froze.
STOP_SECONDS = 1.0


class LeaseThread(threading.Thread):
    """Renews and sweeps until it is told to stop."""

    def __init__(
        self, app: Celery, client: redis.Redis, holdings: Holdings, calls: ClaimCalls
    ) -> None:
        super().__init__(name="leases", daemon=True)
        self._app = app
        self._client = client
        self._holdings = holdings
        self._claims = Claims(client, holdings.owner, calls)
        self._stop_event = threading.Event()
        self._is_failing = False

    def run(self) -> None:
        """Do its duties now and six times in each lease; more often while Redis is away."""
        while True:
            pause = self._claims.calls.renew_seconds if self._renew() else RETRY_SECONDS
            if self._stop_event.wait(min(pause, self._claims.calls.renew_seconds)):
                return

    def stop(self) -> None:
        """Return when the thread has ended, or waits for Redis: it ends with the process then."""
        self._stop_event.set()
        self.join(STOP_SECONDS)

    def _renew(self) -> bool:
        with no_fork():
            return self._renew_now()

    def _renew_now(self) -> bool:
        try:
            lost = self._claims.renew(self._holdings.tokens(), self._holdings.inboxes())
            redelivered = self._claims.sweep()
        except Exception as error:
            # Whatever it is, this thread must go on: what runs would be given to others.
            if not self._is_failing:
                logger.warning(
                    "cannot renew leases, trying again every second: %s", describe(error)
                )
            self._is_failing = True
            return False
        self._is_failing = False
        for message in self._holdings.mark_lost(lost):
            logger.warning(
                "task %s %s: the lease ran out while this worker was silent; what it still does "
                "has no effect, another worker runs the task",
                message.task_name,
                message.task_id,
            )
        for item in redelivered:
            logger.warning(
                "task %s %s back to queue %s: its worker is silent (%s)",
                item.task_name,
                item.task_id,
                item.queue,
                item.token,
            )
        return self._tell_failures()

    def _tell_failures(self) -> bool:
        try:
            tell_failures(self._client, self._app)
        except Exception as error:
            logger.warning("cannot tell who waits for a task that was given up: %s", error)
            return False
        return True


class LeaseStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Worker step: the lease thread runs from before the first claim to after the last."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.thread: LeaseThread | None = None

    def start(self, parent: Any) -> None:
        """Name this process's claims after the worker, and start the thread."""
        settings = get_settings()
        HOLDINGS.owner.worker = parent.hostname
        calls = ClaimCalls(lease_seconds=settings.lease_seconds)
        self.thread = LeaseThread(parent.app, connect(settings), HOLDINGS, calls)
        self.thread.start()

    def stop(self, parent: Any) -> None:
        """Runs after the pool has ended."""
        if self.thread is not None:
            self.thread.stop()

    def terminate(self, parent: Any) -> None:
        """Runs at a cold shutdown."""
        self.stop(parent)
