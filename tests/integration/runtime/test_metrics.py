"""What /metrics shows of real workers."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from nova import metrics
from nova.queues import QUEUES
from nova.runtime.claims import STARTS_ALLOWED
from nova.runtime.deadletters import all_letters
from nova.runtime.heartbeat import read_workers
from nova.settings import Settings
from nova.store import connect
from tests.conftest import CELERY, wait_until

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any

APP = "tests.integration.runtime.counting_app"
END, ENDLESS, QUEUE = "nova.trends.end", "nova.trends.endless", "trends"
WORKER = "counting@here"
PUBLISH = f"""
import sys
from {APP} import app
for how in sys.argv[1:]:
    if how == "endless":
        app.send_task("{ENDLESS}")
    else:
        app.send_task("{END}", (how,))
"""


class Samples:
    """The samples of one rendering."""

    def __init__(self, client: Client) -> None:
        self.text = metrics.render(client).decode()
        self.values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Return one sample; fails if it is absent."""
        return self.values[name, frozenset(labels.items())]

    def task(self, event: str, task: str = END, **labels: str) -> float:
        """Return a counter of a task."""
        return self.value(f"nova_{event}_tasks_total", task=task, queue=QUEUE, **labels)

    def counters(self) -> dict[Any, float]:
        """Return all that never goes back."""
        return {
            key: value
            for key, value in self.values.items()
            if key[0].endswith(("_total", "_count", "_bucket")) and "api_request" not in key[0]
        }


@pytest.fixture
def environment(process_environment: dict[str, str]) -> dict[str, str]:
    """Environment of these workers: they find the app, and leases are short."""
    root = str(Path(__file__).resolve().parents[3])
    return process_environment | {"NOVA_LEASE_SECONDS": "3", "PYTHONPATH": root}


StartWorker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(
    client: Client, environment: dict[str, str], tmp_path: Path
) -> Iterator[StartWorker]:
    """Start a worker on the queue `trends`, and wait until it is ready; stopped at the end."""
    command = [CELERY, "-A", APP, "worker", "--queues=trends", f"--hostname={WORKER}"]
    processes: list[subprocess.Popen[bytes]] = []

    def start(**variables: str) -> "subprocess.Popen[bytes]":
        log = tmp_path / f"worker-{len(processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--concurrency=2"],
                env=environment | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        wait_until(
            lambda: (
                process.poll() is not None
                or any(worker.pid == process.pid for worker in read_workers(client))
            ),
            log.read_text,
        )
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture
def publish(environment: dict[str, str]) -> Callable[..., None]:
    """Publish tasks that end in these ways."""

    def run(*ways: str) -> None:
        subprocess.run([sys.executable, "-c", PUBLISH, *ways], env=environment, check=True)

    return run


def stop(process: "subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> None:
    """Stop a worker: it hands over what it has counted."""
    process.send_signal(number)
    process.wait(timeout=30)


def test_every_end_of_a_task_is_counted_over_lost_children_and_restarts(
    client: Client, start_worker: StartWorker, publish: Callable[..., None]
) -> None:
    """Two workers, one after the other; what the first has counted goes on with the second."""
    worker = start_worker()
    publish("works", "fails", "rejects", "ignores", "retries", "dies once", "commits", "endless")
    wait_until(lambda: Samples(client).task("succeeded") == 5, lambda: Samples(client).text)
    wait_until(lambda: Samples(client).task("hard_time_limit", ENDLESS) == 1)
    stop(worker)
    before = Samples(client)
    assert before.task("failed", exception="KeyError") == 1
    assert before.task("failed", ENDLESS, exception="TimeLimitExceeded") == 1
    for event in ("rejected", "ignored", "retried", "lost_child"):
        assert before.task(event) == 1, event
    # works, retries (again), dies once (again), commits and what it publishes
    assert before.task("started") == 5 + 1 + 1 + 1 + 1 + 1
    assert before.task("received") == before.task("started")
    # Redis gave the hour of publishing; a start after a lost child is no wait.
    assert before.value("nova_task_wait_seconds_count", queue=QUEUE) == 10
    assert before.value("nova_task_wait_seconds_sum", queue=QUEUE) < 60
    runtime = {"task": ENDLESS, "outcome": "failed"}
    assert 1 <= before.value("nova_task_runtime_seconds_sum", **runtime) < 20
    assert before.value("nova_ledger_commits_total", outcome="committed") == 1
    assert before.value("nova_outbox_messages_total", queue=QUEUE) == 1

    worker = start_worker()
    publish("works", "dies")
    wait_until(lambda: all_letters(client))
    stop(worker)
    after = Samples(client)
    assert after.task("succeeded") == before.task("succeeded") + 1
    assert after.task("lost_child") == 1 + STARTS_ALLOWED
    assert after.value("nova_dead_lettered_messages_total", queue=QUEUE) == 1
    assert after.value("nova_dead_letters", queue=QUEUE) == 1
    own = {"worker": WORKER, "host": "here", "queue": QUEUE}
    assert after.value("nova_worker_tasks_total", event="lost_child", **own) == 1 + STARTS_ALLOWED
    assert after.value("nova_worker_tasks_total", event="failed", **own) == 2
    gone_back = {k: v for k, v in before.counters().items() if after.values.get(k, -1) < v}
    assert not gone_back


def test_a_cold_shutdown_hands_over_and_a_kill_costs_one_interval_at_most(
    client: Client, start_worker: StartWorker, publish: Callable[..., None]
) -> None:
    worker = start_worker()
    publish("works")
    wait_until(lambda: client.exists("unacked") == 0 and not client.llen(QUEUE))
    stop(worker, signal.SIGQUIT)
    assert Samples(client).task("succeeded") == 1

    worker = start_worker()
    publish("works")
    wait_until(lambda: Samples(client).task("succeeded") == 2)
    stop(worker, signal.SIGKILL)
    assert Samples(client).task("succeeded") == 2


def test_a_full_redis_costs_no_count(
    client: Client, start_worker: StartWorker, publish: Callable[..., None], tmp_path: Path
) -> None:
    """The tasks run, their counts wait."""
    log = tmp_path / "worker-0.log"
    worker = start_worker()
    publish("works", "fails", "works")
    client.config_set("maxmemory", "1")
    try:
        wait_until(lambda: not client.llen(QUEUE) and not client.hlen("unacked"))
        wait_until(lambda: "it waits" in log.read_text(), log.read_text)
    finally:
        client.config_set("maxmemory", "0")
    wait_until(lambda: Samples(client).task("succeeded") == 2)
    assert Samples(client).task("failed", exception="KeyError") == 1
    assert Samples(client).task("received") == 3
    assert worker.poll() is None


def test_queues_without_traffic_are_zero_and_not_absent(client: Client) -> None:
    """Also in a fleet that has never had a worker."""
    samples = Samples(client)
    for queue in (*QUEUES, "direct"):
        for name in (
            "nova_task_wait_seconds_count",
            "nova_task_wait_seconds_sum",
            "nova_dead_lettered_messages_total",
            "nova_redelivered_messages_total",
            "nova_dead_letters",
            "nova_outbox_messages_total",
        ):
            assert samples.value(name, queue=queue) == 0, (name, queue)
    for queue in QUEUES:
        for name in ("queue_depth_tasks", "queue_oldest_task_seconds", "workers_online"):
            assert samples.value(f"nova_{name}", queue=queue) == 0
    task = {"task": "nova.governance.run_governance_task", "queue": "governance"}
    assert samples.value("nova_received_tasks_total", **task) == 0
    assert samples.value("nova_beat_up") == 0


def test_tasks_of_a_worker_are_zero_before_anything_happens(
    client: Client, start_worker: StartWorker
) -> None:
    start_worker()
    wait_until(lambda: client.exists("nova:counts"))
    samples = Samples(client)
    for event in metrics.TASK_COUNTERS.keys() - {"failed"}:
        assert samples.task(event) == 0


def test_a_waiting_task_has_an_age(client: Client, publish: Callable[..., None]) -> None:
    publish("works")
    wait_until(lambda: Samples(client).value("nova_queue_oldest_task_seconds", queue=QUEUE) > 0.2)
    assert Samples(client).value("nova_queue_depth_tasks", queue=QUEUE) == 1
    client.lpush("analysis", b"no message")
    assert Samples(client).value("nova_queue_oldest_task_seconds", queue="analysis") == 0


def test_two_hosts_show_the_same(
    client: Client,
    settings: Settings,
    start_worker: StartWorker,
    publish: Callable[..., None],
) -> None:
    """Two API processes: all but the requests that each answered itself comes from Redis."""
    stop_after = start_worker()
    publish("works", "fails")
    wait_until(lambda: Samples(client).task("succeeded") == 1)
    stop(stop_after)
    program = (
        "import sys; from nova import metrics; from nova.settings import get_settings;"
        "from nova.store import connect;"
        "sys.stdout.buffer.write(metrics.render(connect(get_settings())))"
    )
    environment = {"REDIS_URL": settings.redis_url, "PATH": ""}
    with connect(settings) as other:
        here = Samples(other)
    there = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert without_requests(here.text) == without_requests(there)
    assert f'task="{END}"' in there


def without_requests(text: str) -> list[str]:
    """Return the lines of a rendering that are not about requests or moving clocks."""
    return [line for line in text.splitlines() if not re.search("nova_api_request", line)]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_worker_shows_its_own_metrics_on_a_port_if_it_has_one(
    client: Client, start_worker: StartWorker, publish: Callable[..., None]
) -> None:
    """On loopback; its children do not keep the port."""
    port = free_port()
    worker = start_worker(NOVA_WORKER_METRICS_PORT=str(port))
    publish("works", "dies once")

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    line = f'nova_succeeded_tasks_total{{queue="{QUEUE}",task="{END}"}} 2.0'
    wait_until(lambda: line in scrape(), scrape)
    stop(worker, signal.SIGKILL)
    with socket.socket() as again:
        # What the scrapes have left may be there, a listener not.
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_port_that_is_taken_does_not_keep_a_worker_from_its_work(
    client: Client, start_worker: StartWorker, publish: Callable[..., None]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        start_worker(NOVA_WORKER_METRICS_PORT=str(taken.getsockname()[1]))
        publish("works")
        wait_until(lambda: Samples(client).task("succeeded") == 1)


def test_with_redis_away_the_answer_is_short() -> None:
    samples = Samples(redis.Redis(port=1))
    assert samples.value("nova_redis_up") == 0
    assert not [name for name, _ in samples.values if name.startswith(("nova_queue", "nova_beat"))]
