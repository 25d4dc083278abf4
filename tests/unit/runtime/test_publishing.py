"""How a publish ends: the script and the confirmation on a real Redis, the trying by a clock."""

import json
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
import redis
from kombu import Connection
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.transport import redis as kombu_redis

from nova.errors import ConfigurationError, UnavailableError, UnconfirmedPublishError
from nova.runtime import publishing
from nova.runtime.issued import find_issued
from nova.runtime.ledger import TOKEN_HEADER
from nova.runtime.publishing import AnswerLostError, PublishingChannelMixin, publish
from nova.settings import Settings
from nova.store import Keys

EXPIRES_SECONDS = 3600


class Channel(PublishingChannelMixin, kombu_redis.Channel):  # type: ignore[misc]
    """The mixin on kombu's own channel."""


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    Channel = Channel


@pytest.fixture
def make_channel(redis_url: str) -> Callable[..., Channel]:
    """Open a channel; `wait_replicas` replicas have to confirm."""

    def make(wait_replicas: int = 0) -> Channel:
        options = {"wait_replicas": wait_replicas, "run_expires_seconds": EXPIRES_SECONDS}
        connection = Connection(redis_url, transport=Transport, transport_options=options)
        channel: Channel = connection.channel()
        return channel

    return make


def message(publication: str = "first", **headers: str) -> dict[str, Any]:
    known = {"id": "1", "task": "nova.trends.scan", publishing.PUBLICATION_HEADER: publication}
    return {"headers": known | headers, "properties": {"delivery_tag": "t"}, "body": ""}


def test_note_and_message_are_there(
    make_channel: Callable[..., Channel], client: redis.Redis
) -> None:
    make_channel()._put("trends", message())
    issued = find_issued(client, "1")
    assert issued is not None
    assert (issued.name, issued.queue) == ("nova.trends.scan", "trends")
    assert 0 < client.ttl(Keys.issued_task("1")) <= EXPIRES_SECONDS
    assert [json.loads(raw) for raw in client.lrange("trends", 0, -1)] == [message()]


def test_the_same_publication_is_pushed_once(
    make_channel: Callable[..., Channel], client: redis.Redis
) -> None:
    """A publisher that got no answer asks again: its first try may have succeeded."""
    channel = make_channel()
    channel._put("trends", message())
    channel._put("trends", message())
    assert client.llen("trends") == 1


def test_another_publication_of_the_task_is_pushed(
    make_channel: Callable[..., Channel], client: redis.Redis
) -> None:
    """Somebody repeats it, or Celery retries it: the first message may be gone."""
    channel = make_channel()
    channel._put("trends", message("first"))
    channel._put("trends", message("second"))
    assert client.llen("trends") == 2


def test_what_a_run_left_stays(make_channel: Callable[..., Channel], client: redis.Redis) -> None:
    """Else a copy could run beside the first, or after it was done."""
    run = Keys.issued_task("1")
    left = {"name": "nova.trends.scan", "published_at": "2026-01-01T00:00:00+00:00"}
    left |= {"queue": "trends", "holder": "nova:w", "starts": "2", "done": "1.0 SUCCESS"}
    for field, value in left.items():
        client.hset(run, field, value)
    make_channel()._put("analysis", message())
    wanted = left | {"publication": "first"}
    fields = cast(dict[bytes, bytes], client.hgetall(run))
    found = {k.decode(): v.decode() for k, v in fields.items()}
    # Of the new message: by it its worker tells how long it has waited.
    assert float(found.pop("queued_at")) == pytest.approx(time.time(), abs=5)
    assert found == wanted
    assert client.ttl(run) == -1, "the run of a holder must not expire"


@pytest.mark.parametrize("done", [False, True])
def test_a_run_is_remembered_for_as_long_as_its_newest_message_may_wait(
    make_channel: Callable[..., Channel], client: redis.Redis, done: bool
) -> None:
    """A note must not end before the message; nor the mark `done`, or a copy would run again."""
    run = Keys.issued_task("1")
    make_channel()._put("trends", message("first"))
    if done:
        client.hset(run, "done", "1.0 ok")
    client.expire(run, 60)
    make_channel()._put("trends", message("second"))
    assert client.ttl(run) > EXPIRES_SECONDS - 60
    client.expire(run, 2 * EXPIRES_SECONDS)
    make_channel()._put("trends", message("third"))
    assert client.ttl(run) > EXPIRES_SECONDS, "what is remembered for longer stays"


def test_a_run_that_a_stock_client_published_first_gets_its_note(
    make_channel: Callable[..., Channel], client: redis.Redis
) -> None:
    """It is held, and retried by Nova: its id was issued."""
    client.hset(Keys.issued_task("1"), "holder", "nova:w")
    make_channel()._put("trends", message())
    issued = find_issued(client, "1")
    assert issued is not None
    assert issued.name == "nova.trends.scan"
    assert client.ttl(Keys.issued_task("1")) == -1, "the run of a holder must not expire"


@pytest.mark.parametrize("wrong", [Keys.issued_task("1"), "trends"])
def test_a_key_that_holds_something_else_leaves_nothing_half_done(
    make_channel: Callable[..., Channel], client: redis.Redis, wrong: str
) -> None:
    client.set(wrong, "something else")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        make_channel()._put("trends", message())
    assert client.keys() == [wrong.encode()]


def test_the_token_of_a_claim_is_not_published(
    make_channel: Callable[..., Channel], client: redis.Redis
) -> None:
    """Neither one that Celery took over into a retry, nor one that somebody made up."""
    make_channel()._put("trends", message(**{TOKEN_HEADER: "nova:w@host:0:0.0"}))
    assert [json.loads(raw) for raw in client.lrange("trends", 0, -1)] == [message()]


def test_answers_of_the_remote_control_are_no_tasks(
    make_channel: Callable[..., Channel], client: redis.Redis
) -> None:
    answer = {"headers": {}, "properties": {"delivery_tag": "t"}, "body": ""}
    make_channel(wait_replicas=1)._put("reply.pidbox", answer)
    assert client.llen("reply.pidbox") == 1
    assert client.keys("nova:*") == []


def test_too_few_replicas_leave_a_publish_unconfirmed(
    make_channel: Callable[..., Channel], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "WAIT_SECONDS", 0.1)
    with pytest.raises(UnconfirmedPublishError, match="0 of 1 replicas") as caught:
        make_channel(wait_replicas=1)._put("trends", message())
    assert caught.value.task_id == "1"
    assert client.llen("trends") == 1, "it may have been published, and was"


def test_a_connection_lost_on_the_way_is_told_apart_from_none(
    make_channel: Callable[..., Channel], client: redis.Redis
) -> None:
    """Redis ends the connection instead of answering."""
    channel = make_channel()
    client.config_set("client-query-buffer-limit", 1024**2)
    try:
        with pytest.raises(AnswerLostError):
            channel._put("trends", message() | {"body": "x" * 2 * 1024**2})
    finally:
        client.config_set("client-query-buffer-limit", 1024**3)


# --- The trying


class Clock:
    """Time that passes when somebody sleeps, or an attempt takes it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that `publish` looks at."""
    clock = Clock()
    monkeypatch.setattr(publishing, "time", clock)
    return clock


def as_kombu_raises(cause: Exception) -> Exception:
    error: Exception = OperationalError(str(cause))
    error.__cause__ = cause
    return error


def outcomes(clock: Clock, *errors: Exception | None, seconds: float = 0) -> Any:
    """An attempt that takes `seconds` and fails with one error after the other, the last for ever;
    None is success."""
    remaining = list(errors)

    def attempt(_seconds_left: float) -> str:
        clock.sleep(seconds)
        error = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if error is not None:
            raise error
        return "published"

    return attempt


REFUSED = redis.ConnectionError("refused")
FULL = redis.OutOfMemoryError("used memory > 'maxmemory'", status_code="OOM")
LOST = AnswerLostError("Timeout reading from socket")


@pytest.mark.parametrize("error", [REFUSED, LOST, FULL])
def test_what_passes_by_itself_is_tried_again(
    settings: Settings, clock: Clock, error: Exception
) -> None:
    attempt = outcomes(clock, as_kombu_raises(error), error, None)
    assert publish(settings, "1", attempt) == "published"


@pytest.mark.parametrize("seconds", [0, 1, 2.5, publishing.ATTEMPT_SECONDS])
def test_the_end_comes_in_time(settings: Settings, clock: Clock, seconds: float) -> None:
    """Whatever the attempts take, up to their timeout."""
    with pytest.raises(UnavailableError, match="does not answer: refused"):
        publish(settings, "1", outcomes(clock, as_kombu_raises(REFUSED), seconds=seconds))
    assert 6 < clock.seconds <= publishing.PUBLISH_SECONDS


@pytest.mark.parametrize("errors", [(LOST,), (LOST, REFUSED), (REFUSED, LOST, REFUSED)])
def test_a_lost_answer_makes_all_unconfirmed(
    settings: Settings, clock: Clock, errors: tuple[Exception, ...]
) -> None:
    """The attempt whose answer was lost may have published, whatever came after it."""
    attempt = outcomes(clock, *map(as_kombu_raises, errors))
    with pytest.raises(UnconfirmedPublishError, match="task 1 may have been published, or not"):
        publish(settings, "1", attempt)


def test_a_lost_answer_counts_when_no_connection_is_left(settings: Settings, clock: Clock) -> None:
    """The next attempt gets no connection: nothing is known of the first all the same."""
    with pytest.raises(UnavailableError, match="nothing was published"):
        publish(settings, "1", outcomes(clock, LimitExceeded("all wait")))
    attempt = outcomes(clock, as_kombu_raises(LOST), LimitExceeded("all wait"))
    with pytest.raises(UnconfirmedPublishError, match="task 1 may have been published, or not"):
        publish(settings, "1", attempt)


def test_missing_replicas_are_not_tried_again(settings: Settings, clock: Clock) -> None:
    """The message is there: another try would push nothing, and wait again."""
    error = UnconfirmedPublishError("1", "0 of 1 replicas")
    with pytest.raises(UnconfirmedPublishError):
        publish(settings, "1", outcomes(clock, error))
    assert clock.seconds == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis.AuthenticationError("invalid password"), ConfigurationError),
        (redis.ResponseError("WRONGTYPE"), UnavailableError),
    ],
)
def test_what_somebody_must_mend_is_said_at_once(
    settings: Settings, clock: Clock, error: Exception, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        publish(settings, "1", outcomes(clock, as_kombu_raises(error)))
    assert clock.seconds == 0


def test_faults_of_nova_stay_what_they_are(settings: Settings, clock: Clock) -> None:
    with pytest.raises(KeyError):
        publish(settings, "1", outcomes(clock, KeyError("fault")))
