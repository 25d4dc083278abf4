"""The base task: where its limits come from, and what happens when it cannot be retried."""

from collections.abc import Callable

import pytest
from celery.exceptions import Reject

from nova.errors import UnavailableError
from nova.queues import QUEUES
from nova.runtime import publishing
from nova.runtime.app import NovaCelery
from nova.runtime.connections import broker_connection, result_connection
from nova.runtime.task import NovaTask
from nova.settings import Settings


def make_task(settings: Settings) -> NovaTask:
    app = NovaCelery("test", settings)
    app.conf.update(**broker_connection(settings), **result_connection(settings))

    @app.task(name="nova.trends.scan", bind=True, shared=False)  # type: ignore[untyped-decorator]
    def scan(self: NovaTask) -> None:
        raise UnavailableError("away")

    task: NovaTask = scan
    return task


def test_time_limits_come_from_the_queue_of_the_name(settings: Settings) -> None:
    task, queue = make_task(settings), QUEUES["trends"]
    assert task.soft_time_limit == queue.soft_time_limit_seconds
    assert task.time_limit == queue.time_limit_seconds


def test_a_run_that_cannot_be_published_again_goes_back_to_its_queue(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis went away under the task, and stays away for longer than publishers try."""
    monkeypatch.setattr(publishing, "PUBLISH_SECONDS", 0.0)
    task = make_task(make_settings(REDIS_URL="redis://127.0.0.1:1/0"))
    task.push_request(id="1", called_directly=False, is_eager=False, retries=0)
    with pytest.raises(Reject) as caught:
        task.retry(exc=UnavailableError("away"))
    assert caught.value.requeue
