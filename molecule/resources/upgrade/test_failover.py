"""A group loses its primary under load: no task is lost, and none has its effect twice.

For scenario `ha`. The lost server comes back as who it was before the others elected another.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from testinfra.host import Host

from scripts.lab.outages import cut_off, frozen, killed

#: While there is no primary, the API may say: not now, or that it waited in vain.
ANSWERS = frozenset({"200", "503", "504"})
LEADS = "timeout 5 nova-redis-cli role"


@pytest.fixture
def primary(fleet: Any, wait_until: Callable[..., None]) -> Host:
    """The primary of a whole group, on a host that is no frontend: requests must get through."""
    wait_until(fleet.redis_is_whole, "the group is whole", seconds=120)
    frontends = fleet.hosts("frontend")
    if fleet.redis_primary().backend.host in frontends:
        fleet.redis_primary().check_output("nova-redis-cli -p 26379 sentinel failover nova")
        wait_until(lambda: fleet.redis_primary().backend.host not in frontends, "another leads")
        wait_until(fleet.redis_is_whole, "the group is whole again", seconds=120)
    return fleet.redis_primary()


@pytest.mark.parametrize("outage", [killed, frozen, cut_off])
def test_a_lost_primary_costs_no_task(
    outage: Callable[[Host], AbstractContextManager[None]],
    primary: Host,
    fleet: Any,
    under_load: Callable[..., AbstractContextManager[Any]],
    wait_until: Callable[..., None],
) -> None:
    """Another takes over, and tasks are published before the lost one is back."""
    name = primary.backend.host
    others = [host for other, host in fleet.hosts("redis").items() if other != name]
    publisher = next(host for other, host in fleet.hosts("workers").items() if other != name)
    with under_load(publisher, ANSWERS) as tasks:
        with outage(primary):
            wait_until(
                lambda: any(host.run(LEADS).stdout.startswith("master") for host in others),
                "another takes over",
            )
            before = len(tasks.confirmed())
            wait_until(lambda: len(tasks.confirmed()) > before + 50, "tasks are published again")
        wait_until(fleet.redis_is_whole, "the lost one is a replica", seconds=120)
    assert fleet.redis_primary().backend.host != name
