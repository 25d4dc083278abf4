"""A Celery app for beats under test; its schedule comes from the environment.

`BEAT_ENTRIES` is JSON: entry name -> {"every": seconds, or "cron": line, "catch_up": policy,
"options": {...}}. They publish to the queue `slots` unless told otherwise; nobody takes from there.
"""

import json
import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from kombu import Queue

from nova.runtime import notify
from nova.settings import get_settings

QUEUE = "slots"


def _entry(options: dict[str, Any]) -> dict[str, Any]:
    cron = options.get("cron")
    return {
        "task": "tests.slot",
        "schedule": crontab.from_string(cron) if cron else options["every"],
        "args": ("argument",),
        "kwargs": {"keyword": 1},
        "options": {"queue": QUEUE} | options.get("options", {}),
    }


entries = json.loads(os.environ["BEAT_ENTRIES"])
app = Celery("beat-under-test", broker=get_settings().redis_dsn, backend=get_settings().redis_dsn)
app.conf.update(
    beat_schedule={name: _entry(options) for name, options in entries.items()},
    beat_scheduler="nova.runtime.scheduler:LeaderScheduler",
    nova_beat_catch_up={name: options.get("catch_up", "all") for name, options in entries.items()},
    task_queues=[Queue(QUEUE), Queue("broken")],
    task_create_missing_queues=False,
)
notify.install(app)
