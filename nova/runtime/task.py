"""The base of every task of Nova."""

from typing import Any

from celery import Task

from nova.errors import UnavailableError
from nova.queues import queue_of_task


class NovaTask(Task):  # type: ignore[misc]  # celery ships no types
    """Task whose time limits come from the queue table and which retries when Redis is away."""

    autoretry_for = (UnavailableError,)
    max_retries = 5
    retry_backoff = True
    retry_backoff_max = 600
    retry_jitter = True

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Take the time limits of the queue that the task's name routes to."""
        queue = queue_of_task(cls.name)
        cls.soft_time_limit = queue.soft_time_limit_seconds
        cls.time_limit = queue.time_limit_seconds
