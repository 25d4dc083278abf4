"""Names of tasks: the schedule, the API and the command line name tasks that exist."""

import json
import subprocess
import sys

import pytest

from nova.api.routes.celery import GOVERNANCE_TASK
from nova.queues import QUEUES
from nova.schedule import SCHEDULE

LIST_TASKS = """
import json
from nova.celery_app import app
app.loader.import_default_modules()
print(json.dumps({n: [t.soft_time_limit, t.time_limit] for n, t in app.tasks.items()}))
"""


@pytest.fixture(scope="module")
def tasks() -> dict[str, list[int]]:
    """Name -> time limits of every task that a worker knows."""
    environment = {"REDIS_URL": "redis://localhost:1/0"}
    command = [sys.executable, "-c", LIST_TASKS]
    output = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
    found: dict[str, list[int]] = json.loads(output)
    return found


def test_what_is_scheduled_and_triggered_exists(tasks: dict[str, list[int]]) -> None:
    assert {entry.task for entry in SCHEDULE} | {GOVERNANCE_TASK} <= set(tasks)


def test_a_task_has_the_time_limits_of_its_queue(tasks: dict[str, list[int]]) -> None:
    queue = QUEUES["governance"]
    assert tasks[GOVERNANCE_TASK] == [queue.soft_time_limit_seconds, queue.time_limit_seconds]
