"""A prepared message is the one that Celery publishes."""

import json
import socket
from typing import Any, cast

import pytest
import redis
from celery import Celery
from celery.exceptions import QueueNotFound
from kombu import Queue
from kombu.exceptions import EncodeError

from nova.runtime.messages import prepare
from nova.settings import Settings

QUEUE = "trends"


@pytest.fixture
def app(settings: Settings) -> Celery:
    """A plain app of Celery on the private server."""
    app = Celery("test", broker=settings.redis_dsn, set_as_current=False)
    app.conf.update(
        task_queues=[Queue(QUEUE)], task_default_queue=QUEUE, task_create_missing_queues=False
    )

    @app.task(  # type: ignore[untyped-decorator]
        name="test.limited", soft_time_limit=5, time_limit=9, shared=False
    )
    def limited() -> None:
        """A task with options of its own."""

    return app


def comparable(payload: str | bytes) -> dict[str, Any]:
    """A message without what is new in every message."""
    message: dict[str, Any] = json.loads(payload)
    del message["properties"]["delivery_tag"]
    message["headers"].pop("expires")
    return message


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test.any", {}),
        ("test.limited", {}),
        ("test.any", {"queue": QUEUE}),
        ("test.any", {"expires": 60, "headers": {"mine": "yes"}}),
        ("test.any", {"eta": "2030-01-01T00:00:00+00:00", "ignore_result": True}),
        ("test.any", {"compression": "zlib", "root_id": "root", "shadow": "other name"}),
        ("test.any", {"reply_to": "somebody", "time_limit": 7, "correlation_id": "other"}),
    ],
    ids=str,
)
def test_a_prepared_message_is_the_published_one(
    name: str, options: dict[str, Any], app: Celery, client: redis.Redis
) -> None:
    """List and payload, but for the delivery tag and the moment that expires is counted from."""
    arguments = ([1, "zwei"], {"drei": None})
    app.send_task(name, *arguments, task_id="id", **options)
    published = cast(list[bytes], client.lrange(QUEUE, 0, -1))
    assert len(published) == 1
    prepared = prepare(app, name, *arguments, task_id="id", **options)
    assert (prepared.list_key, prepared.queue) == (QUEUE, QUEUE)
    assert (prepared.task_id, prepared.name) == ("id", name)
    assert comparable(prepared.payload) == comparable(published[0])
    payloads = [prepared.payload.encode(), *published]
    tags = {json.loads(payload)["properties"]["delivery_tag"] for payload in payloads}
    assert len(tags) == 2


def test_preparing_talks_to_nobody(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the broker nor the result backend, nor for the event that a task was sent."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was made")

    app.conf.update(task_send_sent_event=True, result_backend=app.conf.broker_url)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert prepare(app, "test.any", task_id="id").queue == QUEUE


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"queue": "nowhere"}, QueueNotFound, "nowhere"),
        ({"exchange": "x", "routing_key": "y"}, ValueError, "no exchange, routing_key"),
        ({"priority": 5}, ValueError, "no priority"),
        ({"args": [object()]}, EncodeError, "not JSON serializable"),
    ],
)
def test_what_cannot_be_published_cannot_be_prepared(
    options: dict[str, Any], error: type[Exception], problem: str, app: Celery
) -> None:
    with pytest.raises(error, match=problem):
        prepare(app, "test.any", task_id="id", **options)
