"""The ledger on a real Redis: what a run commits is there once, or not at all."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery

from nova.runtime import ledger
from nova.runtime.claims import ClaimedMessage, Claims, Outcome, Owner, Settlement
from nova.runtime.ledger import TOKEN_HEADER, WORDS_LIMIT, Run, StaleRunError
from nova.runtime.messages import prepare
from nova.settings import Settings
from nova.store import Keys

TASK_ID = "11111111-2222-3333-4444-555555555555"
QUEUE = "maintenance"

Claim = Callable[[str], tuple[Claims, ClaimedMessage]]
RunOf = Callable[[ClaimedMessage | None], Run]


@pytest.fixture
def app(redis_url: str) -> Celery:
    """An app that stores its results in the private server."""
    app = Celery("test", backend=redis_url)
    app.conf.task_default_queue = QUEUE
    return app


@pytest.fixture
def run_of(
    client: redis.Redis, app: Celery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> RunOf:
    """The run as the task's code has it; without a message as one that was called directly."""
    monkeypatch.setattr(ledger, "get_settings", lambda: settings)

    def run_of(message: ClaimedMessage | None) -> Run:
        headers = {TOKEN_HEADER: message.token} if message else {}
        request = SimpleNamespace(id=TASK_ID, get=headers.get)
        return Run(SimpleNamespace(request=request, app=app), client)

    return run_of


@pytest.fixture
def claim(client: redis.Redis, app: Celery) -> Claim:
    """Publish the task again, and claim it as a worker of some name."""

    def claim(worker: str) -> tuple[Claims, ClaimedMessage]:
        client.lpush(QUEUE, prepare(app, "nova.health_check", task_id=TASK_ID).payload)
        claims = Claims(client, Owner(worker))
        [message], _ = claims.claim([QUEUE])
        return claims, message

    return claim


def lose(client: redis.Redis, claims: Claims, message: ClaimedMessage) -> None:
    """Put the message back as the sweep does when a holder was silent for too long."""
    [held] = claims.settle(Settlement(message.token, message.task_id, Outcome.RETURN))
    assert held
    client.delete(QUEUE)


def commit(run: Run, client: redis.Redis, result: Any = None) -> Any:
    effects = run.effects()
    effects.incr("effect")
    effects.rename("staged", "visible")
    client.set("staged", "whole")
    return run.commit(effects, result)


def test_effects_result_and_done_come_in_one_step(
    app: Celery, client: redis.Redis, claim: Claim, run_of: RunOf
) -> None:
    """Who asks for the result gets it, whether or not the worker lives to store it."""
    _, message = claim("w1@host")
    assert commit(run_of(message), client, {"n": 1}) == {"n": 1}
    assert client.get("effect") == b"1"
    assert client.get("visible") == b"whole"
    assert client.hget(Keys.issued_task(TASK_ID), "done") is not None
    assert app.AsyncResult(TASK_ID).get(timeout=5) == {"n": 1}
    assert 0 < client.ttl(f"celery-task-meta-{TASK_ID}") <= app.backend.expires


def test_a_commit_whose_answer_was_lost_may_be_repeated(
    client: redis.Redis, claim: Claim, run_of: RunOf
) -> None:
    """The second call finds its own commit and changes nothing."""
    _, message = claim("w1@host")
    commit(run_of(message), client)
    assert commit(run_of(message), client, "again") == "again"
    assert client.get("effect") == b"1"


def test_a_worker_that_lost_its_claim_commits_nothing(
    app: Celery, client: redis.Redis, claim: Claim, run_of: RunOf
) -> None:
    """Neither while the run is free, nor when another has it, nor when another has done it."""
    claims, old = claim("w1@host")
    lose(client, claims, old)
    with pytest.raises(StaleRunError):
        commit(run_of(old), client)
    _, new = claim("w2@host")
    with pytest.raises(StaleRunError):
        commit(run_of(old), client)
    assert client.get("effect") is None
    commit(run_of(new), client, "new")
    with pytest.raises(StaleRunError):
        commit(run_of(old), client, "old")
    assert client.get("effect") == b"1"
    assert app.AsyncResult(TASK_ID).get(timeout=5) == "new"


def test_a_slice_is_done_once_in_the_life_of_a_run(
    client: redis.Redis, claim: Claim, run_of: RunOf
) -> None:
    """Also when the run starts again on another worker; the end of the run is another step."""

    def commit_slice(message: ClaimedMessage, name: str) -> bool:
        run = run_of(message)
        effects = run.effects()
        effects.incr(name)
        return run.commit_slice(name, effects)

    claims, old = claim("w1@host")
    assert commit_slice(old, "first")
    lose(client, claims, old)
    _, new = claim("w2@host")
    assert not commit_slice(new, "first")
    assert commit_slice(new, "second")
    with pytest.raises(StaleRunError):
        commit_slice(old, "second")
    assert client.mget(["first", "second"]) == [b"1", b"1"]
    commit(run_of(new), client)


def test_a_message_of_the_outbox_is_published_with_the_commit(
    client: redis.Redis, claim: Claim, run_of: RunOf
) -> None:
    """Once, under an id that another start of the run would give it, too."""
    claims, old = claim("w1@host")

    def publish(message: ClaimedMessage) -> str:
        run = run_of(message)
        effects = run.effects()
        task_id = run.publish(effects, "nova.health_check", key="webhook")
        run.commit(effects, None)
        return task_id

    lose(client, claims, old)
    with pytest.raises(StaleRunError):
        publish(old)
    assert client.llen(QUEUE) == 0
    _, new = claim("w2@host")
    task_id = publish(new)
    assert publish(new) == task_id
    [payload] = client.lrange(QUEUE, 0, -1)
    assert json.loads(payload)["headers"]["id"] == task_id
    assert client.hget(Keys.issued_task(task_id), "name") == b"nova.health_check"


def test_a_commit_that_rests_on_watched_keys_sees_their_change(
    client: redis.Redis, claim: Claim, run_of: RunOf
) -> None:
    """Nothing happens when the key that the effects were computed from has changed."""
    _, message = claim("w1@host")
    run = run_of(message)
    client.set("budget", 1)
    with client.pipeline() as transaction:
        transaction.watch("budget")  # type: ignore[no-untyped-call]
        client.set("budget", 0)
        effects = run.effects()
        effects.incr("effect")
        with pytest.raises(redis.WatchError):
            run.commit(effects, None, transaction=transaction)
    assert client.get("effect") is None
    assert client.hget(Keys.issued_task(TASK_ID), "done") is None


def test_a_full_redis_refuses_a_commit_as_a_whole(
    client: redis.Redis, claim: Claim, run_of: RunOf
) -> None:
    """Out of memory nothing is written, and the run is not done."""
    _, message = claim("w1@host")
    run = run_of(message)
    effects = run.effects()
    effects.set("effect", "x")
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            run.commit(effects, None)
    finally:
        client.config_set("maxmemory", "0")
    assert client.get("effect") is None
    run.commit(effects, None)
    assert client.get("effect") == b"x"


def test_a_task_that_was_called_directly_commits_plainly(
    client: redis.Redis, run_of: RunOf
) -> None:
    """Without a claim there is nothing to compare with."""
    assert commit(run_of(None), client, 5) == 5
    assert client.get("effect") == b"1"


def test_a_command_that_is_too_long_for_a_script_is_refused(
    client: redis.Redis, run_of: RunOf
) -> None:
    """Large effects are staged; the message says so."""
    run = run_of(None)
    effects = run.effects()
    effects.rpush("list", *range(WORDS_LIMIT))
    with pytest.raises(ValueError, match="staging key"):
        run.commit(effects, None)
