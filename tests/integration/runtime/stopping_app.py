"""Nova's app with tasks that say when they start and end, and a way to get its event loop stuck."""

import os
import time
from pathlib import Path
from typing import Any

from celery import signals

from nova.celery_app import app
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import connect
from tests.integration.runtime.stopping import ENDS, STARTS, STUCK_FILE


def _work(task: NovaTask, number: int, seconds: float) -> None:
    note = f"{number} {task.request.hostname}"
    with connect(get_settings()) as client:
        client.rpush(STARTS, note)
        time.sleep(seconds)
        client.rpush(ENDS, note)


@app.task(name="nova.trends.work", bind=True)  # type: ignore[untyped-decorator]
def work(self: NovaTask, number: int, seconds: float = 0) -> None:
    """Take some time."""
    _work(self, number, seconds)


@app.task(name="nova.trends.rare", bind=True, rate_limit="1/h")  # type: ignore[untyped-decorator]
def rare(self: NovaTask, number: int, seconds: float = 0) -> None:
    """Take some time; one an hour."""
    _work(self, number, seconds)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def get_stuck_on_demand(sender: Any, **_: Any) -> None:
    """Look for the file at turns of the event loop."""
    path = os.environ.get(STUCK_FILE)
    if path:
        sender.timer.call_repeatedly(0.1, _get_stuck, (Path(path),))


def _get_stuck(path: Path) -> None:
    while path.exists():
        time.sleep(0.05)
