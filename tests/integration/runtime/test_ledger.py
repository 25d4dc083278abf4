"""The ledger on a real Redis: what a run commits is there once, or not at all."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery

from nova.errors import UnavailableError
from nova.runtime import ledger
from nova.runtime.claims import ClaimedMessage, Claims, Outcome, Owner, Settlement
from nova.runtime.ledger import TOKEN_HEADER, WORDS_LIMIT, Run, StaleRunError
from nova.runtime.messages import prepare
from nova.settings import Settings
from nova.store import Keys, connect
from scripts.local.redis_server import LocalRedis
from tests.conftest import wait_until

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
    return lambda message: make_run(app, client, message)


def make_run(app: Celery, client: redis.Redis, message: ClaimedMessage | None) -> Run:
    headers = {TOKEN_HEADER: message.token} if message else {}
    request = SimpleNamespace(id=TASK_ID, get=headers.get)
    return Run(SimpleNamespace(request=request, app=app), client)


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


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_only_a_redis_that_may_write_says_that_a_run_is_anothers(
    client: redis.Redis, claim: Claim, run_of: RunOf, setting: str
) -> None:
    """An old primary without replicas knows only what was; a full one is the primary."""
    claims, old = claim("w1@host")
    lose(client, claims, old)
    run = run_of(old)
    client.config_set(setting, "1")
    try:
        error = StaleRunError if setting == "maxmemory" else redis.ResponseError
        with pytest.raises(error):
            run.commit(run.effects(), None)
    finally:
        client.config_set(setting, "0")


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


# --- In a group, where a failover may forget what the primary has answered


@pytest.fixture
def replica(
    redis_server: LocalRedis,
    make_settings: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LocalRedis]:
    """A replica of the private server, which is to confirm what runs commit."""
    settings = make_settings(NOVA_REDIS_GROUP_SIZE="2")
    monkeypatch.setattr(ledger, "get_settings", lambda: settings)
    monkeypatch.setattr(ledger, "WAIT_SECONDS", 0.3)
    options = (
        f"replicaof 127.0.0.1 {redis_server.port}",
        f"masterauth {redis_server.password}",
    )
    with connect(settings) as primary:
        primary.config_set("repl-diskless-sync-delay", 0)
        with LocalRedis.create(tmp_path / "replica", *options) as replica:
            wait_until(lambda: primary.incr("written") and primary.wait(1, 100))
            yield replica


@pytest.fixture
def worker_environment(process_environment: dict[str, str]) -> dict[str, str]:
    """A worker whose commits and retries one replica is to confirm, and that sweeps soon."""
    return process_environment | {"NOVA_REDIS_GROUP_SIZE": "2", "NOVA_LEASE_SECONDS": "6"}


def end(run: Run) -> None:
    effects = run.effects()
    effects.incr("effect")
    run.commit(effects, None)


def end_in_transaction(run: Run) -> None:
    effects = run.effects()
    effects.incr("effect")
    with run.effects() as transaction:
        transaction.watch("budget")  # type: ignore[no-untyped-call]
        run.commit(effects, None, transaction=transaction)


def end_slice(run: Run) -> None:
    effects = run.effects()
    effects.incr("effect")
    run.commit_slice("first", effects)


COMMITS = pytest.mark.parametrize("commits", [end, end_in_transaction, end_slice])


@COMMITS
@pytest.mark.parametrize("is_full", [False, True])
def test_a_commit_counts_when_the_replicas_have_it(
    app: Celery,
    client: redis.Redis,
    replica: LocalRedis,
    claim: Claim,
    commits: Callable[[Run], None],
    is_full: bool,
) -> None:
    """Who asks again is told so again, in a full Redis too; the effect is there once."""
    _, message = claim("w1@host")
    run = make_run(app, client, message)
    replica.freeze()
    try:
        with pytest.raises(UnavailableError, match="0 of 1 replicas"):
            commits(run)
        assert client.get("effect") == b"1"
        client.config_set("maxmemory", "1" if is_full else "0")
        # Over a new connection, which has written nothing yet.
        client.connection_pool.disconnect()
        # A full Redis refuses a transaction before it looks at the run.
        refusals = r"0 of 1 replicas|maxmemory" if is_full else "0 of 1 replicas"
        with pytest.raises((UnavailableError, redis.ResponseError), match=refusals):
            commits(run)
    finally:
        client.config_set("maxmemory", "0")
        replica.resume()
    # It has to read what came meanwhile.
    wait_until(lambda: client.incr("written") and client.wait(1, 100))
    commits(run)
    assert client.get("effect") == b"1"


@COMMITS
def test_a_commit_that_a_failover_forgets_is_told_and_happens_again(
    app: Celery,
    client: redis.Redis,
    replica: LocalRedis,
    claim: Claim,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    commits: Callable[[Run], None],
) -> None:
    """A replica takes over with the claim and without the commit, which the old primary took."""
    _, message = claim("w1@host")
    assert client.wait(1, 5000) == 1
    with redis.Redis.from_url(replica.url) as new_primary:
        new_primary.replicaof("NO", "ONE")
        with pytest.raises(UnavailableError, match="0 of 1 replicas"):
            commits(make_run(app, client, message))
        assert client.get("effect") == b"1"
        assert new_primary.get("effect") is None
        # The others of its group do not matter here.
        monkeypatch.setattr(ledger, "get_settings", lambda: settings)
        commits(make_run(app, new_primary, message))
        assert new_primary.get("effect") == b"1"


def test_a_transaction_is_confirmed_by_who_has_it(
    app: Celery,
    client: redis.Redis,
    replica: LocalRedis,
    claim: Claim,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another server answers when the confirmation is asked for, and its replicas are quick."""
    _, message = claim("w1@host")
    run = make_run(app, client, message)
    with run.effects() as transaction:
        execute = transaction.execute

        def execute_and_fail_over() -> list[Any]:
            answers: list[Any] = execute()
            client.hdel(Keys.issued_task(TASK_ID), "done", "done_by")
            return answers

        monkeypatch.setattr(transaction, "execute", execute_and_fail_over)
        transaction.watch("budget")  # type: ignore[no-untyped-call]
        with pytest.raises(UnavailableError):
            run.commit(run.effects(), None, transaction=transaction)


def test_a_retry_of_a_run_whose_commit_stands_is_dropped(
    app: Celery, client: redis.Redis, replica: LocalRedis, claim: Claim
) -> None:
    """The replicas were only slow: the task has published itself again, and nothing runs twice."""
    claims, message = claim("w1@host")
    replica.freeze()
    try:
        with pytest.raises(UnavailableError):
            end(make_run(app, client, message))
    finally:
        replica.resume()
    client.lpush(QUEUE, message.payload)
    [released] = claims.settle(Settlement(message.token, TASK_ID, Outcome.RELEASE))
    assert released
    claimed, [aside] = claims.claim([QUEUE])
    assert (claimed, aside.kind) == ([], "done")
    assert client.get("effect") == b"1"
    assert app.AsyncResult(TASK_ID).state == "SUCCESS"


@pytest.mark.usefixtures("worker")
def test_a_worker_whose_replicas_are_slow_commits_once_and_ends(
    app: Celery, client: redis.Redis, replica: LocalRedis
) -> None:
    """Its retry is not confirmed either; all that comes back is dropped, and the success stays."""
    replica.freeze()
    try:
        task = "nova.maintenance.memory_cleanup_task"
        client.lpush("maintenance", prepare(app, task, task_id=TASK_ID).payload)
        counter = f"rejected|{task}|maintenance"
        wait_until(lambda: client.hget(Keys.COUNTS, counter) == b"1")
    finally:
        replica.resume()
    wait_until(lambda: not client.llen("maintenance") and not client.hlen(Keys.HELD))
    assert client.hget(Keys.issued_task(TASK_ID), "done")
    assert client.hget(Keys.LEDGER_COUNTS, "committed") == b"1"
    assert app.AsyncResult(TASK_ID).state == "SUCCESS"
