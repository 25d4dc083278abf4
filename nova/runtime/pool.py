"""Celery's process pool, with cheaper changes of its processes.

A child is replaced after some tasks (`worker_max_tasks_per_child`), so that what a task leaks does
not grow for ever. Stock spends a good part of a busy worker's time on that, see
docs/decisions/0015-children-are-replaced-cheaply.md.
"""

import gc
import time
from typing import Any

from billiard.pool import EX_OK, EX_RECYCLE
from billiard.util import set_pdeathsig
from celery import signals
from celery.concurrency import asynpool, prefork

#: Seconds until a child that is to end looks again whether its last result was read.
LOOK_SECONDS = 0.001
#: Seconds after which it ends all the same, as in billiard.
GIVE_UP_SECONDS = 30.0
#: Seconds for which the main process waits for a child that ends; it takes microseconds.
EXIT_SECONDS = 1.0


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

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        """A child has closed the pipe by which the main process notices its end.

        It does so a moment before it can be waited for. Celery looks once, and if that is too early
        looks again after five seconds: so long the child has no successor, and a task that was sent
        to it waits.
        """
        proc.join(EXIT_SECONDS)
        super()._event_process_exit(hub, proc)

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


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    """Celery's prefork pool with the children above; `worker_pool` in the configuration."""

    Pool = AsynPool


def _prepare_to_fork(sender: Any, **_: Any) -> None:
    """Load once what each child would load for itself, and keep the collector off it.

    The pool collects garbage before each fork. What is frozen it need not look through.
    """
    sender.app.backend  # noqa: B018  # made at first access
    set_pdeathsig(0)
    gc.collect()
    gc.freeze()


def install() -> None:
    """Prepare workers before they fork their first child."""
    signals.worker_init.connect(_prepare_to_fork, weak=False)
