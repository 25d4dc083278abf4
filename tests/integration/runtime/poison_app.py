"""Nova's app with tasks that kill what runs them, until somebody mends them."""

import os
import signal
from typing import Any

import redis

from nova.celery_app import app
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import connect
from tests.integration.runtime.letters import MENDED, STARTS


def _client() -> redis.Redis:
    return connect(get_settings())


@app.task(name="nova.trends.poison", bind=True)  # type: ignore[untyped-decorator]
def poison(self: NovaTask, victim: str) -> str:
    """Count the start, then kill this process, or the worker's main process and this one."""
    client = _client()
    client.incr(STARTS)
    if client.exists(MENDED):
        return "mended"
    if victim == "main":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


@app.task(name="nova.trends.harmless")  # type: ignore[untyped-decorator]
def harmless(number: int) -> Any:
    """Do nothing."""
    return number
