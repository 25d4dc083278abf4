"""What becomes of a claim when its task ends, on a real Redis."""

import pytest
import redis
from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded
from celery import Celery
from kombu.message import Message
from kombu.utils.json import loads

from nova.runtime import request as module
from nova.runtime import watchdog
from nova.runtime.claims import ClaimedMessage, Claims, Owner
from nova.runtime.holdings import Holdings
from nova.runtime.ledger import StaleRunError
from nova.runtime.messages import prepare
from nova.runtime.request import STALE_SECONDS, NovaRequest
from nova.store import Keys

QUEUE = "trends"
RUN = f"{Keys.RUN_PREFIX}task-1"


@pytest.fixture
def app(redis_url: str) -> Celery:
    app = Celery("test", backend=redis_url, set_as_current=False)
    app.conf.task_default_queue = QUEUE
    return app


@pytest.fixture
def claims(client: redis.Redis, app: Celery) -> Claims:
    """A worker that has a message to claim."""
    client.lpush(QUEUE, prepare(app, "nova.trends.scan", task_id="task-1").payload)
    return Claims(client, Owner("w1@host"))


@pytest.fixture
def holdings(monkeypatch: pytest.MonkeyPatch) -> Holdings:
    """What the worker holds."""
    holdings = Holdings()
    monkeypatch.setattr(module, "HOLDINGS", holdings)
    return holdings


def receive(app: Celery, claimed: ClaimedMessage, holdings: Holdings) -> NovaRequest:
    """The request that Celery makes of a message."""

    @app.task(name=claimed.task_name, shared=False, acks_late=True)  # type: ignore[untyped-decorator]
    def scan() -> None: ...

    holdings.add(claimed, has_eta=False)
    payload = loads(claimed.payload)
    message = Message(
        body=payload["body"],
        headers=payload["headers"],
        properties=payload["properties"],
        delivery_tag=claimed.token,
        delivery_info=payload["properties"]["delivery_info"],
        content_type="application/json",
    )
    return NovaRequest(
        message,
        on_ack=lambda *_: holdings.acknowledge(claimed.token),
        app=app,
        task=scan,
        body=[[], {}, {}],
        decoded=True,
    )


def fail(request: NovaRequest, error: Exception) -> None:
    """Let the task end with an error."""
    try:
        raise error
    except type(error):
        request.on_failure(ExceptionInfo(), return_ok=True)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_run_that_is_said_to_be_anothers_is_not_thrown_away(
    client: redis.Redis, app: Celery, claims: Claims, holdings: Holdings, is_ours: bool
) -> None:
    """An old primary may have said it, to a task that asked it by mistake: the message comes back.

    Where it is so, nothing changes.
    """
    [claimed], _ = claims.claim([QUEUE])
    if not is_ours:
        client.hset(RUN, "holder", "nova:w2@host:00000000:0.0")
    before = client.hgetall(RUN), client.hgetall(Keys.HELD)
    fail(receive(app, claimed, holdings), StaleRunError("another worker has the run"))
    assert holdings.count() == 0
    assert claims.settle(*holdings.settlements()) == [is_ours]
    if not is_ours:
        assert (client.hgetall(RUN), client.hgetall(Keys.HELD)) == before
        return
    assert client.hmget(RUN, "holder", "starts", "done") == [None, b"1", None]
    client.zincrby(Keys.HELD_INDEX, -STALE_SECONDS, claimed.token)
    claims.sweep()
    client.hincrbyfloat(Keys.SWEEP, "not_before", -61)
    claims.sweep()
    [again], _ = claims.claim([QUEUE])
    assert (again.task_id, again.starts) == ("task-1", 2)


def test_a_task_that_has_failed_is_progress(
    app: Celery, claims: Claims, holdings: Holdings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process may have to store results: several in a row must not look as if it hung."""
    told: list[str] = []
    monkeypatch.setattr(watchdog, "progress", lambda: told.append("progress"))
    [claimed], _ = claims.claim([QUEUE])
    failed = receive(app, claimed, holdings)
    monkeypatch.setattr(
        failed.task.backend, "mark_as_failure", lambda *_, **__: told.append("result")
    )
    failed.on_timeout(soft=False, timeout=1)
    fail(failed, TimeLimitExceeded(1))
    assert told == ["progress", "result", "progress"]
