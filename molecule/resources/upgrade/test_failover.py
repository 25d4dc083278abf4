"""A group loses its primary under load: no task is lost, and none has its effect twice.

For scenario `ha`. The lost server comes back as who it was before the others elected another.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from testinfra.host import Host

from scripts.lab.outages import answers, cut_off, frozen, killed

#: While there is no primary the API may say: not now. A request that it was answering when its host
#: was cut off gets no answer, or the frontend's.
ANSWERS = frozenset({"200", "502", "503", "504", "ReadTimeout"})
LEADS = "timeout 5 nova-redis-cli role | grep --quiet master"
WORKS = "timeout 5 nova-redis-cli ping | grep --quiet PONG"


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
    """Another takes over; tasks are published and requests answered before the lost one is back."""
    name = primary.backend.host
    others = [host for other, host in fleet.hosts("redis").items() if other != name]
    publisher = next(host for other, host in fleet.hosts("workers").items() if other != name)
    with under_load(publisher, ANSWERS) as load:
        wait_until(lambda: len(load.tasks.confirmed()) > 50, "the load has begun")
        with outage(primary):
            wait_until(lambda: not answers(primary, WORKS), "it is lost")
            wait_until(
                lambda: any(answers(host, LEADS) for host in others), "another leads", seconds=120
            )
            published, answered = len(load.tasks.confirmed()), load.requests.answers["200"]
            wait_until(
                lambda: (
                    len(load.tasks.confirmed()) > published + 50
                    and load.requests.answers["200"] > answered + 10
                ),
                "tasks are published and requests answered again",
            )
            assert not answers(primary, WORKS), "it was back before that"
        wait_until(fleet.redis_is_whole, "the lost one is a replica", seconds=120)
    assert fleet.redis_primary().backend.host != name
