"""Logs: files and journal both, and rotation that loses no line."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import httpx
from testinfra.host import Host

testinfra_hosts = ["ansible://nova?sudo=true"]

ROTATE = "logrotate --force /etc/logrotate.d/nova"
# Fewer than a file keeps of its predecessors.
ROTATIONS = 4
# Publishes health checks a little at a time, waits for all answers, prints the ids.
PUBLISH = """
import sys, time
from nova.celery_app import health_check
results = []
for _ in range(30):
    results += [health_check.apply_async(queue=sys.argv[1]) for _ in range(10)]
    time.sleep(0.1)
for result in results:
    result.get(timeout=60)
print(" ".join(result.id for result in results))
"""


T = TypeVar("T")


def rotate_during(work: Callable[[], T], hosts: list[Host]) -> T:
    """Rotate the logs of the hosts several times while the work runs; return its result."""
    with ThreadPoolExecutor() as pool:
        future: Future[T] = pool.submit(work)
        for _ in range(ROTATIONS):
            wait([future], timeout=0.5)
            assert not future.done(), "the work was over before the logs rotated often enough"
            for host in hosts:
                host.check_output(ROTATE)
        return future.result()


def all_lines(host: Host, name: str) -> str:
    """Return the text of a log file and of all its rotated predecessors."""
    return str(host.check_output(f"cd /var/log/nova && zcat --force {name}.log*"))


def test_each_service_writes_its_file_and_the_journal(host: Host) -> None:
    """Every unit of Nova that runs here leaves lines in its own file and in the journal."""
    units = host.check_output(
        "systemctl list-units --plain --no-legend --state=running '*.service' | cut -d' ' -f1"
    )
    files = {
        "celery-beat.service": "celery-beat",
        "nova-api.service": "api",
        "flower.service": "flower",
    }
    seen = 0
    for unit in units.split():
        if unit.startswith("celery-worker@"):
            name = "celery-worker-" + unit.removeprefix("celery-worker@").removesuffix(".service")
        elif unit in files:
            name = files[unit]
        else:
            continue
        seen += 1
        assert all_lines(host, name), unit
        assert host.check_output("journalctl --quiet --lines 1 --unit %s", unit), unit
    assert seen


def test_workers_lose_no_line_while_logs_rotate(fleet: Any) -> None:
    """Of 300 tasks on one queue, each left its lines although all hosts rotated meanwhile."""
    hosts = list(fleet.hosts("workers").values())
    ids = rotate_during(lambda: fleet.run_as_nova(hosts[0], PUBLISH, "maintenance"), hosts).split()
    assert len(ids) == 300
    text = "\n".join(all_lines(host, "celery-worker-maintenance") for host in hosts)
    for event in ("received", "succeeded"):
        missing = [task for task in ids if f"[{task}] {event}" not in text]
        assert missing == [], f"{len(missing)} lines '{event}' lost"


def test_the_api_loses_no_line_while_logs_rotate(fleet: Any, api_url: str) -> None:
    """Of 300 requests to the API, each left its access line although the host rotated."""
    hosts = list(fleet.hosts("api").values())

    def ask() -> None:
        with httpx.Client(base_url=api_url) as client:
            for number in range(300):
                client.get(f"/healthz?probe={number}").raise_for_status()
                time.sleep(0.02)

    rotate_during(ask, hosts)
    text = all_lines(hosts[0], "api")
    assert [n for n in range(300) if f"/healthz?probe={n} " not in text] == []


def test_rotation_is_scheduled(host: Host) -> None:
    """logrotate runs by itself: its timer is active, and its configuration reads without error."""
    assert host.service("logrotate.timer").is_running
    assert host.run("logrotate --debug /etc/logrotate.d/nova").rc == 0
