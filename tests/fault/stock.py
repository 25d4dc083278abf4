"""Stock Celery with its safety settings on: late acknowledgement, prefetch 1, results kept.

What it runs is what `tests.fault.tasks` runs, without anything of Nova. Its effects go to the
witness, which no fault touches: stock Celery is not blamed for a lost write of a task body.
"""

import json
import os
import signal
import time
from typing import Any

from celery import Celery, Task, signals
from kombu import Exchange, Queue

from tests.fault.slots import ENTRY, EverySlot, slot_of
from tests.fault.witness import witness

QUEUES = ("maintenance", "analytics")
LEASE_SECONDS = int(os.environ["NOVA_LEASE_SECONDS"])

app = Celery("stock")
app.conf.update(
    broker_url=os.environ["REDIS_URL"],
    result_backend=os.environ["REDIS_URL"],
    # Looked at every second, not every 100: then the visibility timeout alone decides.
    broker_transport_options={
        "visibility_timeout": LEASE_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    | json.loads(os.environ.get("NOVA_FAULT_STOCK_OPTIONS", "{}")),
    result_backend_transport_options=json.loads(os.environ.get("NOVA_FAULT_STOCK_OPTIONS", "{}")),
    broker_connection_retry_on_startup=True,
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    task_default_queue="maintenance",
    task_default_exchange="maintenance",
    task_default_routing_key="maintenance",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    beat_schedule={ENTRY: {"task": "nova.fault.slot", "schedule": EverySlot()}},
    beat_max_loop_interval=1,
    timezone="UTC",
)


@signals.before_task_publish.connect  # type: ignore[untyped-decorator]  # celery ships no types
def name_the_slot(sender: str = "", headers: Any = None, **_: Any) -> None:
    """Stock beat does not say which slot it fires: take that of the moment."""
    if sender == "nova.fault.slot":
        headers["fault_slot"] = slot_of(time.time())


@app.task(name="nova.fault.work")  # type: ignore[untyped-decorator]
def work(number: int, seconds: float = 0) -> None:
    """Take some time, then have an effect."""
    notes = witness()
    notes.started(number)
    time.sleep(seconds)
    notes.effect(number)
    notes.finished(number)


@app.task(name="nova.fault.outside", ignore_result=True)  # type: ignore[untyped-decorator]
def outside(number: int) -> None:
    """Have an effect elsewhere than in the Redis that is hurt, and no result there either."""
    notes = witness()
    notes.started(number)
    notes.effect(number)
    notes.finished(number)


@app.task(name="nova.fault.poison")  # type: ignore[untyped-decorator]
def poison(number: int) -> None:
    """Kill the process that runs it."""
    witness().started(number)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="nova.fault.slot", bind=True)  # type: ignore[untyped-decorator]
def slot(self: Task) -> None:
    """Count the slot that it was fired for."""
    notes = witness()
    name = self.request.get("fault_slot")
    notes.started(name)
    notes.effect(name)
    notes.finished(name)
