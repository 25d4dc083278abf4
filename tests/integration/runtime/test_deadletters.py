"""Dead letters on a real Redis: listing, replaying, dropping, and telling who waits."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from nova.errors import DeadLetterError, InputError, NotFoundError
from nova.metrics import render
from nova.runtime.claims import DONE_EXPIRES_SECONDS, ClaimCalls, Claims, Outcome, Owner, Settlement
from nova.runtime.deadletters import (
    BATCH,
    all_letters,
    drop,
    find_letter,
    list_letters,
    replay,
    tell_failures,
)
from nova.runtime.deliveries import read_deliveries
from nova.store import Keys
from tests.conftest import wait_until
from tests.integration.runtime.letters import bury, message

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any

NO_MESSAGES = {
    "no JSON": b"hello",
    "bytes": b"\xff\xfe\x00\x1b[2J",
    "no object": b"[1, 2]",
    "no id": b'{"headers": {}, "properties": {}}',
    "not UTF-8": message("task-1").replace(b"nova.trends", b"nova.\xe9\xff"),
}


@pytest.fixture
def app(redis_url: str) -> Celery:
    """An app whose results are on the private server."""
    return Celery(backend=redis_url)


@pytest.fixture
def claims(client: Client) -> Claims:
    """A worker."""
    return Claims(client, Owner("test@host"))


# --- Reading


def test_letters_of_all_queues_are_listed_newest_first_page_by_page(client: Client) -> None:
    buried = [bury(client, f"task-{n}", ("trends", "analysis")[n % 2]) for n in range(7)]
    newest_first = [letter.id for letter in reversed(buried)]
    pages = [list_letters(client, limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [line.id for page in pages for line in page.letters] == newest_first
    assert {page.total for page in pages} == {7}
    of_one = list_letters(client, "analysis")
    assert [line.id for line in of_one.letters] == [
        x.id for x in buried[::-1] if x.queue != "trends"
    ]
    assert of_one.total == 3
    assert list_letters(client, "governance").letters == []


def test_more_letters_than_one_answer_holds_are_found(client: Client) -> None:
    first = bury(client, "first")
    for number in range(2 * BATCH):
        bury(client, f"task-{number}")
    assert find_letter(client, first.id).task_id == "first"
    assert len({letter.id for letter in all_letters(client)}) == 2 * BATCH + 1


def test_an_unknown_id_is_not_found(client: Client) -> None:
    bury(client, "task-1")
    with pytest.raises(NotFoundError, match="nova deadletter list"):
        find_letter(client, "task-1")


def test_a_letter_says_what_happened(client: Client) -> None:
    letter = find_letter(client, bury(client, "task-1").id)
    assert (letter.task_id, letter.task, letter.queue) == ("task-1", "nova.trends.scan", "trends")
    assert letter.reason == "started 5 times and never finished"
    assert letter.arguments == "('é',) {}"
    assert [start.worker for start in letter.history] == ["trends@a"] * 5
    assert letter.message.encode() == message("task-1")


@pytest.mark.parametrize("text", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_text_that_is_no_message_can_be_listed_and_dropped_only(
    client: Client, text: bytes
) -> None:
    letter = bury(client, "", text=text)
    assert (letter.task_id, letter.reason) == ("", "not a message")
    assert [line.id for line in list_letters(client).letters] == [letter.id]
    with pytest.raises(InputError, match=f"nova deadletter drop {letter.id}"):
        replay(client, letter)
    drop(client, find_letter(client, letter.id))
    assert client.keys() == []


# --- Replaying and dropping


@pytest.mark.parametrize(
    "text",
    [
        message("task-1"),
        message("task-1", text='"\\/\x00\x1f\x7f\u2028'),
        message("task-1").replace(b"('\\u00e9',)", "('é€😀',)".encode()),
    ],
)
def test_a_replay_puts_the_message_back_unchanged(
    client: Client, claims: Claims, text: bytes
) -> None:
    client.hset(Keys.issued_task("task-1"), mapping={"starts": 5})
    letter = bury(client, "task-1", text=text)
    replay(client, letter)
    assert client.lrange("trends", 0, -1) == [text]
    assert client.exists(Keys.dead_letters("trends"), Keys.DEAD_LETTER_QUEUES) == 0
    [claimed], _ = claims.claim(["trends"])
    assert (claimed.payload, claimed.starts) == (text, 1)


def test_a_replay_clears_what_the_run_left(client: Client, app: Celery) -> None:
    letter = bury(client, "task-1")
    tell_failures(client, app)
    replay(client, letter)
    run = client.hgetall(Keys.issued_task("task-1"))
    assert run.keys() == {b"name", b"queue", b"published_at", b"queued_at"}
    assert client.ttl(Keys.issued_task("task-1")) > 0
    assert AsyncResult("task-1", app=app).state == "PENDING"


@pytest.mark.parametrize("action", [replay, drop])
def test_a_letter_is_taken_out_once(client: Client, action: Any) -> None:
    letter = bury(client, "task-1")
    other = bury(client, "task-2")
    action(client, letter)
    before = {key: client.dump(key) for key in client.scan_iter()}
    for again in (replay, drop):
        with pytest.raises(NotFoundError):
            again(client, letter)
    assert {key: client.dump(key) for key in client.scan_iter()} == before
    assert [left.id for left in all_letters(client)] == [other.id]
    assert client.smembers(Keys.DEAD_LETTER_QUEUES) == {b"trends"}


def test_no_copy_of_a_dropped_task_runs(client: Client, claims: Claims) -> None:
    drop(client, bury(client, "task-1"))
    client.lpush("trends", message("task-1"))
    claimed, [aside] = claims.claim(["trends"])
    assert (claimed, aside.kind) == ([], "done")
    assert client.ttl(Keys.issued_task("task-1")) > 0


@pytest.mark.parametrize("action", [replay, drop])
def test_a_run_that_another_copy_brought_back_goes_on(
    client: Client, claims: Claims, action: Any
) -> None:
    first, second = bury(client, "task-1"), bury(client, "task-1")
    replay(client, first)
    [claimed], _ = claims.claim(["trends"])
    action(client, second)
    assert claims.commit(claimed.token, "task-1", [["SET", "effect", "1"]]) == "committed"


@pytest.mark.parametrize("action", [replay, drop])
def test_the_result_of_a_run_that_another_copy_finished_stays(
    client: Client, claims: Claims, action: Any
) -> None:
    first, second = bury(client, "task-1"), bury(client, "task-1")
    replay(client, first)
    [claimed], _ = claims.claim(["trends"])
    client.set(Keys.result("task-1"), "its result")
    claims.settle(Settlement(claimed.token, "task-1", Outcome.DONE, "ok"))
    action(client, second)
    assert client.get(Keys.result("task-1")) == b"its result"
    if action is replay:
        assert client.ttl(Keys.issued_task("task-1")) > DONE_EXPIRES_SECONDS, "as long as it waits"
    assert claims.claim(["trends"])[0] == []


@pytest.fixture
def full_redis(client: Client) -> Iterator[Client]:
    """A server at its memory limit, once it is told so by calling `config_set`."""
    yield client
    client.config_set("maxmemory", 0)


@pytest.mark.parametrize("action", [replay, drop])
def test_letters_can_be_worked_off_when_redis_is_full(
    full_redis: Client, app: Celery, action: Any
) -> None:
    letter = bury(full_redis, "task-1")
    full_redis.config_set("maxmemory", 1)
    assert tell_failures(full_redis, app) == 1
    action(full_redis, letter)
    assert all_letters(full_redis) == []


# --- Telling


def test_whoever_waits_is_told(client: Client, app: Celery) -> None:
    """A client that waits on the result wakes up with an error that says what to do."""
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            AsyncResult("task-1", app=app).get(timeout=20)
        except Exception as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: client.pubsub_numsub(Keys.result("task-1"))[0][1])
    letter = bury(client, "task-1")
    assert tell_failures(client, app) == 1
    waiting.join()
    [error] = errors
    assert isinstance(error, DeadLetterError)
    assert "started 5 times and never finished" in str(error)
    assert f"nova deadletter show {letter.id}" in str(error)
    assert client.ttl(Keys.result("task-1")) > 0


def test_a_failure_is_told_once(client: Client, app: Celery) -> None:
    bury(client, "task-1")
    assert [tell_failures(client, app) for _ in range(2)] == [1, 0]


def test_a_success_is_not_told_to_be_a_failure(client: Client, app: Celery) -> None:
    """A task stored its success, and its worker died each time before it could acknowledge."""
    client.set(Keys.result("task-1"), '{"status": "SUCCESS", "result": 42}')
    bury(client, "task-1")
    assert tell_failures(client, app) == 0
    assert AsyncResult("task-1", app=app).state == "SUCCESS"
    assert not client.exists(Keys.UNTOLD_FAILURES)


def test_a_task_that_was_replayed_is_not_told_to_have_failed(client: Client, app: Celery) -> None:
    """Also by a worker that had looked before the replay."""
    letter = bury(client, "task-1")
    looked_at = client.hgetall(Keys.UNTOLD_FAILURES)
    replay(client, letter)
    assert tell_failures(client, app) == 0

    class LateClient:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def hgetall(self, _name: str) -> Any:
            return looked_at

    assert tell_failures(LateClient(), app) == 0  # type: ignore[arg-type]
    assert AsyncResult("task-1", app=app).state == "PENDING"


# --- Metrics


def test_letters_and_redeliveries_are_counted_with_direct_queues_as_one(
    client: Client, claims: Claims
) -> None:
    for number, queue in enumerate(("trends", "trends", "a@host.dq2", "b@host.dq2")):
        bury(client, f"task-{number}", queue)
    for number, queue in enumerate(("trends", "a@host.dq2", "b@host.dq2")):
        client.lpush(queue, message(f"other-{number}"))
        claims.claim([queue])
    found = read_deliveries(client)
    assert (found.held, found.dead_letters["trends"], found.dead_letters["direct"]) == (3, 2, 2)
    assert found.oldest_renewal_seconds < 5

    lease = ClaimCalls().lease_seconds
    for token in client.zrange(Keys.HELD_INDEX, 0, -1):
        client.zincrby(Keys.HELD_INDEX, -lease - 1, token)
    assert read_deliveries(client).oldest_renewal_seconds > lease
    client.hset(Keys.SWEEP, "seen", client.time()[0] - 1)
    assert len(claims.sweep()) == 3

    after = read_deliveries(client)
    assert (after.held, after.oldest_renewal_seconds) == (0, 0)
    assert after.redelivered | {"trends": 1, "direct": 2} == after.redelivered
    text = render(client).decode()
    assert 'nova_redelivered_messages_total{queue="direct"} 2.0' in text
    assert 'nova_dead_letters{queue="trends"} 2.0' in text
    assert 'nova_dead_letters{queue="governance"} 0.0' in text
    assert "host" not in text
    assert json.loads(found.model_dump_json()) == found.model_dump()
