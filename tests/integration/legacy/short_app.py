"""Nova's app with a beat table of seconds, for loops, beats and workers under test.

`SHORT_ENTRIES` is JSON: entry name -> {"every": seconds, "task": name, "catch_up": policy,
"kwargs": arguments}. As a program it is the API.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from nova.api.server import serve
from nova.celery_app import app
from nova.queues import queue_of_task
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import connect

entries = json.loads(os.environ["SHORT_ENTRIES"])
app.conf.beat_schedule = {
    name: {
        "task": entry["task"],
        "schedule": entry["every"],
        "kwargs": entry.get("kwargs", {}),
        "options": {"queue": queue_of_task(entry["task"]).name},
    }
    for name, entry in entries.items()
}
app.conf.nova_beat_catch_up = {
    name: entry.get("catch_up", "all") for name, entry in entries.items()
}


@app.task(name="nova.maintenance.note_task", bind=True, base=NovaTask)  # type: ignore[untyped-decorator]
def note_task(self: NovaTask, file: str, seconds: float = 0) -> dict[str, Any]:
    """Note a start in a file at once, and an effect in Redis after some seconds."""
    with Path(file).open("a", encoding="utf-8") as log:
        log.write(f"{self.request.id}\n")
    time.sleep(seconds)
    with connect(get_settings()) as client:
        run = Run(self, client)
        effects = run.effects()
        effects.incr(f"test:effects:{run.task_id}")
        return dict(run.commit(effects, {"report_id": None, "message": "noted"}))


@app.task(name="nova.maintenance.broken_task", bind=True, base=NovaTask)  # type: ignore[untyped-decorator]
def broken_task(self: NovaTask) -> None:
    """Fail."""
    raise ValueError("broken on purpose")


if __name__ == "__main__":
    serve(get_settings(), app)
