"""The pool's children end as soon as they may, and not before."""

import multiprocessing
import time
from types import SimpleNamespace
from typing import Any

import billiard.pool
import pytest
from celery.concurrency import asynpool
from kombu.asynchronous import Hub
from kombu.asynchronous.timer import Timer

from nova.runtime import pool


def child(counter: Any) -> Any:
    """A child of which the main process has read `counter` results; none without a counter."""
    worker = object.__new__(pool.Worker)
    worker.on_ready_counter = counter
    return worker


def test_billiard_still_asks_the_method_that_is_overridden() -> None:
    """Otherwise children would be slow again, and nobody would notice."""
    assert "_ensure_messages_consumed" in vars(billiard.pool.Worker)
    assert pool.TaskPool.Pool.Worker is pool.Worker


def test_celery_still_asks_the_methods_that_are_overridden() -> None:
    for name in (
        "_event_process_exit",
        "on_partial_read",
        "process_flush_queues",
        "register_with_event_loop",
    ):
        assert name in vars(asynpool.AsynPool)


def test_a_child_that_ends_is_waited_for_before_the_pool_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pipe closes first. A pool that looks too early has no successor for five seconds."""
    ending = SimpleNamespace(exitcode=None)
    ending.join = lambda seconds: vars(ending).update(exitcode=0)
    looks = []
    monkeypatch.setattr(
        asynpool.AsynPool,
        "_event_process_exit",
        lambda self, hub, proc: looks.append(proc.exitcode),
    )
    object.__new__(pool.AsynPool)._event_process_exit(None, ending)
    assert looks == [0]


def test_a_child_ends_when_its_results_are_read() -> None:
    assert child(SimpleNamespace(value=3))._ensure_messages_consumed(3) is True


def test_a_child_waits_for_its_last_result(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = SimpleNamespace(value=1)

    def read_one_more(seconds: float) -> None:
        counter.value += 1

    monkeypatch.setattr(time, "sleep", read_one_more)
    assert child(counter)._ensure_messages_consumed(3) is True
    assert counter.value == 3


def test_a_child_gives_up_when_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GIVE_UP_SECONDS", 0.0)
    assert child(SimpleNamespace(value=0))._ensure_messages_consumed(1) is False
    assert child(None)._ensure_messages_consumed(1) is False


@pytest.mark.parametrize(
    ("exitcode", "left", "closed", "read"),
    [
        pytest.param(0, False, False, False, id="ended, all is read"),
        pytest.param(-9, False, True, False, id="killed, the pipe was closed already"),
        pytest.param(0, True, False, True, id="ended, a result is left"),
        pytest.param(None, False, False, True, id="not ended"),
    ],
)
def test_the_pool_reads_what_an_ended_child_left_and_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch, exitcode: int | None, left: bool, closed: bool, read: bool
) -> None:
    """Celery's own way of reading, which waits for more, is asked where something may come."""
    asked = []
    monkeypatch.setattr(asynpool.AsynPool, "process_flush_queues", lambda self, p: asked.append(p))
    reader, writer = multiprocessing.Pipe(duplex=False)
    if left:
        writer.send("result")
    if closed:
        reader.close()
    proc = SimpleNamespace(exitcode=exitcode, outq=SimpleNamespace(_reader=reader))
    object.__new__(pool.AsynPool).process_flush_queues(proc)
    assert bool(asked) is read


def test_timers_of_tasks_that_ended_are_forgotten_and_the_others_are_not() -> None:
    timer, fired = Timer(), list[float]()
    ended = [timer.call_after(3600, fired.append, (n,)) for n in range(100)]
    late, early = (timer.call_after(seconds, fired.append, (seconds,)) for seconds in (0.02, 0.01))
    for entry in ended:
        entry.cancel()
    pool.forget_cancelled(timer)
    assert [scheduled.entry for scheduled in timer.queue] == [early, late]


def test_the_pool_forgets_timers_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look is registered with the event loop, with the loop's own timer."""
    monkeypatch.setattr(asynpool.AsynPool, "register_with_event_loop", lambda self, hub: None)
    hub = Hub()
    object.__new__(pool.AsynPool).register_with_event_loop(hub)
    ended = hub.timer.call_after(3600, print)
    ended.cancel()
    hub.timer._queue[0].entry()
    assert ended not in [scheduled.entry for scheduled in hub.timer.queue]
