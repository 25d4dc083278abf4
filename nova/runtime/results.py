"""Celery's result backend for Redis, with ends to its waiting that suit each kind of process."""

import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import redis
from celery._state import get_current_worker_task
from celery.backends import redis as stock
from redis.commands.core import Script

from nova import sentinels
from nova.runtime.scripts import load
from nova.runtime.transient import is_transient

#: Seconds for which is tried what no task waits for: a worker's main process stores there what its
#: children cannot, from the event loop that the watchdog looks at.
RETRY_SECONDS = 10.0
#: Seconds for which a task offers its result to a Redis that answers and cannot take it, say for a
#: full disk. Then the task ends without.
REFUSED_SECONDS = 60.0


def _is_in_task() -> bool:
    """Whether this thread runs a task; `task_join_will_block` is true in all of a worker."""
    return get_current_worker_task() is not None


class ResultsMixin:
    """How often an operation on results is tried, and what is left out.

    A task waits for Redis as long as it takes: without its result the run would be marked as
    failed.
    """

    client: redis.Redis
    expires: int
    encode: Callable[[Any], str | bytes]
    get_key_for_task: Callable[[str], str]
    _get_result_meta: Callable[..., dict[str, Any]]

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing: whoever waits for the result subscribes to it then, not at each publish."""

    @property
    def retry_policy(self) -> dict[str, Any]:
        """When to try again after a lost connection, by the names of `kombu.retry_over_time`."""
        policy = {"max_retries": None, "interval_start": 0, "interval_step": 1, "interval_max": 5}
        return policy if _is_in_task() else policy | {"timeout": RETRY_SECONDS}

    def store_result(self, *args: Any, **kwargs: Any) -> Any:
        """Store the state of a run; Celery's own arguments."""
        store = partial(super().store_result, **kwargs)  # type: ignore[misc]
        return self.ensure(store, args)

    def _store_result(  # Celery's own arguments
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        """Look and write in one step, where Celery's own takes two round trips for each state."""
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        meta["task_id"] = task_id
        key = self.get_key_for_task(task_id)
        self._store_script(keys=[key], args=[self.encode(meta), int(self.expires)])
        return result

    @cached_property
    def _store_script(self) -> Script:
        return load(self.client, "result")

    def ensure(self, fun: Callable[..., Any], args: tuple[Any, ...], **policy: Any) -> Any:
        """Call a function, again while it fails for a reason that passes by itself."""
        deadline = time.monotonic() + (REFUSED_SECONDS if _is_in_task() else RETRY_SECONDS)

        def attempt(*arguments: Any) -> Any:
            try:
                return fun(*arguments)
            except redis.ResponseError as error:
                if not is_transient(error) or time.monotonic() > deadline:
                    raise
                raise redis.ConnectionError(str(error)) from error  # which is tried again

        return super().ensure(attempt, args, **policy)  # type: ignore[misc]


class RedisBackend(ResultsMixin, stock.RedisBackend):  # type: ignore[misc]  # celery has no types
    """The backend for one Redis server."""


class SentinelBackend(ResultsMixin, stock.SentinelBackend):  # type: ignore[misc]
    """The backend for a group that Sentinel watches."""

    #: The module of which Celery takes the class `Sentinel`.
    sentinel = sentinels
