"""Nova's app, and on it the tasks whose starts and effects the harness counts."""

import os
import signal
import time
from typing import Any

from celery import signals

from nova.celery_app import app
from nova.runtime.task import NovaTask
from tests.fault.slots import ENTRY, EverySlot, now_slot
from tests.fault.witness import witness

app.conf.beat_schedule = {
    ENTRY: {
        "task": "nova.fault.slot",
        "schedule": EverySlot(),
        "options": {"queue": "maintenance"},
    }
}
app.conf.beat_max_loop_interval = 1


def commit_effect(task: NovaTask, name: int | str) -> None:
    """Have the effect that the harness counts. The one place where tasks here have any."""
    witness().effect(name)


@signals.before_task_publish.connect  # type: ignore[untyped-decorator]  # celery ships no types
def name_the_slot(sender: str = "", headers: Any = None, **_: Any) -> None:
    """Name the slot that beat fires."""
    if sender == "nova.fault.slot":
        headers["fault_slot"] = now_slot()


@app.task(name="nova.fault.work", bind=True)  # type: ignore[untyped-decorator]
def work(self: NovaTask, number: int, seconds: float = 0) -> None:
    """Take some time, then have an effect."""
    notes = witness()
    notes.started(number)
    time.sleep(seconds)
    commit_effect(self, number)
    notes.finished(number)


@app.task(name="nova.fault.poison", bind=True)  # type: ignore[untyped-decorator]
def poison(self: NovaTask, number: int) -> None:
    """Kill the process that runs it."""
    witness().started(number)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="nova.fault.slot", bind=True)  # type: ignore[untyped-decorator]
def slot(self: NovaTask) -> None:
    """Count the slot that it was fired for."""
    notes = witness()
    name = self.request.get("fault_slot")
    notes.started(name)
    commit_effect(self, name)
    notes.finished(name)
