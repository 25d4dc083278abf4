"""A real worker on a real Redis: health check, heartbeat, notes about issued tasks, systemd."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from celery import Celery

import nova
from nova.queues import QUEUES
from nova.runtime.heartbeat import read_workers
from nova.runtime.issued import find_issued
from nova.store import Keys
from tests.conftest import CELERY, wait_until

HEALTH_CHECK = """
import json, sys
from nova.celery_app import app, health_check
result = health_check.apply_async(queue=sys.argv[1] if sys.argv[1:] else None)
print(json.dumps({"id": result.id, "result": result.get(timeout=20)}))
"""


def check_health(environment: dict[str, str], *queue: str) -> dict[str, dict[str, object]]:
    """Publish a health check from a process of its own, as the guide does, and wait for it."""
    command = [sys.executable, "-c", HEALTH_CHECK, *queue]
    answer: dict[str, dict[str, object]] = json.loads(
        subprocess.run(command, env=environment, check=True, capture_output=True).stdout
    )
    return answer


def test_the_health_check_answers_as_in_the_guide_with_release_and_worker(
    worker: "subprocess.Popen[bytes]", process_environment: dict[str, str], client: redis.Redis
) -> None:
    answer = check_health(process_environment)
    assert answer["result"] == {
        "status": "healthy",
        "worker": True,
        "release": nova.__release__,
        "worker_name": f"test@{socket.gethostname()}",
    }
    issued = find_issued(client, str(answer["id"]))
    assert issued is not None
    assert (issued.name, issued.queue) == ("nova.health_check", "maintenance")


def test_a_worker_without_queues_named_serves_all_of_them_and_its_direct_queue(
    worker: "subprocess.Popen[bytes]", process_environment: dict[str, str], client: redis.Redis
) -> None:
    name = f"test@{socket.gethostname()}"
    [heartbeat] = read_workers(client)
    assert heartbeat.name == name
    assert heartbeat.pid == worker.pid
    assert heartbeat.concurrency == 2
    assert set(heartbeat.queues) == {*QUEUES, f"{name}.dq2"}
    for queue in QUEUES:
        assert check_health(process_environment, queue)["result"]["worker_name"] == name


@pytest.mark.parametrize("countdown", [None, 600], ids=["now", "eta"])
def test_a_task_of_a_newer_release_is_kept_for_a_worker_that_knows_it(
    worker: "subprocess.Popen[bytes]",
    process_environment: dict[str, str],
    client: redis.Redis,
    redis_url: str,
    countdown: int | None,
) -> None:
    """Celery drops a message whose task it does not know; here it comes back, and counts."""
    newer = Celery("newer", broker=redis_url)
    task_id = newer.send_task("nova.trends.from_the_future", queue="trends", countdown=countdown).id
    run = Keys.issued_task(task_id)
    wait_until(lambda: client.hexists(run, "starts") and not client.hexists(run, "holder"))
    assert client.hget(run, "starts") == b"1"
    assert client.hget(run, "done") is None
    assert client.hlen(Keys.HELD) == 1
    assert check_health(process_environment)["result"]["worker"] is True


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_a_redis_that_refuses_writes_ends_no_worker_that_connects_anew(
    worker: "subprocess.Popen[bytes]",
    process_environment: dict[str, str],
    client: redis.Redis,
    tmp_path: Path,
    setting: str,
) -> None:
    """Its connections are cut while Redis is full, or short of replicas; later it works again."""
    client.config_set(setting, "1")
    try:
        client.client_kill_filter(_type="normal", skipme=True)
        log = tmp_path / "worker.log"
        wait_until(lambda: "Connection to broker lost" in log.read_text(), log.read_text)
        time.sleep(2)  # in which it connects anew
        assert worker.poll() is None, log.read_text()
    finally:
        client.config_set(setting, "0")
    assert check_health(process_environment)["result"]["worker"] is True


def test_an_id_that_was_never_issued_is_not_found(client: redis.Redis) -> None:
    assert find_issued(client, "00000000-0000-0000-0000-000000000000") is None


def test_a_stopped_worker_is_not_online_and_a_killed_one_not_for_long(
    worker: "subprocess.Popen[bytes]", client: redis.Redis
) -> None:
    """A stop removes the heartbeat; after a kill its time to live does."""
    [heartbeat] = read_workers(client)
    assert 0 < client.ttl(Keys.worker(heartbeat.name)) <= 20
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=30)
    assert read_workers(client) == []


def test_a_queue_that_nobody_defined_is_refused_when_the_worker_starts(
    process_environment: dict[str, str],
) -> None:
    command = [CELERY, "-A", "nova.celery_app", "worker", "--queues=governence"]
    process = subprocess.run(
        command, env=process_environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode != 0
    assert "governence" in process.stderr


def test_a_log_folder_that_cannot_be_written_ends_the_worker_with_one_line(
    process_environment: dict[str, str],
) -> None:
    process = subprocess.run(
        [CELERY, "-A", "nova.celery_app", "worker"],
        env=process_environment | {"NOVA_LOG_DIR": "/proc/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    assert (
        "nova: cannot write the log file /proc/nowhere/celery-worker-celery.log" in process.stderr
    )
    assert "Traceback" not in process.stderr
