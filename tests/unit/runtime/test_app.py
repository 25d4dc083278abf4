"""Publishing by Nova's app: the note and the message in one step, or nothing."""

from collections.abc import Callable

import pytest
import redis
from kombu import Queue

from nova.errors import ConfigurationError, InputError, UnavailableError
from nova.runtime import publishing
from nova.runtime.app import NovaCelery
from nova.runtime.claims import RUN_EXPIRES_SECONDS
from nova.runtime.connections import broker_connection, result_connection
from nova.runtime.issued import find_issued
from nova.settings import Settings
from nova.store import Keys

NOWHERE = "redis://127.0.0.1:1/0"


def make_app(settings: Settings) -> NovaCelery:
    app = NovaCelery("test", settings)
    app.conf.update(**broker_connection(settings), **result_connection(settings))
    app.conf.task_queues = [Queue("trends"), Queue("analysis")]
    app.conf.task_default_queue = "trends"
    return app


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishers give up after their first attempt."""
    monkeypatch.setattr(publishing, "PUBLISH_SECONDS", 0.0)


@pytest.mark.parametrize("stock_parts", ["", "transport"])
@pytest.mark.parametrize(
    ("queue", "noted"),
    [(None, "trends"), ("analysis", "analysis"), (Queue("w@host.dq2"), "w@host.dq2")],
)
def test_a_published_task_is_found_by_its_id(
    make_settings: Callable[..., Settings],
    client: redis.Redis,
    queue: object,
    noted: str,
    stock_parts: str,
) -> None:
    """With kombu's own transport as well, which knows nothing of notes."""
    settings = make_settings(NOVA_STOCK_PARTS=stock_parts)
    result = make_app(settings).send_task("nova.trends.scan", queue=queue)
    issued = find_issued(client, result.id)
    assert issued is not None
    assert (issued.name, issued.queue) == ("nova.trends.scan", noted)
    assert client.llen(noted) == 1


@pytest.mark.parametrize("stock_parts", ["", "transport"])
@pytest.mark.parametrize(("left", "wanted"), [(60, RUN_EXPIRES_SECONDS), (-1, -1)])
def test_a_note_lasts_as_long_as_the_newest_message_may_wait(
    make_settings: Callable[..., Settings],
    client: redis.Redis,
    left: int,
    wanted: int,
    stock_parts: str,
) -> None:
    """Published twice, with either transport; a run that is held has no end, and gets none."""
    app = make_app(make_settings(NOVA_STOCK_PARTS=stock_parts))
    note = Keys.issued_task(app.send_task("nova.trends.scan", task_id="1").id)
    if left > 0:
        client.expire(note, left)
    else:
        client.persist(note)
    app.send_task("nova.trends.scan", task_id="1")
    assert client.ttl(note) == pytest.approx(wanted, abs=5)


@pytest.mark.usefixtures("hasty")
def test_a_redis_that_is_away_is_said_in_one_line(make_settings: Callable[..., Settings]) -> None:
    app = make_app(make_settings(REDIS_URL=NOWHERE))
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/0 does not answer") as caught:
        app.send_task("nova.trends.scan")
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_not_tried_again(
    make_settings: Callable[..., Settings], redis_url: str
) -> None:
    """Ten seconds of trying would not make it right."""
    app = make_app(make_settings(REDIS_URL=redis_url.replace("redis://:", "redis://:not-")))
    with pytest.raises(ConfigurationError, match="refused user or password"):
        app.send_task("nova.trends.scan")


def test_a_priority_is_refused(settings: Settings, client: redis.Redis) -> None:
    """Priorities are lists of their own, which would have to be read in turn."""
    app = make_app(settings)
    with pytest.raises(InputError, match="has a priority"):
        app.send_task("nova.trends.scan", priority=3)
    assert client.keys("trends*") == []
    app.send_task("nova.trends.scan", priority=0)
    assert client.llen("trends") == 1


def test_publishing_subscribes_to_no_results(settings: Settings, client: redis.Redis) -> None:
    """Celery would, at each publish, and leave the connection open."""
    make_app(settings).send_task("nova.trends.scan")
    assert client.pubsub_channels() == []


@pytest.mark.usefixtures("hasty")
def test_publishers_wait_in_line_for_a_bounded_time(settings: Settings) -> None:
    """All connections are in use, by publishers that wait for a Redis that froze."""
    app = make_app(settings)
    app.conf.broker_pool_limit = 1
    with (
        app.pool.acquire(),
        pytest.raises(UnavailableError, match="all connections to it wait"),
    ):
        app.send_task("nova.trends.scan")
