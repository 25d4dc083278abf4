"""The five domains on the fleet: triggered over the API, each run by a worker unit of its queue."""

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
from testinfra.host import Host

from nova.domains import DOMAINS
from scripts.fleet.work import SAMPLES, work

testinfra_hosts = ["ansible://api?sudo=true"]


def test_each_domain_runs_on_a_worker_unit_of_its_own(
    api: httpx.Client, fleet: Any, wait_until: Callable[..., None]
) -> None:
    """The work of `make fleet` gives five reports, and each task ran once, where it belongs."""
    reports = work(api, SAMPLES)
    assert {domain.name for domain, _ in reports} == set(DOMAINS)
    hosts = fleet.hosts("workers")
    for domain, report in reports:
        workers = [worker.split("@") for worker in fleet.workers()[domain.name]]
        told = [partial(ends_told, hosts[host], name, report.id) for name, host in workers]
        wait_until(lambda told=told: any(ask() for ask in told), f"{domain.name} ran on its units")
        assert sum(ask() for ask in told) == 1


def ends_told(host: Host, worker: str, task_id: str) -> int:
    """Count the lines of a worker unit's journal that say that a task succeeded."""
    journal = f"journalctl --quiet --output cat --unit celery-worker@{worker}.service"
    search = f"grep --count --fixed-strings '[{task_id}] succeeded'"
    return int(host.check_output(f"{journal} | {search} || true"))
