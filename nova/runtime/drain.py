"""How a worker stops: it takes no more tasks, finishes what runs in time, gives back the rest.

Celery's own shutdown leaves the event loop before the running tasks have ended, and waits for them
without an end. Here the loop goes on as usual, with its acknowledgements, heartbeats and
reconnects, until nothing runs any more or the time is over; only then is Celery told to shut down.
"""

import contextlib
import logging
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import redis
from celery import bootsteps, platforms, signals
from celery.concurrency import prefork
from celery.exceptions import WorkerShutdown
from celery.worker import state

from nova.queues import QUEUES
from nova.runtime.claims import ClaimCalls, Claims
from nova.runtime.forking import no_fork
from nova.runtime.holdings import HOLDINGS, Holdings
from nova.runtime.notify import notify
from nova.settings import Settings, get_settings
from nova.store import connect

logger = logging.getLogger(__name__)

SIGNALS = ("SIGTERM", "SIGINT")
#: A task that is killed at its hard time limit gets so many seconds more to be settled.
MARGIN_SECONDS = 5
#: Seconds between two notes to systemd, and by how much each extends the time to stop.
NOTIFY_SECONDS = 1.0
EXTEND_SECONDS = 15
#: Seconds that a worker without tasks waits for Redis to confirm what it has settled.
CONFIRM_SECONDS = 5
#: Seconds after the end of the time at which the process ends in any case.
STUCK_SECONDS = 10
#: Of a command of a worker that stops; it does not wait longer for a Redis that froze.
TIMEOUT_SECONDS = 2.0


def budget_seconds(queues: Iterable[str], settings: Settings) -> float:
    """Return how long a worker of these queues waits for its running tasks when it stops."""
    known = [QUEUES[name] for name in queues if name in QUEUES] or list(QUEUES.values())
    longest = max(row.time_limit_seconds for row in known) + MARGIN_SECONDS
    return longest if settings.drain_seconds is None else min(longest, settings.drain_seconds)


class Drain(threading.Thread):
    """The stop of one worker.

    The signal handler only sets flags, for it may come in the middle of anything. The event loop
    does the work, at each of its turns; `while_connecting` does it while there is no loop. The
    thread keeps systemd informed, wakes the loop, and ends a process whose loop is stuck.
    """

    def __init__(self, worker: Any, holdings: Holdings, settings: Settings) -> None:
        super().__init__(name="drain", daemon=True)
        self._worker = worker
        self._holdings = holdings
        self._settings = settings
        self._budget = budget_seconds(worker.app.amqp.queues.consume_from, settings)
        self._pid = os.getpid()
        # `put` of this class may interrupt itself, as signal handlers do.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._deadline = math.inf
        self._connecting_since: float | None = None
        self._is_announced = False
        self._idle_since = math.inf
        self._ended_at = math.inf

    # --- In the main thread, in the middle of anything

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Begin to stop; a second signal ends the time for running tasks.

        Raises:
            WorkerShutdown: nothing runs, and the main thread does nothing but connect.
        """
        if os.getpid() != self._pid:
            return  # a child that has not set its own handlers yet
        is_first = not self._holdings.is_stopping
        self._holdings.is_stopping = True
        self._deadline = time.monotonic() + (self._budget if is_first else 0)
        self._signals.put(number)
        self.while_connecting()

    # --- In the main thread

    @contextlib.contextmanager
    def connecting(self) -> Iterator[None]:
        """Within this the main thread connects, and the event loop does not turn."""
        self._connecting_since = time.monotonic()
        try:
            self.while_connecting()
            yield
        finally:
            self._connecting_since = None

    def while_connecting(self) -> None:
        """End the worker if it is to stop and need not wait; called between two tries to connect.

        What runs cannot tell its end without Redis. It is waited for as long as a lease, in which
        Redis may come back.

        Raises:
            WorkerShutdown: the worker ends now.
        """
        if self._connecting_since is None or not self._holdings.is_stopping:
            return
        limit = min(self._deadline, self._connecting_since + self._settings.lease_seconds)
        if not self._running() or time.monotonic() >= limit:
            self._abort()
            self._end()

    def on_connection_lost(self) -> None:
        """Do not connect again if the worker is to stop and nothing runs.

        Raises:
            WorkerShutdown: it is so.
        """
        if self._holdings.is_stopping and not self._running():
            self._end()

    def on_tick(self) -> None:
        """Do what is to be done at one turn of the event loop.

        Raises:
            WorkerShutdown: nothing is left to be done.
        """
        if not self._holdings.is_stopping:
            return
        if not self._is_announced:
            self._announce()
        if time.monotonic() >= self._deadline:
            self._abort()
        if self._running():
            return
        self._idle_since = min(self._idle_since, time.monotonic())
        is_waiting = time.monotonic() < self._idle_since + CONFIRM_SECONDS
        if self._worker.consumer.is_quiet() or not is_waiting:
            self._end()

    def _announce(self) -> None:
        self._is_announced = True
        signals.worker_shutting_down.send(
            sender=self._worker.hostname, sig="SIGTERM", how="Warm", exitcode=platforms.EX_OK
        )
        returned = self._worker.consumer.return_waiting()
        logger.info("stopping: %d tasks go back to their queues, %s", returned, self._outlook())

    def _running(self) -> int:
        # A task that is acknowledged before it runs is not held any more.
        return max(self._holdings.count(), len(state.active_requests))

    def _outlook(self) -> str:
        left = max(0.0, self._deadline - time.monotonic())
        return f"{self._running()} run, for {left:.0f} s at most"

    def _abort(self) -> None:
        """Kill what runs, and give it back; that is no fault of the task and no start."""
        if not self._running():
            return
        pool = self._worker.pool
        pool.close()  # or it would replace the processes that are killed
        for request in tuple(state.active_requests):
            logger.warning("task %s %s did not end in time, it goes back", request.name, request.id)
            # The pools `threads` and `solo` cannot end what runs: the task goes back below all the
            # same, and `_force` ends the process with whatever runs in it.
            if isinstance(pool, prefork.TaskPool):
                request.cancel(pool, signal="KILL", emit_retry=False)
        self._kill_children()
        self._holdings.give_back()

    def _kill_children(self) -> None:
        pool = self._worker.pool
        for pid in pool.info.get("processes", ()):
            if pid != self._pid:  # the pool `solo` has none but this
                pool.terminate_job(pid, signal.SIGKILL)

    def _end(self) -> None:
        self._ended_at = time.monotonic()
        raise WorkerShutdown(platforms.EX_OK)

    # --- In this thread

    def run(self) -> None:
        """From the first signal on, keep systemd from losing its patience."""
        self._signals.get()
        with no_fork():
            notify("STOPPING=1")
        while True:
            with no_fork():
                self._turn()
            with contextlib.suppress(queue.Empty):
                self._signals.get(timeout=NOTIFY_SECONDS)

    def _turn(self) -> None:
        notify(
            f"EXTEND_TIMEOUT_USEC={EXTEND_SECONDS * 1_000_000}",
            f"STATUS=stopping: {self._outlook()}",
        )
        if time.monotonic() > min(self._deadline, self._ended_at) + STUCK_SECONDS:
            self._force()
        self._worker.hub.call_soon(lambda: None)  # wakes the event loop

    def _force(self) -> None:
        """End a process whose main thread does not: the pool `solo` runs its task there."""
        logger.error("the main thread did not end in time, the process ends without it")
        self._kill_children()
        self._holdings.give_back()
        try:
            settle(self._holdings, self._settings)
        except (redis.RedisError, OSError) as error:
            logger.warning("could not give back, the leases will run out: %s", error)
        os._exit(platforms.EX_OK)


def settle(holdings: Holdings, settings: Settings) -> None:
    """Settle what is to be settled, over a connection of its own that does not wait long.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with connect(settings, TIMEOUT_SECONDS) as client:
        settlements = holdings.settlements()
        if settlements:
            calls = ClaimCalls(lease_seconds=settings.lease_seconds)
            Claims(client, holdings.owner, calls).settle(*settlements)
            holdings.confirm(settlements)


class DrainStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Worker step: takes the signals over from Celery, before the first connection."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        #: The consumer finds it here.
        parent.drain = None

    def start(self, parent: Any) -> None:
        """Runs after Celery has set its own handlers; its SIGQUIT stays."""
        parent.drain = Drain(parent, HOLDINGS, get_settings())
        parent.hub.on_tick.add(parent.drain.on_tick)
        parent.drain.start()
        for name in SIGNALS:
            platforms.signals[name] = parent.drain.on_signal


class StockStopStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Worker step beside the stock transport: systemd leaves Celery's own shutdown its time."""

    requires = ("celery.worker.components:Pool",)

    def stop(self, parent: Any) -> None:
        """Runs before the pool waits for running tasks."""
        budget = budget_seconds(parent.app.amqp.queues.consume_from, get_settings())
        notify(f"EXTEND_TIMEOUT_USEC={round((budget + EXTEND_SECONDS) * 1_000_000)}")
