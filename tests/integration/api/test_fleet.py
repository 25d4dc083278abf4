"""Queues, workers, schedule and tasks as the API and the command line show them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from nova.api.security import Role
from nova.errors import NotFoundError
from nova.queues import QUEUES
from nova.runtime import fleet_commands, issued, ledger, task_status, worker_commands
from nova.runtime.deadletters import DeadLetter
from nova.runtime.heartbeat import read_workers
from nova.runtime.issued import note_recent, remember
from nova.runtime.leader import Leader
from nova.runtime.ledger import Run
from nova.runtime.messages import PreparedMessage
from nova.runtime.slots import Mark
from nova.runtime.task_status import list_tasks
from nova.schedule import SCHEDULE
from nova.settings import Settings
from nova.store import Keys
from tests.conftest import Invoke, wait_until
from tests.integration.api.conftest import ApiProcess
from tests.integration.runtime.letters import bury

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any


@pytest.fixture
def nova(command_line: Callable[..., Invoke]) -> Invoke:
    """Run a command and return what it prints; an error of Nova's is raised."""
    return command_line(fleet_commands, worker_commands, width=200)


def publish(client: Client, *task_ids: str, queue: str = "trends", name: str = "nova.t") -> None:
    """Leave the notes of tasks, the first one published first."""
    for task_id in task_ids:
        remember(client, task_id, name, queue, expires_seconds=60)


def store_result(client: Client, task_id: str, state: str, result: object = None) -> None:
    """Leave a result as Celery does, and the note that the run has ended."""
    meta = {"status": state, "result": result, "date_done": "2026-03-01T02:00:05+00:00"}
    client.set(Keys.result(task_id), json.dumps(meta))
    client.hset(Keys.issued_task(task_id), "done", "1772330405.123 acknowledged")


# --- Queues and workers


@pytest.fixture
def letter(client: Client) -> DeadLetter:
    """A dead letter; asked for before a worker, which would take the message."""
    return bury(client, "dead", "analysis")


def test_queues_show_what_waits_who_serves_and_the_limits(
    api: ApiProcess, letter: DeadLetter, worker: "subprocess.Popen[bytes]", nova: Invoke
) -> None:
    found = {queue["name"]: queue for queue in queues(api)}
    assert list(found) == list(QUEUES)
    trends = found["trends"]
    assert (trends["waiting"], trends["held"], trends["oldest_seconds"]) == (0, 0, 0)
    assert (trends["workers"], trends["processes"]) == (1, 2)
    assert trends["time_limit_seconds"] == QUEUES["trends"].time_limit_seconds
    assert (trends["dead_letters"], found["analysis"]["dead_letters"]) == (0, 1)
    shown = json.loads(nova("queues", "--json"))
    assert list(shown) == list(QUEUES)
    assert shown["analysis"]["dead_letters"] == 1
    assert "trends" in nova("queues")


def test_a_queue_that_nobody_serves_shows_how_long_its_next_task_has_waited(
    api: ApiProcess, client: Client, nova: Invoke
) -> None:
    accepted = api.request("POST", "/api/celery/governance/run", Role.OPERATOR)
    run = Keys.issued_task(accepted.json()["task_id"])
    client.hset(run, "queued_at", time.time() - 100)
    [governance] = [queue for queue in queues(api) if queue["name"] == "governance"]
    assert (governance["waiting"], governance["workers"]) == (1, 0)
    assert 99 < governance["oldest_seconds"] < 130
    assert "none" in nova("queues")


def test_a_worker_tells_what_it_holds(
    api: ApiProcess, worker: "subprocess.Popen[bytes]", worker_environment: dict[str, str]
) -> None:
    """A task whose ETA lies far ahead is held by the worker, and does not wait in its queue."""
    later = "from nova.celery_app import health_check; health_check.apply_async(countdown=600)"
    subprocess.run([sys.executable, "-c", later], env=worker_environment, check=True)
    wait_until(lambda: any(queue["held"] for queue in queues(api)))
    assert {queue["name"]: queue["held"] for queue in queues(api) if queue["held"]} == {
        "maintenance": 1
    }
    [shown] = api.get("/api/celery/workers", Role.VIEWER).json()["workers"]
    assert shown["held"] == {"maintenance": 1}


def test_workers_are_listed_page_by_page(
    api: ApiProcess, worker: "subprocess.Popen[bytes]", client: Client, nova: Invoke
) -> None:
    [heartbeat] = read_workers(client)
    page = api.get("/api/celery/workers", Role.VIEWER).json()
    assert (page["total"], page["workers"][0]["name"]) == (1, heartbeat.name)
    beyond = api.get("/api/celery/workers?offset=1", Role.VIEWER).json()
    assert (beyond["total"], beyond["workers"]) == (1, [])
    assert heartbeat.name in nova("workers")
    assert nova("workers", "--json") == nova("worker", "list", "--json")


def queues(api: ApiProcess) -> list[dict[str, Any]]:
    """Return what the API says of the queues."""
    answer = api.get("/api/celery/queues", Role.VIEWER)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["queues"]
    return found


# --- Status and schedule


def test_status_names_the_leader_and_the_dead_letters(client: Client, nova: Invoke) -> None:
    text = nova("status")
    assert "No worker is online" in text
    assert "none leads" in text
    assert "dead letters" not in text.splitlines()[-1]
    leader = {"token": "t", "host": "nova1", "pid": 7, "release": "0.1.0+abc"}
    client.set(Keys.BEAT_LEADER, json.dumps(leader))
    bury(client, "task-1")
    text = nova("status")
    assert "nova1 leads" in text
    assert "1 dead letters; see: nova deadletter list" in text
    fleet = json.loads(nova("status", "--json"))
    assert (fleet["dead_letters"]["trends"], fleet["beat"]["host"]) == (1, "nova1")


def test_the_schedule_shows_last_next_lateness_and_missed(
    api: ApiProcess, client: Client, nova: Invoke
) -> None:
    entry = SCHEDULE[0]
    client.hset(
        Keys.BEAT_STATE,
        mapping={
            f"fired:{entry.name}": "2026-03-01T02:00:00.000000Z 1772330403.500000",
            f"missed:{entry.name}": 2,
        },
    )
    found = api.get("/api/celery/schedule", Role.VIEWER).json()
    assert [line["name"] for line in found["entries"]] == [line.name for line in SCHEDULE]
    shown = found["entries"][0]
    assert shown["last_slot"] == "2026-03-01T02:00:00Z"
    assert (shown["lateness_seconds"], shown["missed_slots"]) == (3.5, 2)
    assert shown["next_slot"] > found["at"]
    assert json.loads(nova("schedule", "--json"))["entries"][0]["missed_slots"] == 2
    text = nova("schedule")
    assert entry.name in text
    assert "3.5 s" in text


# --- Tasks


def test_every_way_to_publish_lists_the_task_newest_first(
    api: ApiProcess, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the note of the stock transport, by a publisher, by a commit's outbox, and by beat."""
    monkeypatch.setattr(ledger, "get_settings", lambda: settings)
    publish(client, "stock")
    accepted = api.request("POST", "/api/celery/governance/run", Role.OPERATOR).json()
    outbox = publish_by_outbox(client, settings)
    publish_by_beat(client, "beat")
    tasks = api.get("/api/celery/tasks", Role.VIEWER).json()["tasks"]
    assert [task["task_id"] for task in tasks] == ["beat", outbox, accepted["task_id"], "stock"]
    assert {task["state"] for task in tasks} == {"PENDING"}


def publish_by_outbox(client: Client, settings: Settings) -> str:
    """Publish a task by the commit of another one, which was called directly."""
    celery_app = Celery("test", backend=settings.redis_dsn)
    celery_app.conf.task_default_queue = "maintenance"
    request = SimpleNamespace(id="outer", get=lambda _name: None)
    run = Run(SimpleNamespace(app=celery_app, request=request), client)
    effects = run.effects()
    task_id = run.publish(effects, "nova.health_check", key="k")
    run.commit(effects, None)
    return task_id


def publish_by_beat(client: Client, task_id: str) -> None:
    """Publish a task as the beat that leads does."""
    leader = Leader(client)
    now = leader.look().now
    message = PreparedMessage("trends", "payload", task_id, "nova.t", "trends")
    fired = leader.fire(
        "entry", "", Mark(now, "cron"), message, published_at=now, expires_seconds=60
    )
    assert fired.status == "fired"


def test_tasks_are_filtered_by_state_queue_and_name(api: ApiProcess, client: Client) -> None:
    publish(client, "waits", "ended", "failed")
    publish(client, "other", queue="analysis", name="nova.u")
    store_result(client, "ended", "SUCCESS", {"n": 1})
    store_result(client, "failed", "FAILURE", {"exc_type": "ValueError", "exc_message": ["no"]})

    def ids(query: str) -> list[str]:
        page = api.get(f"/api/celery/tasks?{query}", Role.VIEWER).json()
        assert page["next"] is None
        return [task["task_id"] for task in page["tasks"]]

    assert ids("") == ["other", "failed", "ended", "waits"]
    assert ids("state=SUCCESS") == ["ended"]
    assert ids("state=PENDING") == ["other", "waits"]
    assert ids("queue=analysis") == ids("name=nova.u") == ["other"]
    assert ids("queue=trends&state=FAILURE") == ["failed"]
    assert api.get("/api/celery/tasks?state=DONE", Role.VIEWER).status_code == 422


def test_a_task_in_a_list_and_alone_have_the_same_state(api: ApiProcess, client: Client) -> None:
    publish(client, "waits", "runs", "again", "ended", "failed", "forgotten")
    token = "nova:celery@host:1a2b:3.0"
    client.hset(Keys.issued_task("runs"), mapping={"holder": token, "starts": 1})
    client.set(Keys.result("again"), json.dumps({"status": "RETRY", "result": None}))
    store_result(client, "ended", "SUCCESS", "x" * 1000)
    store_result(client, "failed", "FAILURE", {"exc_type": "ValueError", "exc_message": ["no"]})
    client.hset(Keys.issued_task("forgotten"), "done", "1772330405.123 acknowledged")
    listed = api.get("/api/celery/tasks", Role.VIEWER).json()["tasks"]
    states = {task["task_id"]: task["state"] for task in listed}
    assert states == {
        "failed": "FAILURE",
        "ended": "SUCCESS",
        "again": "RETRY",
        "runs": "STARTED",
        "waits": "PENDING",
    }
    for task_id, state in states.items():
        assert api.get(f"/api/celery/task/{task_id}", Role.VIEWER).json()["state"] == state
    assert api.get("/api/celery/task/forgotten", Role.VIEWER).status_code == 404
    assert listed[0]["finished_at"] == "2026-03-01T02:00:05.123000Z"


def test_pages_of_tasks_follow_each_other_while_others_are_published(
    api: ApiProcess, client: Client
) -> None:
    publish(client, *(f"t{number}" for number in range(5)))
    first = api.get("/api/celery/tasks?limit=2", Role.VIEWER).json()
    publish(client, "new")
    second = api.get(f"/api/celery/tasks?limit=2&after={first['next']}", Role.VIEWER).json()
    third = api.get(f"/api/celery/tasks?limit=2&after={second['next']}", Role.VIEWER).json()
    ids = [task["task_id"] for page in (first, second, third) for task in page["tasks"]]
    assert ids == ["t4", "t3", "t2", "t1", "t0"]
    assert third["next"] is None
    first_place = api.get("/api/celery/tasks?after=0-0", Role.VIEWER).json()
    assert first_place == {"tasks": [], "next": None}
    assert api.get("/api/celery/tasks?after=nothing", Role.VIEWER).status_code == 422


def test_one_request_looks_at_a_bounded_number_of_tasks(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_status, "BATCH", 2)
    monkeypatch.setattr(task_status, "SCAN_LIMIT", 4)
    publish(client, "wanted", queue="analysis")
    publish(client, *(f"t{number}" for number in range(6)))
    first = list_tasks(client, queue="analysis")
    assert first.tasks == []
    assert first.next is not None
    second = list_tasks(client, queue="analysis", after=first.next)
    assert [task.task_id for task in second.tasks] == ["wanted"]
    assert second.next is None


def test_only_so_many_tasks_are_kept_in_the_list(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis forgets whole nodes of the stream, so a few more may be there."""
    monkeypatch.setattr(issued, "RECENT_TASKS_KEPT", 500)
    for number in range(1500):
        note_recent(client, f"t{number}")
    assert 500 <= client.xlen(Keys.RECENT_TASKS) <= 700
    newest = client.xrevrange(Keys.RECENT_TASKS, count=1)
    assert newest[0][1] == {b"id": b"t1499"}


def test_a_task_that_is_published_again_keeps_its_place(client: Client) -> None:
    publish(client, "first", "second", "first")
    assert [task.task_id for task in list_tasks(client).tasks] == ["second", "first"]


def test_the_command_lists_and_shows_tasks(client: Client, nova: Invoke) -> None:
    assert "no such task" in nova("task", "list")
    publish(client, "t1", "t2", "t3")
    store_result(client, "t1", "FAILURE", {"exc_type": "ValueError", "exc_message": ["a", 1]})
    lines = nova("task", "list", "--limit", "2").splitlines()
    assert [line.split()[0] for line in lines] == ["task", "t3", "t2"]
    [failed] = json.loads(nova("task", "list", "--state", "FAILURE", "--json"))
    assert failed["task_id"] == "t1"
    text = nova("task", "show", "t1")
    assert "ValueError: a, 1" in text
    assert json.loads(nova("task", "show", "t1", "--json"))["state"] == "FAILURE"
    with pytest.raises(NotFoundError, match="never issued"):
        nova("task", "show", "nothing")


def test_the_command_goes_on_to_the_next_page_by_itself(
    client: Client, nova: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_status, "BATCH", 2)
    monkeypatch.setattr(task_status, "SCAN_LIMIT", 2)
    publish(client, "wanted", queue="analysis")
    publish(client, *(f"t{number}" for number in range(6)))
    [found] = json.loads(nova("task", "list", "--queue", "analysis", "--json"))
    assert found["task_id"] == "wanted"
