"""A child is never born in the middle of a call of a thread, with a lock that nobody will open."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from nova.runtime import drain, forking, handover, leases, watchdog
from nova.runtime.claims import ClaimCalls, Claims
from nova.runtime.forking import GATE, ForkGate, no_fork
from nova.runtime.holdings import Holdings
from nova.settings import Settings
from scripts.local.redis_server import free_port

#: Seconds after which a child that does not end is taken for one that hangs.
HANG_SECONDS = 10


def child_ends(work: Callable[[], object]) -> bool:
    """Fork, let the child do the work; tell whether it came to its end, and a good one."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANG_SECONDS)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return status == 0


@contextmanager
def thread_running(work: Callable[[threading.Event], None]) -> Iterator[threading.Event]:
    """Run a thread, which is given an event that tells it to end."""
    end = threading.Event()
    thread = threading.Thread(target=work, args=(end,), daemon=True)
    thread.start()
    try:
        yield end
    finally:
        end.set()
        thread.join(HANG_SECONDS)
        assert not thread.is_alive()


def test_a_child_finds_no_lock_shut_that_a_thread_held_in_a_call() -> None:
    lock, is_inside = threading.Lock(), threading.Event()

    def call(end: threading.Event) -> None:
        with no_fork(), lock:
            is_inside.set()
            end.wait(0.2)

    with thread_running(call):
        assert is_inside.wait(HANG_SECONDS)
        assert child_ends(lambda: lock.acquire(timeout=1) or os._exit(2))


def test_children_can_speak_tls_that_were_born_while_a_thread_first_did() -> None:
    """The case that was seen: OpenSSL has locks of its own, and a child hung in one of them.

    Without the gate some of twenty children hang, in five of six runs.
    """
    program = [sys.executable, "-m", "tests.unit.runtime.first_tls"]
    result = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    children, hung = map(int, result.stdout.split())
    assert children >= 1
    assert hung == 0


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits for a server that froze holds no lock; its child is whole all the same."""
    monkeypatch.setattr(forking, "PATIENCE_SECONDS", 0.2)
    is_inside = threading.Event()

    def call(end: threading.Event) -> None:
        with no_fork():
            is_inside.set()
            end.wait(HANG_SECONDS)

    def use_gate() -> None:
        assert GATE.calls == 0
        with no_fork():
            pass
        assert child_ends(lambda: None)

    with thread_running(call):
        assert is_inside.wait(HANG_SECONDS)
        start = time.monotonic()
        assert child_ends(use_gate)
        assert 0.2 <= time.monotonic() - start < HANG_SECONDS
        with no_fork():
            assert GATE.calls == 2
    assert GATE.calls == 0


def test_threads_that_call_all_the_time_let_a_fork_through() -> None:
    """Their calls overlap, so that one is always under way; new ones wait for the fork."""
    gate = ForkGate()

    def call(end: threading.Event) -> None:
        while not end.is_set():
            with gate.no_fork():
                time.sleep(0.01)

    with thread_running(call), thread_running(call), thread_running(call):
        for _ in range(20):
            gate.before_fork()
            assert gate.calls == 0
            time.sleep(0.02)
            assert gate.calls == 0
            gate.after_fork()


def test_a_call_that_fails_is_over() -> None:
    gate = ForkGate()
    with pytest.raises(OSError, match="gone"), gate.no_fork():
        raise OSError("gone")
    assert gate.calls == 0


# --- What each thread of a worker does, it does in a call


class Ended(Exception):  # noqa: N818  # no error
    """Ends what would go on for ever."""


class Seen:
    """Stands in for what a thread calls; notes whether a fork could have happened meanwhile."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.calls.append(GATE.calls)
        return []

    def wait(self) -> None:
        """Wait for the first call, and check that none was outside."""
        deadline = time.monotonic() + HANG_SECONDS
        while not self.calls:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert 0 not in self.calls


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_leases_are_renewed_in_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Seen(), Seen(), Seen()]
    monkeypatch.setattr(Claims, "renew", parts[0])
    monkeypatch.setattr(Claims, "sweep", parts[1])
    monkeypatch.setattr(leases, "tell_failures", parts[2])
    client: Any = SimpleNamespace(register_script=None)
    thread = leases.LeaseThread(SimpleNamespace(), client, Holdings(), ClaimCalls())
    thread.start()
    for part in parts:
        part.wait()
    thread.stop()
    assert not thread.is_alive()


def test_counts_are_handed_over_in_a_call(seen: Seen) -> None:
    sender: Any = SimpleNamespace(send=seen)
    thread = handover.HandoverThread(sender)
    thread.start()
    seen.wait()
    thread.stop()
    assert not thread.is_alive()


def test_systemd_is_told_in_a_call(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the wait until the next time is in none."""

    def sleep(_seconds: float) -> None:
        assert GATE.calls == 0
        raise Ended

    monkeypatch.setattr(watchdog, "notify", seen)
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(Ended):
        watchdog.Watchdog(60, is_blind=True).run()
    assert seen.calls == [1]


def test_a_stop_is_told_in_a_call(
    seen: Seen, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced = Seen()

    def force() -> None:
        forced()
        raise Ended

    monkeypatch.setattr(drain, "notify", seen)
    monkeypatch.setattr(drain, "STUCK_SECONDS", -3600)
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=["governance"]))
    thread = drain.Drain(SimpleNamespace(app=SimpleNamespace(amqp=amqp)), Holdings(), settings)
    monkeypatch.setattr(thread, "_force", force)
    thread.on_signal(signal.SIGTERM)
    with pytest.raises(Ended):
        thread.run()
    assert (seen.calls, forced.calls) == ([1, 1], [1])


def test_metrics_are_shown_in_a_call(
    seen: Seen, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Collector:
        def __init__(self, *_: Any) -> None:
            self.collect = seen

    monkeypatch.setattr(handover, "WorkerCollector", Collector)
    port = free_port()
    handover.serve(make_settings(NOVA_WORKER_METRICS_PORT=str(port)), "w")
    seen.calls.clear()  # a registry collects once to learn the names
    with ThreadPoolExecutor() as pool:
        url = f"http://127.0.0.1:{port}/metrics"
        pool.submit(lambda: urllib.request.urlopen(url).read()).result(HANG_SECONDS)
    seen.wait()
