"""Names of tasks: the schedule, the API and the command line name tasks that exist."""

import json
import subprocess
import sys

import pytest

from nova.domains import DOMAINS
from nova.queues import queue_of_task
from nova.schedule import SCHEDULE

LIST_TASKS = """
import json
from nova.celery_app import app
app.loader.import_default_modules()
route = app.amqp.router.route
print(json.dumps({
    name: [route({}, name)["queue"].name, task.soft_time_limit, task.time_limit]
    for name, task in app.tasks.items()
}))
"""


CHECK_ARGUMENTS = """
from nova.celery_app import app
from nova.errors import InputError
for name, arguments in {arguments!r}.items():
    assert name not in app.tasks, "nothing has imported the domains yet"
    try:
        app.send_task(name, kwargs=arguments)
    except InputError as error:
        print(error)
app.loader.import_default_modules()
for task in app.tasks.values():
    task.arguments
"""


def run(script: str) -> str:
    """Run a script in a process of its own, without a Redis."""
    environment = {"REDIS_URL": "redis://localhost:1/0"}
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def tasks() -> dict[str, tuple[str, int, int]]:
    """Name -> queue and time limits of every task that a worker knows."""
    return {name: tuple(found) for name, found in json.loads(run(LIST_TASKS)).items()}


def test_what_is_scheduled_and_triggered_exists(tasks: dict[str, tuple[str, int, int]]) -> None:
    named = [entry.task for entry in SCHEDULE] + [domain.task for domain in DOMAINS.values()]
    assert set(named) <= set(tasks)


def test_a_task_goes_to_the_queue_of_its_name_and_has_its_limits(
    tasks: dict[str, tuple[str, int, int]],
) -> None:
    """Celery's routes and the limits follow the one rule, `queue_of_task`."""
    ours = {name: found for name, found in tasks.items() if name.startswith("nova.")}
    assert DOMAINS["governance"].task in ours
    for name, found in ours.items():
        queue = queue_of_task(name)
        assert found == (queue.name, queue.soft_time_limit_seconds, queue.time_limit_seconds)


def test_arguments_are_checked_by_name_before_anything_is_imported_or_published() -> None:
    """As the API publishes; and each task's signature is one that can be checked."""
    task = DOMAINS["governance"].task
    output = run(CHECK_ARGUMENTS.format(arguments={task: {"auto_actions": "yes"}}))
    assert output == f"task {task}: argument auto_actions: Input should be a valid boolean\n"
