"""The pool's children end as soon as they may, and not before."""

import time
from types import SimpleNamespace
from typing import Any

import billiard.pool
import pytest
from celery.concurrency import asynpool

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
    for name in ("_event_process_exit", "on_partial_read"):
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
