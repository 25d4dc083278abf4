"""What a worker says about itself, and what it reads when it does."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from nova.runtime import heartbeat
from nova.runtime.consumer import NovaConsumer
from nova.runtime.heartbeat import HeartbeatStep
from nova.runtime.holdings import Holdings
from nova.settings import Settings


class Consumer(NovaConsumer):
    """A consumer that consumes nothing."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.hostname = "worker@test"
        self.task_consumer = SimpleNamespace(queues=[])
        self.pool = SimpleNamespace(limit=1)
        self.timer = SimpleNamespace(call_repeatedly=lambda *_: None)
        self.returned = 0

    def return_waiting(self) -> int:
        """Count the calls."""
        self.returned += 1
        return 0


@pytest.fixture
def holdings(monkeypatch: pytest.MonkeyPatch) -> Holdings:
    """Those of a process of its own."""
    own = Holdings()
    monkeypatch.setattr(heartbeat, "HOLDINGS", own)
    return own


def test_until_redis_has_told_a_worker_claims_nothing(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings], holdings: Holdings
) -> None:
    """It may be a drained one that was restarted while Redis was away."""
    nobody = make_settings(REDIS_URL="redis://127.0.0.1:1/0")
    monkeypatch.setattr(heartbeat, "get_settings", lambda: nobody)
    HeartbeatStep(consumer := Consumer()).start(consumer)
    assert holdings.is_draining
    assert heartbeat._state() == "drained"


def test_a_worker_that_stops_says_so_whether_it_is_drained_or_not(holdings: Holdings) -> None:
    assert heartbeat._state() == "working"
    holdings.is_drained = True
    assert heartbeat._state() == "drained"
    holdings.is_stopping = True
    assert heartbeat._state() == "stopping"
