"""Workers that stop or are drained: real processes on a real Redis, with tasks in every state."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nova.store import Keys
from scripts.local.redis_server import LocalRedis
from tests.conftest import wait_until
from tests.integration.runtime.stopping import QUEUE, ROOT, Fleet, fleet_on, seconds_since

#: A stop without anything to wait for; it takes 2 s on an idle machine.
SOON = 10.0
LONG = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis of the test's own, which it may stop and freeze."""
    with LocalRedis.create(tmp_path / "redis") as redis_server:
        yield redis_server


@pytest.fixture
def fleet(
    server: LocalRedis, process_environment: dict[str, str], tmp_path: Path
) -> Iterator[Fleet]:
    """Workers on it."""
    with fleet_on(server.url, process_environment, tmp_path) as workers:
        yield workers


# --- What becomes of the tasks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_starts_nothing_twice_and_leaves_nothing(
    fleet: Fleet, number: int
) -> None:
    """The other worker does all that the stopped one had not begun; no task starts twice."""
    stopped, other = fleet.start("stopped"), fleet.start("other")
    fleet.publish(range(300), 0.02)
    wait_until(lambda: len(fleet.starts(stopped)) > 20, fleet.explain)
    stopped.send(number)
    assert stopped.stops_within(SOON), fleet.explain()
    assert fleet.held(stopped) == []
    wait_until(lambda: len(fleet.ends()) >= 300, fleet.explain)
    assert fleet.starts() == list(range(300))
    assert len(fleet.starts(stopped)) < 300
    wait_until(lambda: not fleet.held(other), fleet.explain)
    assert fleet.waiting() == 0
    # Its inboxes stay known for a day, and nothing lies in them.
    assert not fleet.client.keys("nova:inbox:*")


def test_a_task_that_runs_is_finished(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    fleet.publish([1], 3)
    fleet.wait_started([1])
    worker.send()
    assert worker.stops_within(3 + SOON), fleet.explain()
    assert fleet.ends() == [1]
    assert fleet.held() == []
    assert [run["done"].split()[1] for run in fleet.runs()] == ["acknowledged"]


def test_what_does_not_end_in_time_is_given_back_and_starts_elsewhere_at_once(
    fleet: Fleet,
) -> None:
    """The start that came to nothing does not count: the task is not to blame."""
    worker = fleet.start("worker", NOVA_DRAIN_SECONDS="2")
    fleet.publish([1, 2], LONG)
    fleet.wait_started([1, 2], worker)
    other = fleet.start("other")
    children = psutil.Process(worker.process.pid).children()
    begin = time.monotonic()
    worker.send()
    fleet.wait_started([1, 2], other)
    assert 2 <= seconds_since(begin) < 2 + 3
    assert worker.stops_within(SOON), fleet.explain()
    assert not any(child.is_running() for child in children)
    assert [run["starts"] for run in fleet.runs()] == ["1", "1"]
    assert all(run["history"].endswith("other@test\n") for run in fleet.runs())
    assert fleet.held(worker) == []


def test_what_has_not_begun_goes_back_at_once(fleet: Fleet) -> None:
    """ETA tasks and rate limited ones do not wait for the one that runs, and count no start."""
    worker = fleet.start("worker", concurrency=4)
    fleet.publish([1], LONG)
    fleet.publish([2, 3], 0, countdown=LONG)
    fleet.publish([4], 0, task="rare")
    fleet.wait_started([1, 4])
    fleet.publish([5, 6], 0, task="rare")
    wait_until(lambda: len(fleet.held(worker)) == 5, fleet.explain)
    begin = time.monotonic()
    worker.send()
    wait_until(lambda: fleet.waiting() == 4, fleet.explain)
    assert seconds_since(begin) < 2
    assert len(fleet.held(worker)) == 1
    assert sum(int(run.get("starts", 0)) for run in fleet.runs() if "done" not in run) == 1
    worker.send()
    assert worker.stops_within(SOON), fleet.explain()
    assert fleet.starts() == [1, 4]
    assert fleet.waiting() == 5


def test_what_the_pool_has_is_not_given_back_though_no_child_has_begun_it(fleet: Fleet) -> None:
    """Its child begins it in the next moment: given back, it would start twice."""
    worker = fleet.start("worker")
    children = psutil.Process(worker.process.pid).children()
    for child in children:
        child.suspend()
    fleet.publish([1, 2], 0)
    # Redis knows of a claim before the worker does: one that is still on its way would go back.
    wait_until(lambda: worker.output().count("] received") == 2, fleet.explain)
    worker.send()
    worker.wait_for("stopping: 0 tasks go back to their queues, 2 run")
    for child in children:
        child.resume()
    assert worker.stops_within(SOON), fleet.explain()
    assert fleet.ends() == [1, 2]
    assert (fleet.waiting(), fleet.held()) == (0, [])


def test_a_second_signal_ends_the_waiting(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    fleet.publish([1], LONG)
    fleet.wait_started([1])
    worker.send()
    worker.wait_for("stopping:")
    assert worker.process.poll() is None
    worker.send()
    assert worker.stops_within(SOON), fleet.explain()
    assert (fleet.waiting(), fleet.held()) == (1, [])


def test_two_signals_at_once_end_an_idle_worker(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    worker.send(signal.SIGINT)
    worker.send(signal.SIGTERM)
    assert worker.stops_within(SOON), fleet.explain()


def test_a_child_that_dies_meanwhile_is_no_reason_to_wait(fleet: Fleet) -> None:
    """Its task goes back, with the start that it had; the drain ends when the other has ended."""
    worker = fleet.start("worker")
    fleet.publish([1], LONG)
    fleet.wait_started([1])
    worker.send()
    worker.wait_for("stopping:")
    for child in psutil.Process(worker.process.pid).children():
        child.kill()
    assert worker.stops_within(SOON), fleet.explain()
    assert (fleet.waiting(), fleet.held()) == (1, [])
    assert [run["starts"] for run in fleet.runs()] == ["1"]


def test_a_cold_shutdown_gives_back_too(fleet: Fleet) -> None:
    """SIGQUIT is Celery's own."""
    worker = fleet.start("worker")
    fleet.publish([3], 0, countdown=LONG)
    wait_until(lambda: len(fleet.held()) == 1, fleet.explain)
    fleet.publish([1, 2], LONG)
    fleet.wait_started([1, 2])
    worker.send(signal.SIGQUIT)
    worker.process.wait(timeout=SOON)
    assert (fleet.waiting(), fleet.held()) == (3, [])


def test_the_solo_pool_finishes_its_task(fleet: Fleet) -> None:
    """Its task runs in the main process, which sees the signal only afterwards."""
    worker = fleet.start("worker", "--pool=solo", concurrency=1)
    fleet.publish([1], 2)
    fleet.wait_started([1])
    worker.send()
    assert worker.stops_within(2 + SOON), fleet.explain()
    assert (fleet.ends(), fleet.held()) == ([1], [])


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_pool_without_processes_gives_back_a_task_that_does_not_end(
    fleet: Fleet, pool: str
) -> None:
    """Nobody can end what runs in the main process; the process ends, and the task goes back."""
    worker = fleet.start("worker", f"--pool={pool}", concurrency=1, NOVA_DRAIN_SECONDS="1")
    fleet.publish([1], LONG)
    fleet.wait_started([1])
    worker.send()
    assert worker.stops_within(15 + SOON), fleet.explain()
    assert (fleet.waiting(), fleet.held()) == (1, [])
    assert "Unrecoverable error" not in fleet.explain()


# --- When Redis is away


def test_a_worker_that_never_reached_redis_stops_promptly(fleet: Fleet, server: LocalRedis) -> None:
    server.stop()
    worker = fleet.start("worker", ready=False)
    worker.wait_for("Cannot connect")
    begin = time.monotonic()
    worker.send()
    assert worker.stops_within(SOON), fleet.explain()
    assert seconds_since(begin) < 5


def test_an_idle_worker_that_lost_redis_stops_promptly(fleet: Fleet, server: LocalRedis) -> None:
    worker = fleet.start("worker")
    server.stop()
    worker.wait_for("Cannot connect")
    begin = time.monotonic()
    worker.send()
    assert worker.stops_within(SOON), fleet.explain()
    assert seconds_since(begin) < 5


def test_an_idle_worker_stops_though_redis_is_frozen(fleet: Fleet, server: LocalRedis) -> None:
    """Each question to Redis takes its timeout; their sum stays short."""
    worker = fleet.start("worker")
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        worker.send()
        assert worker.stops_within(20), fleet.explain()
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_a_worker_that_loses_redis_while_it_drains_claims_nothing_and_still_ends(
    fleet: Fleet, server: LocalRedis
) -> None:
    """It connects again, so that the end of its task is settled."""
    worker = fleet.start("worker")
    fleet.publish([1], 6)
    fleet.wait_started([1])
    worker.send()
    worker.wait_for("stopping:")
    server.stop()
    worker.wait_for("Cannot connect")
    server.start()
    fleet.publish([2], 0)
    assert worker.stops_within(6 + 15 + SOON), fleet.explain()
    assert (fleet.starts(), fleet.ends()) == ([1], [1])
    assert (fleet.waiting(), fleet.held()) == (1, [])


def test_what_runs_is_given_up_when_redis_stays_away(fleet: Fleet, server: LocalRedis) -> None:
    """It is waited for as long as a lease; then nobody is left, not even a child."""
    worker = fleet.start("worker", NOVA_LEASE_SECONDS="4")
    fleet.publish([1], LONG)
    fleet.wait_started([1])
    children = psutil.Process(worker.process.pid).children()
    server.stop()
    worker.wait_for("Cannot connect")
    begin = time.monotonic()
    worker.send()
    assert worker.stops_within(4 + SOON), fleet.explain()
    assert seconds_since(begin) > 1
    assert not any(child.is_running() for child in children)
    server.start()
    assert len(fleet.held(worker)) == 1  # the sweep of another worker finds it


# --- From outside


def nova(fleet: Fleet, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the nova command."""
    return subprocess.run(
        [sys.executable, "-m", "nova", *arguments],
        env=fleet.environment | {"REDIS_URL": fleet.url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def states(fleet: Fleet) -> dict[str, str]:
    """The workers and their states, as the command tells them."""
    entries = json.loads(nova(fleet, "worker", "list", "--json").stdout)
    return {entry["name"]: entry["state"] for entry in entries}


def test_a_drained_worker_finishes_takes_nothing_stays_so_and_is_resumed(fleet: Fleet) -> None:
    """Also after a restart it takes nothing, from its first moment on."""
    worker = fleet.start("worker")
    fleet.publish([1], 4)
    fleet.publish([2], 0, countdown=LONG)
    fleet.wait_started([1])

    late = nova(fleet, "worker", "drain", worker.node, "--timeout", "0")
    assert late.returncode == os.EX_TEMPFAIL
    [line] = late.stderr.splitlines()
    assert line.startswith(f"nova: {worker.node} is ")

    drained = nova(fleet, "worker", "drain", worker.node, "--json")
    assert drained.returncode == 0, drained.stderr
    assert json.loads(drained.stdout)["state"] == "drained"
    assert fleet.ends() == [1]
    assert (fleet.waiting(), fleet.held()) == (1, [])
    once_more = nova(fleet, "worker", "drain", worker.node)
    assert once_more.stdout.splitlines()[0] == f"{worker.node}: was to be drained before"

    assert worker.stops_within(0) is False
    worker.send()
    assert worker.stops_within(SOON), fleet.explain()
    assert states(fleet) == {worker.node: "drained, not online"}

    fleet.publish([3], 0)
    again = fleet.start("worker")
    wait_until(lambda: states(fleet) == {again.node: "drained"}, fleet.explain)
    assert (fleet.starts(), fleet.waiting()) == ([1], 2)

    resumed = nova(fleet, "worker", "resume", again.node)
    assert (resumed.returncode, resumed.stdout) == (0, f"{again.node}: resumed\n")
    fleet.wait_started([3])
    wait_until(lambda: fleet.waiting() == 0, fleet.explain)  # the one with the ETA is held again
    assert states(fleet) == {again.node: "working"}


def test_an_unknown_worker_is_one_line_with_the_names_that_exist(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    for command in ("drain", "resume"):
        answer = nova(fleet, "worker", command, "wroker@test")
        assert answer.returncode == 1
        assert answer.stderr == f"nova: no worker is called wroker@test; there are: {worker.node}\n"
    assert fleet.client.smembers(Keys.DRAINED) == set()


def test_a_worker_that_is_yet_to_start_is_drained_if_that_is_meant(fleet: Fleet) -> None:
    """As all are on a host where everything is stopped; a second time changes nothing."""
    name = "worker@test"
    for said in (f"{name}: drained, not online\n", f"{name}: was to be drained before\n"):
        drained = nova(fleet, "worker", "drain", "--allow-unknown", name)
        assert drained.returncode == 0, drained.stderr
        assert drained.stdout.startswith(said)
    worker = fleet.start("worker")
    assert worker.node == name
    wait_until(lambda: states(fleet) == {name: "drained"}, fleet.explain)
    for said in ("resumed", "was not drained"):
        resumed = nova(fleet, "worker", "resume", "--allow-unknown", name)
        assert (resumed.returncode, resumed.stdout) == (0, f"{name}: {said}\n")


def test_a_worker_that_is_gone_is_forgotten(fleet: Fleet) -> None:
    """Its mark, its counts and its own queue, with the binding; one that is online stays known."""
    worker = fleet.start("worker")
    own = f"{worker.node}.dq2"
    assert own in bindings(fleet)
    assert nova(fleet, "worker", "drain", worker.node).returncode == 0
    refused = nova(fleet, "worker", "forget", worker.node)
    assert (refused.returncode, refused.stderr) == (
        1,
        f"nova: {worker.node} is online; stop it first\n",
    )
    worker.send()
    assert worker.stops_within(SOON), fleet.explain()
    assert states(fleet) == {worker.node: "drained, not online"}

    fleet.client.lpush(own, "for it alone")
    refused = nova(fleet, "worker", "forget", worker.node)
    assert refused.returncode == 1
    assert f"{own}, which only {worker.node} reads, has 1 messages" in refused.stderr
    fleet.client.delete(own)

    done = nova(fleet, "worker", "forget", worker.node)
    assert (done.returncode, done.stdout) == (0, f"{worker.node}: forgotten\n"), done.stderr
    assert states(fleet) == {}
    assert own not in bindings(fleet)
    again = nova(fleet, "worker", "forget", worker.node)
    assert (again.returncode, again.stdout) == (0, f"{worker.node}: was not known\n")


def bindings(fleet: Fleet) -> str:
    """What kombu knows of the workers' own queues."""
    return str(fleet.client.smembers("_kombu.binding.C.dq2"))


def test_a_drained_worker_leaves_its_queue_to_others(fleet: Fleet) -> None:
    drained, other = fleet.start("drained"), fleet.start("other")
    assert nova(fleet, "worker", "drain", drained.node).returncode == 0
    fleet.publish(range(20), 0)
    wait_until(lambda: len(fleet.ends()) == 20, fleet.explain)
    assert fleet.starts(other) == list(range(20))
    assert fleet.client.llen(QUEUE) == 0
