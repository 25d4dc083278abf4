"""Nova's app, and on it the tasks whose starts and effects the harness counts."""

import os
import signal
import time
from typing import Any

from celery import signals

from nova.celery_app import app
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import connect, redis_errors
from tests.fault.slots import ENTRY, EverySlot
from tests.fault.witness import EFFECTS_KEY, witness

app.conf.beat_schedule = {
    ENTRY: {
        "task": "nova.fault.slot",
        "schedule": EverySlot(),
        "options": {"queue": "maintenance"},
    }
}
app.conf.beat_max_loop_interval = 1
app.conf.nova_beat_catch_up = {ENTRY: "all"}

GOVERNANCE_TASK = "nova.governance.run_governance_task"


def commit_effect(task: NovaTask, name: int | str) -> None:
    """Have the effect that the harness counts: through the ledger, as Nova's tasks do."""
    settings = get_settings()
    with redis_errors(settings), connect(settings) as client:
        run = Run(task, client)
        effects = run.effects()
        effects.hincrby(EFFECTS_KEY, str(name), 1)
        run.commit(effects, None)


@app.task(name="nova.fault.work", bind=True)  # type: ignore[untyped-decorator]
def work(self: NovaTask, number: int, seconds: float = 0) -> None:
    """Take some time, then have an effect."""
    notes = witness()
    notes.started(number)
    time.sleep(seconds)
    commit_effect(self, number)
    notes.finished(number)


@app.task(name="nova.fault.outside", ignore_result=True)  # type: ignore[untyped-decorator]
def outside(number: int) -> None:
    """Have an effect elsewhere than in the Redis that is hurt, and no result there either."""
    notes = witness()
    notes.started(number)
    notes.effect(number)
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
    name = self.request.id  # made of entry and planned time
    notes.started(name)
    commit_effect(self, name)
    notes.finished(name)


@signals.task_prerun.connect  # type: ignore[untyped-decorator]
def note_start(task_id: str, task: NovaTask, **_: Any) -> None:
    """Count the starts of runs that the API triggers, by their ids."""
    if task.name == GOVERNANCE_TASK:
        witness().started(task_id)


@signals.task_success.connect  # type: ignore[untyped-decorator]
def note_success(sender: NovaTask, **_: Any) -> None:
    """Count the runs that the API triggers and that succeed, by their ids."""
    if sender.name == GOVERNANCE_TASK:
        notes = witness()
        notes.effect(sender.request.id)
        notes.finished(sender.request.id)
