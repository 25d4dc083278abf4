"""The options of `python -m bench fleet`, and what is refused before anything runs."""

import pytest
import yaml

from bench.bench_fleet import parse
from bench.fleet_size.fleet import host_names, inventory_text
from nova.queues import QUEUES


def test_numbers_of_hosts_are_measured_in_order() -> None:
    assert parse(["--hosts", "6,1,3,1"]).hosts == [1, 3, 6]


@pytest.mark.parametrize(
    "arguments", [["--hosts", "0"], ["--hosts", "x"], ["--only", "nova,ant"], ["--rounds", "0"]]
)
def test_other_values_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)


def test_the_sides_are_measured_in_an_order_of_their_own() -> None:
    assert parse(["--only", "mitogen,baseline"]).only == ["baseline", "mitogen"]


def test_the_first_host_has_all_parts_and_every_host_workers() -> None:
    groups = yaml.safe_load(inventory_text(3))["nova"]["children"]
    assert list(groups["workers"]["hosts"]) == host_names(3) == ["bench01", "bench02", "bench03"]
    for part in ("redis", "beat", "api", "flower"):
        assert list(groups[part]["hosts"]) == ["bench01"]


def test_the_workers_serve_every_queue() -> None:
    workers = yaml.safe_load(inventory_text(1))["nova"]["vars"]["worker_instances"]
    served = [queue for worker in workers.values() for queue in worker["queues"]]
    assert sorted(served) == sorted(QUEUES)
