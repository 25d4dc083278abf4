"""Celery's process pool, with cheaper changes of its processes.

A child is replaced after some tasks (`worker_max_tasks_per_child`), so that what a task leaks does
not grow for ever. Stock spends a good part of a busy worker's time on that, see
docs/decisions/0015-children-are-replaced-cheaply.md.
"""

import gc
import heapq
import time
from typing import Any

from billiard.pool import EX_OK, EX_RECYCLE
from billiard.util import set_pdeathsig
from celery import signals
from celery.concurrency import asynpool, prefork
from kombu.asynchronous import Hub
from kombu.asynchronous.timer import Timer

#: Seconds until a child that is to end looks again whether its last result was read.
LOOK_SECONDS = 0.001
#: Seconds after which it ends all the same, as in billiard.
GIVE_UP_SECONDS = 30.0
#: Seconds for which the main process waits for a child that ends; it takes microseconds.
EXIT_SECONDS = 1.0
#: Seconds between two looks for timers that are no longer wanted.
FORGET_SECONDS = 1.0


class Worker(asynpool.Worker):  # type: ignore[misc]  # celery ships no types
    """A child that ends as soon as its last result was read."""

    def _ensure_messages_consumed(self, completed: int) -> bool:
        """Wait until the main process has read as many results; billiard looks every 0.1 s."""
        if not self.on_ready_counter:
            return False
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while self.on_ready_counter.value < completed:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True


class AsynPool(asynpool.AsynPool):  # type: ignore[misc]
    """The pool behind `TaskPool`."""

    Worker = Worker

    def register_with_event_loop(self, hub: Hub) -> None:
        """Run the pool in the worker's event loop; asked for again after a lost connection."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(FORGET_SECONDS, forget_cancelled, hub.timer)

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        """A child has closed the pipe by which the main process notices its end.

        It does so a moment before it can be waited for. Celery looks once, and if that is too early
        looks again after five seconds: so long the child has no successor, and a task that was sent
        to it waits.
        """
        proc.join(EXIT_SECONDS)
        super()._event_process_exit(hub, proc)

    def process_flush_queues(self, proc: Any) -> None:
        """Read what a child left in its pipe; nothing can follow once it has ended.

        Celery waits 10 ms for more, each time, and does nothing else meanwhile.
        """
        reader = proc.outq._reader
        if proc.exitcode is not None and (reader.closed or not reader.poll(0)):
            return
        super().process_flush_queues(proc)

    def on_partial_read(self, job: Any, proc: Any) -> None:
        """A child has ended that a task was sent to.

        One that was to be replaced has not looked at it: another child gets the task. One that was
        killed may have begun it, even if it did not come to say so. Celery would send the task to
        another child all the same, and a poison task would start more often than is counted. Here
        the task is lost with its child: its message goes back, and its next claim counts.
        """
        if not job._accepted and proc.exitcode not in (EX_OK, EX_RECYCLE):
            job._ack(None, time.monotonic(), proc.pid, None)
            self.mark_as_worker_lost(job, proc.exitcode)
        super().on_partial_read(job, proc)


def forget_cancelled(timer: Timer) -> None:
    """Drop the entries of a timer that were cancelled.

    Each task sets a timer for its time limit and cancels it when it ends. Cancelled timers stay in
    the timer's heap until they would have been due: all tasks of an hour for a limit of an hour,
    and the garbage collector looks at each before each fork.
    """
    entries = timer._queue
    entries[:] = [scheduled for scheduled in entries if not scheduled.entry.cancelled]
    heapq.heapify(entries)


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    """Celery's prefork pool with the children above; `worker_pool` in the configuration."""

    Pool = AsynPool


def _prepare_to_fork(sender: Any, **_: Any) -> None:
    """Load once what each child would load for itself, and keep the collector off it.

    The pool collects garbage before each fork. What is frozen it need not look through.
    """
    sender.app.backend  # noqa: B018  # made at first access
    set_pdeathsig(0)
    _freeze()


def _freeze(**_: Any) -> None:
    """Keep the garbage collector off all that is there now and stays."""
    gc.collect()
    gc.freeze()


def install() -> None:
    """Prepare workers before they fork their first child, and once more when they are complete."""
    signals.worker_init.connect(_prepare_to_fork, weak=False)
    signals.worker_ready.connect(_freeze, weak=False)
