"""What a worker counts, and that Redis adds it once."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from nova.runtime import handover
from nova.runtime.counts import SUM, Counts, of_worker
from nova.runtime.handover import Handover, HandoverThread
from nova.runtime.totals import read_key, read_totals, write_key
from nova.store import Keys, connect
from tests.conftest import wait_until

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
TASK, QUEUE, WORKER = "nova.trends.scan", "trends", "trends@host"


def count_some(counts: Counts) -> None:
    """Count a task that ran for 2 s after it had waited for 20 ms."""
    for event in ("received", "started", "succeeded"):
        counts.event(event, TASK, QUEUE)
    counts.wait(QUEUE, 0.02)
    counts.runtime(TASK, "succeeded", 2.0)


@pytest.fixture
def counts() -> Counts:
    """Counts of a process of its own."""
    return Counts()


@pytest.fixture
def sender(client: Client, counts: Counts) -> Handover:
    """Sends them to the private server."""
    return Handover(client, counts, WORKER)


class LostAnswers:
    """Lets Redis do what it is asked, and loses the answer."""

    def __init__(self, sender: Handover, monkeypatch: pytest.MonkeyPatch) -> None:
        script = sender._script

        def lose(**call: Any) -> None:
            script(**call)
            raise redis.TimeoutError

        monkeypatch.setattr(sender, "_script", lose)


def test_times_are_counted_in_the_first_bucket_that_holds_them(counts: Counts) -> None:
    counts.runtime(TASK, "failed", 0.01)
    counts.runtime(TASK, "failed", 0.0100001)
    counts.runtime(TASK, "failed", 10_000)
    assert counts.totals() == {
        ("runtime", TASK, "failed", "0.01"): 1,
        ("runtime", TASK, "failed", "0.05"): 1,
        ("runtime", TASK, "failed", "+Inf"): 1,
        ("runtime", TASK, "failed", SUM): 10_000_020_000,
    }


def test_a_batch_stays_the_same_until_it_is_confirmed(counts: Counts) -> None:
    """What is counted meanwhile goes with the next one, and the totals know of all."""
    counts.event("received", TASK, QUEUE)
    first = counts.batch()
    counts.event("received", TASK, QUEUE)
    assert counts.batch() is first
    assert counts.totals()["received", TASK, QUEUE] == 2
    assert counts.confirm()
    second = counts.batch()
    assert (first.number, second.number) == (1, 2)
    assert first.counts == second.counts == {("received", TASK, QUEUE): 1}
    assert not counts.confirm()
    assert counts.totals()["received", TASK, QUEUE] == 2


def test_what_is_announced_is_zero_and_not_absent(counts: Counts) -> None:
    counts.announce(TASK, QUEUE, ["received"])
    counts.batch()
    counts.confirm()
    assert dict(counts.totals()) == {("received", TASK, QUEUE): 0}


def test_a_worker_has_events_and_waits_by_queue(counts: Counts) -> None:
    count_some(counts)
    counts.event("failed", TASK, QUEUE, "ValueError")
    counts.event("failed", "nova.trends.other", QUEUE, "KeyError")
    own = of_worker(counts.totals())
    assert own == {
        ("received", QUEUE): 1,
        ("started", QUEUE): 1,
        ("succeeded", QUEUE): 1,
        ("failed", QUEUE): 2,
        ("wait", QUEUE, "0.025"): 1,
        ("wait", QUEUE, SUM): 20_000,
    }


def test_a_key_is_read_as_it_was_written() -> None:
    assert read_key(write_key(("failed", TASK, QUEUE, "a|b"))) == ("failed", TASK, QUEUE, "a/b")


def test_the_totals_are_what_was_counted(client: Client, counts: Counts, sender: Handover) -> None:
    count_some(counts)
    sender.send()
    count_some(counts)
    sender.send()
    totals = read_totals(client)
    assert totals.fleet == counts.totals()
    assert totals.workers == {WORKER: of_worker(counts.totals())}


def test_a_batch_whose_answer_was_lost_is_added_once(
    client: Client, counts: Counts, sender: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_some(counts)
    with monkeypatch.context() as patch:
        LostAnswers(sender, patch)
        for _ in range(2):
            with pytest.raises(redis.TimeoutError):
                sender.send()
    count_some(counts)
    sender.send()
    assert read_totals(client).fleet == counts.totals()
    assert read_totals(client).fleet["received", TASK, QUEUE] == 2


def test_two_processes_with_one_name_are_told_apart(client: Client, counts: Counts) -> None:
    """A worker that hangs while its successor runs; each sends its first batch, again."""
    other = Counts()
    for own in (counts, other):
        own.event("received", TASK, QUEUE)
        batch = own.batch()
        Handover(client, own, WORKER).send()
        own._batch = batch
        Handover(client, own, WORKER).send()
    assert read_totals(client).fleet["received", TASK, QUEUE] == 2
    assert read_totals(client).workers[WORKER]["received", QUEUE] == 2


def test_a_full_redis_takes_all_of_it_later(
    client: Client, counts: Counts, sender: Handover
) -> None:
    count_some(counts)
    sender.send()
    count_some(counts)
    client.config_set("maxmemory", "1")
    try:
        for _ in range(2):
            with pytest.raises(ResponseError, match="used memory"):
                sender.send()
        assert read_totals(client).fleet["received", TASK, QUEUE] == 1
    finally:
        client.config_set("maxmemory", "0")
    count_some(counts)
    sender.send()
    assert read_totals(client).fleet == counts.totals()


def test_exceptions_have_names_until_there_are_too_many(
    client: Client, counts: Counts, sender: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "MOST_FIELDS", 3)
    for number in range(10):
        counts.event("failed", TASK, QUEUE, f"Error{number}")
    counts.event("started", TASK, QUEUE)
    sender.send()
    fleet = read_totals(client).fleet
    failed = {key[3]: amount for key, amount in fleet.items() if key[0] == "failed"}
    assert failed == {"Error0": 1, "Error1": 1, "Error2": 1, "other": 7}
    assert fleet["started", TASK, QUEUE] == 1


def test_there_are_no_more_workers_than_allowed_and_the_fleet_loses_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "MOST_WORKERS", 2)
    for number in range(4):
        counts = Counts()
        counts.event("received", TASK, QUEUE)
        Handover(client, counts, f"w{number}@host").send()
    totals = read_totals(client)
    assert sorted(totals.workers) == ["w2@host", "w3@host"]
    assert not client.exists(Keys.worker_counts("w0@host"))
    assert totals.fleet["received", TASK, QUEUE] == 4


def test_a_worker_that_has_gone_is_forgotten_and_the_fleet_loses_nothing(
    client: Client, counts: Counts, sender: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_some(counts)
    with monkeypatch.context() as patch:
        patch.setattr(handover, "WORKER_EXPIRES_SECONDS", 1)
        sender.send()
    wait_until(lambda: not client.exists(Keys.worker_counts(WORKER)))
    assert read_totals(client).workers == {}
    monkeypatch.setattr(handover, "WORKER_EXPIRES_SECONDS", 1)
    other = Counts()
    Handover(client, other, "other@host").send()
    assert client.zrange(Keys.COUNTING_WORKERS, 0, -1) == [b"other@host"]
    assert read_totals(client).fleet == counts.totals()


def test_a_thread_that_stops_hands_over_what_is_left(
    client: Client, counts: Counts, sender: Handover
) -> None:
    thread = HandoverThread(sender, interval_seconds=3600)
    thread.start()
    wait_until(lambda: client.exists(Keys.COUNTING_WORKERS))
    count_some(counts)
    thread.stop()
    assert not thread.is_alive()
    assert read_totals(client).fleet == counts.totals()


def test_a_thread_goes_on_when_redis_does_not_answer(
    counts: Counts, make_settings: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, and keeps the counts."""
    nobody = connect(make_settings(REDIS_URL="redis://127.0.0.1:1/0"))
    thread = HandoverThread(Handover(nobody, counts, WORKER), interval_seconds=0.01)
    count_some(counts)
    thread.start()
    wait_until(lambda: caplog.messages)
    thread.stop()
    assert not thread.is_alive()
    assert len(caplog.messages) == 1
    assert counts.totals()["received", TASK, QUEUE] == 1
    assert counts.is_waiting
