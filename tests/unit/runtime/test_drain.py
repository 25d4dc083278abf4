"""How long a worker waits for its running tasks, and what it does with a signal."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace

import pytest
from celery.exceptions import WorkerShutdown

from nova.queues import QUEUES
from nova.runtime import drain
from nova.runtime.claims import ClaimedMessage
from nova.runtime.drain import MARGIN_SECONDS, Drain, budget_seconds
from nova.runtime.holdings import Holdings
from nova.settings import Settings

MESSAGE = ClaimedMessage("nova:w:1:0.0", "id", "nova.trends.scan", "trends", b"{}", 1)


@pytest.mark.parametrize(
    ("queues", "longest"),
    [
        (["trends"], "trends"),
        (["trends", "analytics"], "analytics"),
        (["trends", "trends@host.dq2"], "trends"),
    ],
)
def test_the_budget_is_the_longest_hard_limit_of_the_queues(
    queues: Iterable[str], longest: str, settings: Settings
) -> None:
    assert budget_seconds(queues, settings) == QUEUES[longest].time_limit_seconds + MARGIN_SECONDS


def test_without_a_known_queue_it_is_the_longest_of_all(settings: Settings) -> None:
    limits = [queue.time_limit_seconds for queue in QUEUES.values()]
    assert budget_seconds(["unknown"], settings) == max(limits) + MARGIN_SECONDS


@pytest.mark.parametrize(("most", "budget"), [(30, 30), (0, 0), (10**6, None)])
def test_a_setting_caps_it(
    most: int, budget: int | None, make_settings: Callable[..., Settings]
) -> None:
    expected = QUEUES["trends"].time_limit_seconds + MARGIN_SECONDS if budget is None else budget
    assert budget_seconds(["trends"], make_settings(NOVA_DRAIN_SECONDS=most)) == expected


class Clock:
    """A time that the test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        """What `time.monotonic` returns."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the drain."""
    clock = Clock()
    monkeypatch.setattr(drain, "time", clock)
    return clock


@pytest.fixture
def worker() -> SimpleNamespace:
    """A worker of one queue, whose pool has no processes, and which is not connected yet."""
    queues = SimpleNamespace(consume_from={"trends": None})
    pool = SimpleNamespace(info={}, close=lambda: None)
    return SimpleNamespace(app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)), pool=pool)


def test_a_signal_while_connecting_ends_a_worker_that_holds_nothing(
    worker: SimpleNamespace, settings: Settings
) -> None:
    """At once, in the middle of a connect that may take seconds."""
    stop = Drain(worker, Holdings(), settings)
    with pytest.raises(WorkerShutdown), stop.connecting():
        stop.on_signal(15)


def test_a_signal_before_connecting_ends_it_there(
    worker: SimpleNamespace, settings: Settings
) -> None:
    stop = Drain(worker, Holdings(), settings)
    stop.on_signal(15)
    with pytest.raises(WorkerShutdown), stop.connecting():
        pytest.fail("began to connect")


def test_without_a_signal_connecting_goes_on(worker: SimpleNamespace, settings: Settings) -> None:
    stop = Drain(worker, Holdings(), settings)
    with stop.connecting():
        stop.while_connecting()


@pytest.mark.parametrize(("seconds", "ends"), [(59.0, False), (60.0, True)])
def test_what_runs_is_waited_for_as_long_as_a_lease_while_connecting(
    seconds: float, ends: bool, worker: SimpleNamespace, settings: Settings, clock: Clock
) -> None:
    holdings = Holdings()
    holdings.add(MESSAGE, has_eta=False)
    stop = Drain(worker, holdings, settings)
    has_ended = False
    try:
        with stop.connecting():
            stop.on_signal(15)
            clock.now += seconds
            stop.while_connecting()
    except WorkerShutdown:
        has_ended = True
    assert has_ended is ends
    assert [step.outcome for step in holdings.settlements()] == (["return"] if ends else [])


def test_a_second_signal_ends_the_waiting_while_connecting(
    worker: SimpleNamespace, settings: Settings, clock: Clock
) -> None:
    holdings = Holdings()
    holdings.add(MESSAGE, has_eta=False)
    stop = Drain(worker, holdings, settings)
    with stop.connecting():
        stop.on_signal(15)
        with pytest.raises(WorkerShutdown):
            stop.on_signal(2)
    assert holdings.count() == 0
