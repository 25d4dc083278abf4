"""Publishing: the note about a task comes first, or nothing is published."""

from collections.abc import Callable

import pytest
import redis
from kombu import Queue

from nova.runtime.app import NovaCelery
from nova.runtime.issued import find_issued
from nova.settings import Settings


def make_app(settings: Settings) -> NovaCelery:
    app = NovaCelery("test", settings)
    app.conf.update(broker_url="memory://", result_backend="cache+memory://")
    return app


@pytest.mark.parametrize(
    ("queue", "noted"),
    [(None, "trends"), ("analysis", "analysis"), (Queue("w@host.dq2"), "w@host.dq2")],
)
def test_a_published_task_is_found_by_its_id(
    settings: Settings, client: redis.Redis, queue: object, noted: str
) -> None:
    result = make_app(settings).send_task("nova.trends.scan", queue=queue)
    issued = find_issued(client, result.id)
    assert issued is not None
    assert (issued.name, issued.queue) == ("nova.trends.scan", noted)


def test_nothing_is_published_when_the_note_cannot_be_left(
    make_settings: Callable[..., Settings],
) -> None:
    """Else a task would run whose id looks as if it had never been issued."""
    app = make_app(make_settings(REDIS_URL="redis://127.0.0.1:1/0"))
    app.conf.task_queues = [Queue("trends", routing_key="trends")]
    with pytest.raises(redis.ConnectionError):
        app.send_task("nova.trends.scan", queue="trends")
    with app.connection_for_read() as connection:
        assert connection.default_channel.queue_declare("trends", passive=False).message_count == 0
