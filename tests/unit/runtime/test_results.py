"""The result backend: who waits for a Redis that is away, and for how long."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import states
from celery._state import _set_task_join_will_block

from nova.runtime import results
from nova.runtime.app import NovaCelery
from nova.runtime.connections import broker_connection, result_connection
from nova.settings import Settings


@pytest.fixture
def backend(settings: Settings, client: redis.Redis) -> Any:
    """The backend of an app on the private Redis, which is empty."""
    app = NovaCelery("test", settings)
    app.conf.update(**broker_connection(settings), **result_connection(settings))
    return app.backend


@pytest.fixture
def in_task() -> Iterator[None]:
    """This process runs a task, as Celery says of its pool processes."""
    _set_task_join_will_block(True)
    yield
    _set_task_join_will_block(False)


@pytest.fixture
def failing(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], list[int]]:
    """Let the next two reads of a result fail; the list counts reads."""

    def fail(error: Exception) -> list[int]:
        calls: list[int] = []
        read = type(backend).get

        def get(self: Any, key: str) -> Any:
            calls.append(1)
            if len(calls) <= 2:
                raise error
            return read(self, key)

        monkeypatch.setattr(type(backend), "get", get)
        monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
        return calls

    return fail


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's
@pytest.mark.parametrize(
    "error",
    [
        redis.TimeoutError("Timeout reading from socket"),
        redis.ConnectionError("refused"),
        redis.OutOfMemoryError("full", status_code="OOM"),
    ],
)
def test_a_result_is_stored_once_redis_is_back(
    backend: Any, failing: Callable[[Exception], list[int]], error: Exception
) -> None:
    """Celery itself tries again to write, but would fail a task whose result it cannot read."""
    calls = failing(error)
    backend.store_result("1", 42, states.SUCCESS)
    assert len(calls) == 3
    assert backend.get_result("1") == 42


def test_reading_a_result_is_not_tried_again(
    backend: Any, failing: Callable[[Exception], list[int]]
) -> None:
    """The API asks for it, and wants to answer."""
    calls = failing(redis.ConnectionError("refused"))
    with pytest.raises(redis.ConnectionError):
        backend.get_task_meta("1")
    assert len(calls) == 1


def test_what_somebody_must_mend_is_not_tried_again(
    backend: Any, failing: Callable[[Exception], list[int]]
) -> None:
    calls = failing(redis.ResponseError("WRONGTYPE"))
    with pytest.raises(redis.ResponseError):
        backend.store_result("1", 42, states.SUCCESS)
    assert len(calls) == 1


def test_a_result_that_redis_cannot_take_is_given_up(
    backend: Any, failing: Callable[[Exception], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full Redis could not be drained if its workers waited for room for results."""
    monkeypatch.setattr(results, "REFUSED_SECONDS", 0.0)
    failing(redis.OutOfMemoryError("full", status_code="OOM"))
    with pytest.raises(redis.OutOfMemoryError):
        backend.store_result("1", 42, states.SUCCESS)


def test_others_than_tasks_give_up_in_time(backend: Any) -> None:
    assert backend.retry_policy["timeout"] == results.RETRY_SECONDS


@pytest.mark.usefixtures("in_task")
def test_a_task_waits_as_long_as_it_takes(backend: Any) -> None:
    assert backend.retry_policy["max_retries"] is None
    assert "timeout" not in backend.retry_policy
