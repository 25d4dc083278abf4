"""Arguments are checked when a task is published, by whichever way, and not when it is run."""

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Annotated, Any

import pytest
import redis
from celery import Celery
from kombu import Queue
from pydantic import Field

from nova.errors import InputError
from nova.runtime import ledger
from nova.runtime.app import NovaCelery
from nova.runtime.arguments import Arguments, IsoDay
from nova.runtime.connections import broker_connection, result_connection
from nova.runtime.ledger import Run
from nova.runtime.messages import prepare
from nova.runtime.task import NovaTask
from nova.settings import Settings

NAME = "nova.maintenance.clean"
QUEUE = "maintenance"


@pytest.fixture
def app(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> NovaCelery:
    """An app with one task that says what it takes."""
    monkeypatch.setattr(ledger, "get_settings", lambda: settings)
    app = NovaCelery("test", settings)
    app.conf.update(**broker_connection(settings), **result_connection(settings))
    app.conf.update(task_queues=[Queue(QUEUE)], task_default_queue=QUEUE)

    @app.task(name=NAME, bind=True, shared=False)  # type: ignore[untyped-decorator]
    def clean(
        self: NovaTask, max_age_hours: Annotated[int, Field(ge=1)] = 24, *, dry_run: bool = False
    ) -> int:
        return max_age_hours

    return app


def outbox(app: Celery, client: redis.Redis, arguments: dict[str, Any]) -> None:
    """Publish as another task of the app does."""
    task = app.tasks[NAME]
    task.push_request(id="other")
    run = Run(task, client)
    run.publish(run.effects(), NAME, kwargs=arguments, key="k")


WAYS: dict[str, Callable[[Celery, redis.Redis, dict[str, Any]], object]] = {
    "delay": lambda app, _, arguments: app.tasks[NAME].delay(**arguments),
    "apply_async": lambda app, _, arguments: app.tasks[NAME].apply_async(kwargs=arguments),
    "signature": lambda app, _, arguments: app.tasks[NAME].s(**arguments).apply_async(),
    "send_task": lambda app, _, arguments: app.send_task(NAME, kwargs=arguments),
    "beat": lambda app, _, arguments: prepare(app, NAME, kwargs=arguments, task_id="id"),
    "outbox": outbox,
}
WRONG: dict[str, dict[str, Any]] = {
    "argument max_age_hours: Input should be a valid integer": {"max_age_hours": "abc"},
    "argument max_age_hours: Input should be greater than or equal to 1": {"max_age_hours": -1},
    "argument max_age_hours: .* valid integer": {"max_age_hours": True},
    "argument dry_run: Input should be a valid boolean": {"dry_run": 1},
    "unexpected keyword argument 'hours'; its arguments: max_age_hours, dry_run": {"hours": 1},
    "max_age_hours: .*; argument dry_run: ": {"max_age_hours": None, "dry_run": None},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reason", WRONG)
def test_wrong_arguments_are_refused_in_one_line_and_nothing_is_published(
    app: NovaCelery, client: redis.Redis, way: str, reason: str
) -> None:
    with pytest.raises(InputError, match=f"^task {NAME}: .*{reason}") as caught:
        WAYS[way](app, client, WRONG[reason])
    assert "\n" not in str(caught.value)
    assert client.keys() == []


@pytest.mark.parametrize("way", ["delay", "apply_async", "signature", "send_task"])
def test_right_arguments_are_published_as_they_are(
    app: NovaCelery, client: redis.Redis, way: str
) -> None:
    """Without the defaults, which are those of the release that runs the task."""
    WAYS[way](app, client, {"max_age_hours": 3})
    [message] = client.lrange(QUEUE, 0, -1)
    args, kwargs, _ = json.loads(b64decode(json.loads(message)["body"]))
    assert (args, kwargs) == ([], {"max_age_hours": 3})


def test_values_are_not_repeated_for_one_may_be_a_secret(app: NovaCelery) -> None:
    with pytest.raises(InputError) as caught:
        app.send_task(NAME, kwargs={"max_age_hours": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_task_of_another_release_is_published_unchecked(
    app: NovaCelery, client: redis.Redis
) -> None:
    app.send_task("nova.maintenance.newer", kwargs={"anything": "goes"})
    assert client.llen(QUEUE) == 1


def test_a_message_of_another_release_is_run_as_it_is(app: NovaCelery) -> None:
    """What a worker does with a message that is there already: no check, and Python's own error."""
    task = app.tasks[NAME]
    assert task(-1) == -1
    with pytest.raises(TypeError, match="unexpected keyword"):
        task(removed="option")


def retry(app: NovaCelery, **options: Any) -> BaseException:
    """Retry a run that was started with an argument that this release does not take any more."""
    task = app.tasks[NAME]
    request = {"args": [0], "kwargs": {}, "retries": 0, "is_eager": False}
    task.push_request(id="1", called_directly=False, **request)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the callers look which one it is
        task.retry(**options)
    return caught.value


def test_a_retry_keeps_the_arguments_that_its_publisher_was_allowed(
    app: NovaCelery, client: redis.Redis
) -> None:
    assert type(retry(app)).__name__ == "Retry"
    assert client.llen(QUEUE) == 1


def test_a_retry_with_other_arguments_is_checked_and_fails_the_task(
    app: NovaCelery, client: redis.Redis
) -> None:
    error = retry(app, args=[], kwargs={"max_age_hours": -1})
    assert isinstance(error, InputError), "anything else would bring the message back for ever"
    assert client.llen(QUEUE) == 0


def test_the_signature_is_read_once(app: NovaCelery) -> None:
    task = app.tasks[NAME]
    assert task.arguments is task.arguments


@pytest.mark.parametrize("name", ["schema", "copy", "_private", "model_config", "self"])
def test_a_parameter_may_have_any_name(name: str) -> None:
    """pydantic warns of some names, and warnings are errors here."""
    namespace: dict[str, Any] = {}
    exec(f"def function({name}: int): ...", namespace)  # noqa: S102
    arguments = Arguments.of("t", namespace["function"])
    arguments.check([1], None)
    with pytest.raises(InputError, match=f"argument {name}: "):
        arguments.check(None, {name: "x"})


def test_what_a_signature_leaves_open_takes_anything() -> None:
    def function(free, *rest, **more: Any) -> None:  # type: ignore[no-untyped-def]
        """Say nothing about its arguments."""

    Arguments.of("t", function).check([object(), 2, "three"], {"four": [5]})


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(InputError, match="task t: missing a required argument: 'day'"):
        Arguments.of("t", lambda day: day).check(None, None)


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "20260228", "2026-W09-1", 20260228])
def test_a_day_is_text_in_one_form(day: object) -> None:
    def function(day: IsoDay) -> None:
        """Take a day."""

    arguments = Arguments.of("t", function)
    arguments.check(["2026-02-28"], None)
    with pytest.raises(InputError, match="argument day: "):
        arguments.check([day], None)
