"""The result backend: who waits for a Redis that is away, and for how long."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import states
from celery._state import _set_task_join_will_block, _task_stack

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
def in_worker() -> Iterator[None]:
    """This is a process of a worker, as Celery says of its pool processes and of the main one."""
    _set_task_join_will_block(True)
    yield
    _set_task_join_will_block(False)


@pytest.fixture
def in_task(in_worker: None) -> Iterator[None]:
    """This process runs a task."""
    _task_stack.push(SimpleNamespace(request=SimpleNamespace(called_directly=False)))
    yield
    _task_stack.pop()


@pytest.fixture
def failing(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], list[int]]:
    """Let the next two commands to Redis fail; the list counts commands."""
    backend.store_result("0", 0, states.SUCCESS)  # Redis knows the script from now on

    def fail(error: Exception) -> list[int]:
        calls: list[int] = []
        execute = backend.client.execute_command

        def execute_command(*args: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) <= 2:
                raise error
            return execute(*args, **options)

        monkeypatch.setattr(backend.client, "execute_command", execute_command)
        monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
        return calls

    return fail


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


@pytest.mark.parametrize(
    ("fixture", "setting"), [("in_task", "REFUSED_SECONDS"), ("in_worker", "RETRY_SECONDS")]
)
def test_a_result_that_redis_cannot_take_is_given_up(
    backend: Any,
    failing: Callable[[Exception], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    fixture: str,
    setting: str,
) -> None:
    """A full Redis could not be drained if its workers waited for room for results."""
    request.getfixturevalue(fixture)
    monkeypatch.setattr(results, setting, 0.0)
    failing(redis.OutOfMemoryError("full", status_code="OOM"))
    with pytest.raises(redis.OutOfMemoryError):
        backend.store_result("1", 42, states.SUCCESS)


def test_a_success_stays(backend: Any) -> None:
    """What a copy of the task has to say afterwards does not count."""
    for result, state in [("x", states.STARTED), (42, states.SUCCESS), (None, states.RETRY)]:
        backend.store_result("1", result, state)
    assert backend.get_result("1") == 42
    assert 0 < backend.client.ttl(backend.get_key_for_task("1")) <= backend.expires


def test_a_full_redis_takes_results(backend: Any) -> None:
    """Otherwise tasks that wait for room for their results would keep it full."""
    backend.client.config_set("maxmemory", "1")
    try:
        backend.store_result("1", 42, states.SUCCESS)
    finally:
        backend.client.config_set("maxmemory", "0")
    assert backend.get_result("1") == 42


@pytest.mark.usefixtures("in_worker")
def test_others_than_tasks_give_up_in_time(backend: Any) -> None:
    """A worker's main process stores failures from its event loop, which must go on turning."""
    assert backend.retry_policy["timeout"] == results.RETRY_SECONDS


@pytest.mark.usefixtures("in_task")
def test_a_task_waits_as_long_as_it_takes(backend: Any) -> None:
    assert backend.retry_policy["max_retries"] is None
    assert "timeout" not in backend.retry_policy
