"""The task on a real worker: triggered and read by commands."""

import json
import subprocess
import sys
from datetime import date
from typing import Any

import psutil
import pytest
import redis

from nova.maintenance.keys import Kind
from nova.maintenance.models import MaintenanceReport
from nova.maintenance.reports import STORE
from nova.runtime.heartbeat import read_workers
from nova.store import Keys
from tests.conftest import wait_until
from tests.integration.maintenance.conftest import LetIdle, StoreDay, removed


def nova(environment: dict[str, str], *arguments: str) -> str:
    """Run a command in a process of its own; return what it prints."""
    command = [sys.executable, "-m", "nova", *arguments]
    environment = environment | {"COLUMNS": "120"}
    return subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def trigger(environment: dict[str, str], *options: str) -> dict[str, Any]:
    """Run `nova trigger maintenance --wait`; return its answer."""
    text = nova(environment, "trigger", "maintenance", "--wait", "--json", *options)
    answer: dict[str, Any] = json.loads(text)
    return answer


def test_a_dry_run_and_a_run_from_the_command_line(
    worker_environment: dict[str, str],
    client: redis.Redis,
    let_idle: LetIdle,
    store_day: StoreDay,
    request: pytest.FixtureRequest,
) -> None:
    """The days go through the ledger of a real claim; the run, its note and result stay."""
    worker_environment["NOVA_METRIC_RETENTION_DAYS"] = "1"
    request.getfixturevalue("worker")
    store_day(date(2026, 3, 1))
    store_day(date(2026, 3, 2))
    client.set(Keys.result("old"), "{}")
    let_idle(Keys.result("old"), hours=30)

    dry = trigger(worker_environment, "--max-age-hours", "24", "--dry-run")
    assert dry["result"]["message"].startswith("would remove 3 (")
    assert client.exists(Keys.result("old"), Keys.metric_day(date(2026, 3, 1))) == 2

    done = trigger(worker_environment, "--max-age-hours", "24")
    assert done["result"]["report_id"] == done["task_id"]
    report: MaintenanceReport = STORE.get(client, done["task_id"])
    assert removed(report) == {Kind.RESULTS: 1, Kind.CHANNEL_DAYS: 1, Kind.VIDEO_DAYS: 1}
    assert client.zrange(Keys.METRIC_DAYS, 0, -1) == [b"2026-03-02"]
    run = client.hgetall(Keys.issued_task(done["task_id"]))
    assert b"slice:day 2026-03-01" in run
    assert b"done" in run
    assert client.exists(Keys.result(done["task_id"])) == 1

    shown = nova(worker_environment, "report", "show", done["task_id"])
    assert "removed 3 (" in shown
    assert "Memory of workers" in shown
    listed = nova(worker_environment, "report", "list", "--domain", "maintenance")
    assert "2 of 2" in listed


def test_the_report_shows_the_memory_of_each_process_of_each_worker(
    worker: "subprocess.Popen[bytes]", process_environment: dict[str, str], client: redis.Redis
) -> None:
    def children() -> list[int]:
        return read_workers(client)[0].child_memory_bytes

    wait_until(lambda: len(children()) == 2)
    answer = trigger(process_environment)
    [held] = STORE.get(client, answer["task_id"]).workers
    assert held.worker == read_workers(client)[0].name
    assert held.main_bytes is not None
    for size in (held.main_bytes, *held.child_bytes):
        assert 10_000_000 < size < 1_000_000_000
    assert len(held.child_bytes) == 2
    assert held.child_bytes == sorted(held.child_bytes, reverse=True)


def test_a_process_that_grew_over_the_limit_is_replaced_after_its_task(
    worker_environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    """Each process of Nova holds more than the least limit that may be set."""
    worker_environment["NOVA_WORKER_MEMORY_LIMIT_MB"] = "16"
    worker = request.getfixturevalue("worker")

    def children() -> set[int]:
        return {child.pid for child in psutil.Process(worker.pid).children()}

    wait_until(lambda: len(children()) == 2)
    before = children()
    trigger(worker_environment)
    wait_until(lambda: len(children()) == 2 and len(children() - before) == 1)
    assert trigger(worker_environment)["result"]["removed"]["count"] == 0, "the next one works"
