"""Notifications through real workers: at least once, with one key, and never in the run's way."""

import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, states
from celery.result import AsyncResult

from nova.governance.models import Report
from nova.governance.reports import get_report, list_reports
from nova.runtime.heartbeat import read_workers
from nova.runtime.ledger import OUTBOX_NAMESPACE
from nova.settings import Settings
from tests.conftest import CELERY, wait_until
from tests.integration.governance.servers import Hook, serve_hook

RUN_ID = "nightly-1"
NOTIFICATION_ID = str(uuid.uuid5(OUTBOX_NAMESPACE, f"{RUN_ID} notification ops"))
GOVERNANCE = "nova.governance.run_governance_task"

Watch = Callable[..., None]


@pytest.fixture
def watch(
    worker_environment: dict[str, str], watch_file: Callable[..., Path], fleet: list[str]
) -> Watch:
    """Let workers that start from now on watch what these sections say."""

    def watch(**sections: Any) -> None:
        worker_environment["NOVA_GOVERNANCE_WATCH"] = str(watch_file(**sections))
        worker_environment["NOVA_LEASE_SECONDS"] = "3"

    return watch


@pytest.fixture
def app(settings: Settings) -> Celery:
    """Publishes tasks and knows their results."""
    return Celery(broker=settings.redis_dsn, backend=settings.redis_dsn, set_as_current=False)


@contextmanager
def worker_of(
    environment: dict[str, str], client: redis.Redis, log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker in a process group of its own, which is killed as a whole when it is done."""
    name = f"worker{time.monotonic_ns()}@test"
    command = [CELERY, "-A", "nova.celery_app", "worker", "--concurrency=1", f"--hostname={name}"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: name in [w.name for w in read_workers(client)], log.read_text)
        yield process
    finally:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a worker and its children, as a host that loses its power does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def trigger(app: Celery) -> "AsyncResult[Any]":
    return app.send_task(GOVERNANCE, task_id=RUN_ID, queue="governance")


def target(url: str) -> dict[str, Any]:
    return {"targets": [{"name": "ops", "kind": "webhook", "url": url}]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_run_notifies_each_target_once_of_all_there_is_to_tell(
    watch: Watch, hook: Hook, app: Celery, client: redis.Redis, request: pytest.FixtureRequest
) -> None:
    hook.answers["/health"] = (404, b"")
    chat = {"name": "chat", "kind": "slack", "url": hook.url("/chat")}
    ops = {"name": "ops", "kind": "webhook", "url": hook.url("/ops")}
    tool = {"name": "thumbs", "url": hook.url("/health"), "expected_latency_ms": 1000}
    watch(tools=[tool], notify={"targets": [ops, chat]})
    request.getfixturevalue("worker")
    result = trigger(app).get(timeout=30)
    report: Report = get_report(client, RUN_ID)
    [first, second] = report.notifications
    assert (first.target, first.kind, first.task_id) == ("ops", "webhook", NOTIFICATION_ID)
    assert (second.target, second.about) == ("chat", ["flags", "tools"])
    assert result["notifications"] == [first.task_id, second.task_id]
    answers = [app.AsyncResult(note.task_id).get(timeout=30) for note in report.notifications]
    assert [answer["message"] for answer in answers] == ["sent to 127.0.0.1"] * 2
    assert sorted(hook.keys) == sorted(result["notifications"])
    bodies = {headers["Idempotency-Key"]: json.loads(body) for headers, body in hook.posted}
    body = bodies[NOTIFICATION_ID]
    assert body["report_id"] == RUN_ID
    assert body["counts"]["promote"] == report.counts.promote > 0
    assert body["channels"][0]["channel"] == report.top[0].channel
    assert body["tools"][0]["problems"] == ["answers 404 Not Found"]
    assert "tool thumbs: answers 404 Not Found" in bodies[second.task_id]["text"]


def test_a_run_with_nothing_to_tell_notifies_nobody(
    watch: Watch, hook: Hook, app: Celery, client: redis.Redis, request: pytest.FixtureRequest
) -> None:
    watch(notify={"about": ["tools", "versions"], **target(hook.url())})
    request.getfixturevalue("worker")
    assert trigger(app).get(timeout=30)["notifications"] == []
    assert get_report(client, RUN_ID).notifications == []
    assert client.llen("governance") == 0


def test_workers_killed_while_they_check_and_while_they_send_leave_one_notification(
    watch: Watch,
    hook: Hook,
    app: Celery,
    client: redis.Redis,
    worker_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """The run starts twice and commits once; its notification is sent until somebody takes it.

    The second worker dies after the commit and before the target has answered: nobody knows
    whether it was sent, so it is sent again, and its key says that it is the same.
    """
    tool = {"name": "thumbs", "url": hook.url("/health"), "expected_latency_ms": 30_000}
    watch(tools=[tool], notify=target(hook.url("/ops")))
    log = tmp_path / "workers.log"
    hook.stuck = {"/health"}
    trigger(app)
    with worker_of(worker_environment, client, log) as worker:
        wait_until(lambda: hook.asked == ["/health"], log.read_text)
        kill(worker)
    assert list_reports(client).total == 0
    hook.let_go()
    hook.stuck = {"/ops"}
    with worker_of(worker_environment, client, log) as worker:
        wait_until(lambda: hook.keys, log.read_text)
        kill(worker)
    assert [note.task_id for note in get_report(client, RUN_ID).notifications] == [NOTIFICATION_ID]
    hook.let_go()
    assert hook.answered == []
    with worker_of(worker_environment, client, log):
        answer = app.AsyncResult(NOTIFICATION_ID).get(timeout=30)
    assert answer["message"] == "sent to 127.0.0.1"
    assert hook.keys == [NOTIFICATION_ID, NOTIFICATION_ID]
    assert hook.answered == [NOTIFICATION_ID]
    assert list_reports(client).total == 1


def test_a_target_that_is_away_is_tried_again_and_the_run_is_done(
    watch: Watch, app: Celery, client: redis.Redis, request: pytest.FixtureRequest
) -> None:
    port = free_port()
    watch(notify=target(f"http://127.0.0.1:{port}/"))
    request.getfixturevalue("worker")
    run = trigger(app)
    assert run.get(timeout=30)["report_id"] == RUN_ID
    sending = app.AsyncResult(NOTIFICATION_ID)
    wait_until(lambda: sending.state == states.RETRY)
    assert "notification target ops: cannot be reached" in str(sending.result)
    with serve_hook(port) as hook:
        assert sending.get(timeout=60)["message"] == "sent to 127.0.0.1"
        assert hook.keys == [NOTIFICATION_ID]
    assert run.state == states.SUCCESS


def test_a_target_that_refuses_fails_its_task_and_not_the_run(
    watch: Watch, hook: Hook, app: Celery, request: pytest.FixtureRequest
) -> None:
    hook.answers["/gone"] = (410, b"")
    watch(notify=target(hook.url("/gone")))
    request.getfixturevalue("worker")
    assert trigger(app).get(timeout=30)["report_id"] == RUN_ID
    sending = app.AsyncResult(NOTIFICATION_ID)
    wait_until(lambda: sending.state in states.READY_STATES)
    assert sending.state == states.FAILURE
    assert "notification target ops: answers 410 Gone" in str(sending.result)
    assert len(hook.posted) == 1


def test_a_target_that_asks_for_time_gets_it(
    watch: Watch, hook: Hook, app: Celery, request: pytest.FixtureRequest
) -> None:
    """Its word counts in place of Nova's own pauses: the first would be of up to 5 seconds."""
    hook.answers["/busy"] = (503, b"")
    hook.headers["Retry-After"] = "7"
    watch(notify=target(hook.url("/busy")))
    request.getfixturevalue("worker")
    trigger(app)
    wait_until(lambda: hook.answered)
    hook.answers["/busy"] = (200, b"")
    assert app.AsyncResult(NOTIFICATION_ID).get(timeout=60)["target"] == "ops"
    assert hook.posted_at[1] - hook.posted_at[0] > 6.5
