"""How the end of a task becomes the end of its claim."""

from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Ignore, Reject
from celery.worker import state
from celery.worker.request import Request

from nova.runtime.holdings import HOLDINGS


class Deferred(Reject):  # type: ignore[misc]  # celery ships no types
    """Raised by a task that cannot run now: its message comes back after some seconds."""

    def __init__(self, reason: str, seconds: float) -> None:
        # Exceptions are rebuilt from their arguments when they come from a child process.
        super().__init__(reason, seconds)
        self.reason = reason
        self.requeue = True
        self.seconds = seconds


class NovaRequest(Request):  # type: ignore[misc]
    """A request that tells what its acknowledgement means."""

    @property
    def has_begun(self) -> bool:
        """Whether the pool has the task: it runs, or will as soon as a process is free."""
        return self._apply_result is not None or self in state.active_requests

    def on_retry(self, exc_info: Any) -> Any:
        """The task has published itself again: the run goes on, under the same id."""
        HOLDINGS.release_when_acknowledged(self.message.delivery_tag)
        return super().on_retry(exc_info)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """The task did not end well, or left its end to another message."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, Deferred):
            HOLDINGS.defer(self.message.delivery_tag, error.seconds)
        elif isinstance(error, Ignore):
            # `replace` publishes another task under the same id.
            HOLDINGS.release_when_acknowledged(self.message.delivery_tag)
        return super().on_failure(exc_info, *args, **kwargs)
