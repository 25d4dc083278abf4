"""Notes with a scheduled run how it ended, for as long as the run is remembered.

Its result says more, and is kept for hours only; whoever compares schedulers wants days.
"""

import logging
import time
from typing import Any

import redis

from nova.settings import get_settings
from nova.store import Keys, connect

logger = logging.getLogger(__name__)

#: The note waits no longer for Redis: the run has ended, its process is wanted by the next one.
TIMEOUT_SECONDS = 1.0
#: Of what went wrong.
ERROR_LENGTH = 300


def note(task_id: str, status: str, returned: Any, began_at: float | None) -> None:
    """Add to the run when it began and ended, Celery's word for how, and the error if any.

    A run that Redis does not know, or a Redis that is away, gets no note: that is no reason to
    fail. Only tasks that beat has published are noted: two commands each.

    Args:
        task_id: the run.
        status: SUCCESS or FAILURE.
        returned: what the task returned, or the exception that it ended with.
        began_at: Unix time.
    """
    fields: dict[str | bytes, str] = {"status": status, "ended": f"{time.time():.3f}"}
    if began_at is not None:
        fields["began"] = f"{began_at:.3f}"
    if isinstance(returned, BaseException):
        fields["error"] = describe(returned)
    key = Keys.issued_task(task_id)
    try:
        with connect(get_settings(), TIMEOUT_SECONDS) as client:
            if client.exists(key):
                client.hset(key, mapping=fields)
    except redis.RedisError as error:
        logger.warning("how the run %s ended is not noted with it: %s", task_id, error)


def describe(error: BaseException) -> str:
    """Return an exception in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text[:ERROR_LENGTH]
