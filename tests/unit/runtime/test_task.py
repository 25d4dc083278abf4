"""The base task: where its limits come from, and what happens when it cannot be retried."""

import json
from collections.abc import Callable
from typing import cast

import pytest
import redis
from celery.exceptions import Reject, Retry
from kombu import Queue

from nova.errors import ConfigurationError, UnavailableError
from nova.queues import QUEUES
from nova.runtime import publishing
from nova.runtime.app import NovaCelery
from nova.runtime.connections import broker_connection, result_connection
from nova.runtime.ledger import TOKEN_HEADER
from nova.runtime.task import NovaTask
from nova.settings import Settings


def make_task(settings: Settings) -> NovaTask:
    app = NovaCelery("test", settings)
    app.conf.update(**broker_connection(settings), **result_connection(settings))
    app.conf.task_queues = [Queue("trends")]

    @app.task(name="nova.trends.scan", bind=True, shared=False)  # type: ignore[untyped-decorator]
    def scan(self: NovaTask) -> None:
        raise UnavailableError("away")

    task: NovaTask = scan
    return task


def test_time_limits_come_from_the_queue_of_the_name(settings: Settings) -> None:
    task, queue = make_task(settings), QUEUES["trends"]
    assert task.soft_time_limit == queue.soft_time_limit_seconds
    assert task.time_limit == queue.time_limit_seconds


@pytest.mark.parametrize("option", [{"acks_late": False}, {"retry_on_worker_lost": True}])
@pytest.mark.parametrize("by", ["decorator", "setting"])
def test_a_task_that_would_end_its_claim_before_its_run_is_refused(
    settings: Settings, option: dict[str, bool], by: str
) -> None:
    """Acknowledged early, a run would be done before its effects; the app does not even load."""
    app = NovaCelery("test", settings)
    if by == "setting":
        app.conf.task_annotations = {"nova.trends.early": option}
        option = {}
    app.task(make_task, name="nova.trends.early", shared=False, **option)
    with pytest.raises(ConfigurationError, match=r"nova\.trends\.early: acks_late=False") as caught:
        app.finalize()
    assert "\n" not in str(caught.value)


def test_a_retry_does_not_carry_the_token_of_its_first_start(
    settings: Settings, client: redis.Redis
) -> None:
    """Celery takes the headers of a request over; the next start has a claim of its own."""
    task = make_task(settings)
    headers = {TOKEN_HEADER: "nova:w@host:0:0.0", "mine": "kept"}
    delivery = {"exchange": "", "routing_key": "trends"}
    task.push_request(
        id="1",
        called_directly=False,
        is_eager=False,
        retries=0,
        headers=headers,
        delivery_info=delivery,
        **headers,
    )
    with pytest.raises(Retry):
        task.retry(exc=UnavailableError("away"), countdown=1)
    [raw] = cast(list[bytes], client.lrange("trends", 0, -1))
    published = json.loads(raw)["headers"]
    assert published["mine"] == "kept"
    assert TOKEN_HEADER not in published


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
