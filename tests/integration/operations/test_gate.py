"""The gate against real workers: what works passes, and what does not is named."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nova
from nova.operations.gate import BUSY_SECONDS
from nova.store import Keys
from scripts.local.redis_server import LocalRedis
from tests.conftest import wait_until
from tests.integration.runtime.stopping import QUEUE, ROOT, Fleet, seconds_since

RELEASE = nova.__release__
LONG = 60.0
#: Seconds that starting the command takes at most, on a busy machine.
STARTING = 15


class Gate:
    """One run of the command."""

    def __init__(self, fleet: Fleet, *options: str, release: str = RELEASE, timeout: int = 30):
        command = [sys.executable, "-m", "nova", "gate", "--release", release, "--json"]
        began = time.monotonic()
        answer = subprocess.run(
            [*command, "--timeout", str(timeout), *options],
            cwd=ROOT,
            env=fleet.environment | {"REDIS_URL": fleet.url},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout + STARTING + 30,
        )
        self.seconds = seconds_since(began)
        self.code = answer.returncode
        self.errors = answer.stderr.splitlines()
        self.json: dict[str, Any] = json.loads(answer.stdout)
        assert self.json["passed"] is (self.code == 0) is (not self.errors), answer.stderr

    def check(self, what: str) -> dict[str, Any]:
        """Return one of its checks."""
        [found] = [check for check in self.json["checks"] if check["what"] == what]
        return dict(found)

    def failed(self) -> list[str]:
        """Return what has not passed."""
        return [check["what"] for check in self.json["checks"] if not check["passed"]]


def nothing_is_left(fleet: Fleet) -> bool:
    """Whether no health check lies anywhere, and none is held."""
    names = [*fleet.client.keys("*@test.dq2"), *fleet.client.keys("nova:inbox:*"), QUEUE]
    return not any(fleet.client.llen(name) for name in names) and not fleet.held()


def test_a_worker_that_works_passes_at_once_and_nothing_is_left(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    gate = Gate(fleet, "--worker", worker.node)
    assert gate.failed() == []
    assert [check["what"] for check in gate.json["checks"]] == [
        "heartbeat",
        "direct queue",
        f"queue {QUEUE}",
    ]
    assert gate.json["checks"][0]["part"] == f"worker {worker.node}"
    assert gate.json["release"] == RELEASE
    assert gate.json["seconds"] < 10
    wait_until(lambda: nothing_is_left(fleet), fleet.explain)


def test_each_of_several_workers_is_seen_to_claim_beside_others(fleet: Fleet) -> None:
    """Also with an other worker, larger than both, which takes what it gets."""
    fleet.start("other", concurrency=4)
    names = [fleet.start(name, concurrency=1).node for name in ("one", "two")]
    gate = Gate(fleet, *(word for name in names for word in ("--worker", name)))
    assert gate.failed() == []
    assert len(gate.json["checks"]) == 6
    wait_until(lambda: nothing_is_left(fleet), fleet.explain)


def test_a_worker_that_comes_up_meanwhile_passes(fleet: Fleet) -> None:
    """Its health check has waited for it, and is not published again and again."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(Gate, fleet, "--worker", "late@test", timeout=60)
        wait_until(lambda: fleet.client.llen("late@test.dq2"))
        assert fleet.client.llen("late@test.dq2") == 1
        fleet.start("late")
        assert running.result().failed() == []
    wait_until(lambda: nothing_is_left(fleet), fleet.explain)


def test_a_worker_of_another_release_is_named(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    gate = Gate(fleet, "--worker", worker.node, release="9.9.9", timeout=4)
    assert gate.failed() == ["heartbeat", "direct queue"]
    assert gate.errors == [
        f"worker {worker.node}: heartbeat: it runs release {RELEASE}",
        f"worker {worker.node}: direct queue: answered as release {RELEASE}",
    ]


def test_a_worker_that_froze_fails_and_its_queues_are_left_clean(fleet: Fleet) -> None:
    """It still has a heartbeat; a healthy worker beside it takes what is in the shared queue."""
    frozen, other = fleet.start("frozen"), fleet.start("other")
    frozen.send(signal.SIGSTOP)
    gate = Gate(fleet, "--worker", frozen.node, timeout=6)
    assert gate.check("heartbeat")["passed"], "the case is one with a heartbeat"
    assert gate.failed() == ["direct queue", f"queue {QUEUE}"]
    assert len(gate.errors) == 2
    assert all(line.startswith(f"worker {frozen.node}: ") for line in gate.errors)
    assert gate.seconds < 6 + STARTING
    assert nothing_is_left(fleet)
    assert Gate(fleet, "--worker", other.node).failed() == []


def test_a_worker_that_an_operator_drained_passes_and_takes_nothing(fleet: Fleet) -> None:
    """A roll leaves a drained host drained; it is no reason to take the release back."""
    worker = fleet.start("worker", concurrency=1)
    fleet.publish([1], LONG)
    fleet.wait_started([1])
    fleet.client.sadd(Keys.DRAINED, worker.node)
    wait_until(lambda: "drained: takes no more" in worker.output(), fleet.explain)
    gate = Gate(fleet, "--worker", worker.node, timeout=20)
    assert gate.failed() == []
    assert "drained on purpose" in gate.check(f"queue {QUEUE}")["detail"]
    assert not fleet.client.llen(f"{worker.node}.dq2")


def test_a_drained_worker_of_another_release_fails(fleet: Fleet) -> None:
    worker = fleet.start("worker", concurrency=1)
    fleet.client.sadd(Keys.DRAINED, worker.node)
    wait_until(lambda: "drained: takes no more" in worker.output(), fleet.explain)
    gate = Gate(fleet, "--worker", worker.node, timeout=4, release="9.9-other")
    assert "heartbeat" in gate.failed()


def test_a_busy_queue_is_proof_by_itself(fleet: Fleet) -> None:
    """The health checks wait behind a thousand tasks; that these are taken counts."""
    worker = fleet.start("worker")
    fleet.publish(range(1000), 0.2)
    fleet.wait_started([0])
    gate = Gate(fleet, "--worker", worker.node, timeout=60)
    assert gate.failed() == []
    assert "received" in gate.check(f"queue {QUEUE}")["detail"]
    waiting = [json.loads(text)["headers"]["task"] for text in fleet.client.lrange(QUEUE, 0, -1)]
    assert set(waiting) == {"nova.trends.work"}, "no health check is left behind the tasks"


def test_a_worker_whose_processes_are_all_busy_passes(fleet: Fleet) -> None:
    """It claimed what runs there; the release is not to be taken back for long tasks."""
    worker = fleet.start("worker", concurrency=1)
    fleet.publish([1], LONG)
    fleet.wait_started([1])
    wait_until(
        lambda: json.loads(fleet.client.get(Keys.worker(worker.node)))["active"] == 1,
        fleet.explain,
    )
    gate = Gate(fleet, "--worker", worker.node, timeout=60)
    assert gate.failed() == []
    assert "busy" in gate.check("direct queue")["detail"]
    assert BUSY_SECONDS <= gate.json["seconds"] < 40
    wait_until(lambda: not fleet.client.llen(QUEUE), fleet.explain)


def test_a_worker_that_is_not_there_fails(fleet: Fleet) -> None:
    gate = Gate(fleet, "--worker", "nobody@test", timeout=2)
    assert gate.errors == [
        "worker nobody@test: heartbeat: none, it is not online",
        "worker nobody@test: direct queue: no answer",
    ]
    assert not fleet.client.llen("nobody@test.dq2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gate_that_is_ended_takes_back_what_it_published(fleet: Fleet, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "nova", "gate", "--release", "1", "--worker", "nobody@test"],
        cwd=ROOT,
        env=fleet.environment | {"REDIS_URL": fleet.url},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: fleet.client.llen("nobody@test.dq2") or process.poll() is not None)
    process.send_signal(number)
    assert process.wait(30) != 0
    assert not fleet.client.llen("nobody@test.dq2")


def test_a_redis_that_froze_or_is_gone_ends_it_in_time(fleet: Fleet, server: LocalRedis) -> None:
    server.freeze()
    try:
        gate = Gate(fleet, "--worker", "worker@test", timeout=5)
    finally:
        server.resume()
    assert gate.seconds < 5 + 6 + STARTING
    assert all("Redis does not answer" in line for line in gate.errors)
    server.kill()
    gate = Gate(fleet, "--worker", "worker@test", timeout=3)
    assert all("Redis does not answer" in line for line in gate.errors)


@contextmanager
def real_api(fleet: Fleet, folder: Path) -> Iterator[str]:
    """An API process; yields its URL when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "nova", "api"],
            cwd=ROOT,
            env=fleet.environment | {"REDIS_URL": fleet.url, "NOVA_API_PORT": str(port)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_the_api_must_be_ready_as_the_release(
    fleet: Fleet, server: LocalRedis, tmp_path: Path
) -> None:
    with real_api(fleet, tmp_path) as url:
        assert Gate(fleet, "--api", url).failed() == []
        other = Gate(fleet, "--api", f"{url}/", release="9.9.9", timeout=2)
        assert other.errors == [f"api: {url}/readyz answers as release {RELEASE}"]
        server.kill()
        away = Gate(fleet, "--api", url, timeout=2)
        assert away.errors == [f"api: {url}/readyz answers 503"]
    gone = Gate(fleet, "--api", url, timeout=2)
    assert gone.errors[0].startswith(f"api: {url}/readyz does not answer")
