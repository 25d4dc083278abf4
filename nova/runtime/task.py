"""The base of every task of Nova."""

import time
from functools import cached_property
from typing import Any

from celery import Task
from celery.exceptions import Reject

from nova.errors import ConfigurationError, InputError, UnavailableError
from nova.queues import queue_of_task
from nova.runtime import ending
from nova.runtime.arguments import Arguments
from nova.runtime.request import Deferred

#: A task whose retry Redis did not take comes back so many seconds after Redis takes anything
#: again: its message is deferred by the same Redis.
DEFER_SECONDS = 5.0


class NovaTask(Task):  # type: ignore[misc]  # celery ships no types
    """Task whose time limits come from the queue table and which retries when Redis is away.

    Its arguments are checked when it is published, and not when it is run.
    """

    Request = "nova.runtime.request:NovaRequest"
    #: Celery need not check the arguments: `NovaCelery.send_task` does, and says it better.
    typing = False
    acks_late = True
    autoretry_for = (UnavailableError,)
    max_retries = 5
    retry_backoff = True
    retry_backoff_max = 600
    retry_jitter = True

    @cached_property
    def arguments(self) -> Arguments:
        """What the task takes, by its signature."""
        return Arguments.of(self.name, self.run)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Publish the task again for later; Celery's own arguments.

        Raises:
            celery.exceptions.Retry: it was published.
            InputError: it was given other arguments than before, and they are wrong.
            Deferred: it could not be; the message itself comes back. Celery would drop it, and
                with a Redis that is away the run would be lost.
        """
        try:
            return super().retry(*args, **kwargs)
        except Deferred:
            raise
        except Reject as error:
            if isinstance(error.reason, InputError):
                raise error.reason from None
            raise Deferred(str(error.reason), DEFER_SECONDS) from error

    def before_start(self, *_: Any) -> None:
        """Celery's hook: the run begins in this process."""
        self.request.began_at = time.time()

    def after_return(self, status: str, retval: Any, task_id: str, *_: Any) -> None:
        """Celery's hook: the run has succeeded or failed for good, and its result is stored."""
        if self.request.get("celery_beat_task"):  # a header that beat adds
            ending.note(task_id, status, retval, self.request.get("began_at"))

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Take the time limits of the queue that the task's name routes to.

        Raises:
            ConfigurationError: the task's options would end its run before it has ended.
        """
        queue = queue_of_task(cls.name)
        if not cls.acks_late or cls.retry_on_worker_lost:
            raise ConfigurationError(
                f"task {cls.name}: acks_late=False and retry_on_worker_lost=True are not served; "
                "a message is acknowledged when its run has ended, and only then"
            )
        cls.soft_time_limit = queue.soft_time_limit_seconds
        cls.time_limit = queue.time_limit_seconds
