"""Logs: files and journal both, and rotation that loses no line."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, TypeVar

import httpx
from testinfra.host import Host

testinfra_hosts = ["ansible://nova?sudo=true"]

ROTATE = "logrotate --force /etc/logrotate.d/nova"
# Fewer than a file keeps of its predecessors.
ROTATIONS = 4
RUNNING = "/var/lib/nova/logs.rotate"
# Publishes health checks a little at a time until a file is gone, waits for all answers, prints the
# ids.
PUBLISH = f"""
import pathlib, sys, time
from nova.celery_app import health_check
results, running = [], pathlib.Path("{RUNNING}")
while running.exists() and len(results) < 3000:
    running.with_suffix(".begun").touch()
    results += [health_check.apply_async(queue=sys.argv[1]) for _ in range(10)]
    time.sleep(0.1)
for result in results:
    result.get(timeout=60)
print(" ".join(result.id for result in results))
"""


T = TypeVar("T")


def rotate_during(
    work: Callable[[], T],
    has_begun: Callable[[], object],
    end: Callable[[], object],
    hosts: list[Host],
) -> T:
    """Rotate the logs of the hosts several times while work runs; end it, return its result."""
    with ThreadPoolExecutor() as pool:
        future: Future[T] = pool.submit(work)
        try:
            while not has_begun():
                assert not wait([future], timeout=0.2).done, "the work was over before it had begun"
            for _ in range(ROTATIONS):
                assert not wait([future], timeout=0.5).done, "the work was over too soon"
                for host in hosts:
                    host.check_output(ROTATE)
        finally:
            end()
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


def test_workers_lose_no_line_while_logs_rotate(
    fleet: Any, wait_until: Callable[..., None]
) -> None:
    """Of the tasks on one queue, each left its lines although all hosts rotated meanwhile."""
    hosts = list(fleet.hosts("workers").values())
    begun = RUNNING.replace("rotate", "begun")
    hosts[0].check_output(f"install -o nova /dev/null {RUNNING}")
    ids = rotate_during(
        lambda: fleet.run_as_nova(hosts[0], PUBLISH, "maintenance"),
        lambda: hosts[0].file(begun).exists,
        lambda: hosts[0].check_output(f"rm -f {RUNNING} {begun}"),
        hosts,
    ).split()
    assert len(ids) > 50

    def lost() -> list[str]:
        text = "\n".join(all_lines(host, "celery-worker-maintenance") for host in hosts)
        events = [f"[{task}] {event}" for task in ids for event in ("received", "succeeded")]
        return [event for event in events if event not in text]

    # A result is there before the line about it.
    wait_until(lambda: not lost(), "each task has left its lines", seconds=20)


def test_the_api_loses_no_line_while_logs_rotate(
    fleet: Any, api_url: str, wait_until: Callable[..., None]
) -> None:
    """Of the requests to the API, each left its access line although the host rotated."""
    hosts = list(fleet.hosts("api").values())
    begun, over = Event(), Event()

    def ask() -> int:
        number = 0
        with httpx.Client(base_url=api_url) as client:
            while not over.wait(0.02) and number < 3000:
                client.get(f"/healthz?probe={number}").raise_for_status()
                begun.set()
                number += 1
        return number

    count = rotate_during(ask, begun.is_set, over.set, hosts)
    assert count > 50

    def lost() -> list[int]:
        text = all_lines(hosts[0], "api")
        return [n for n in range(count) if f"/healthz?probe={n} " not in text]

    wait_until(lambda: not lost(), "each request has left its line", seconds=20)


def test_rotation_is_scheduled(host: Host) -> None:
    """logrotate runs by itself: its timer is active, and its configuration reads without error."""
    assert host.service("logrotate.timer").is_running
    assert host.run("logrotate --debug /etc/logrotate.d/nova").rc == 0
