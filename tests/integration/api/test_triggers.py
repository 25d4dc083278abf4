"""Idempotency keys: what is asked for twice is published once."""

import json
import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from kombu import Queue

from nova.api.app import create_app
from nova.api.security import Role
from nova.runtime.app import NovaCelery
from nova.runtime.connections import broker_connection, result_connection
from nova.runtime.publishing import ASKED_HEADER
from nova.settings import Settings
from nova.store import Keys
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess, StartApi
from tests.unit.api.conftest import Api

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
PATH = "/api/celery/governance/run"
QUEUE = "governance"
HOUR = timedelta(hours=1)


def trigger(
    api: ApiProcess, key: str | None = "k1", *, subject: str = "ann", **options: Any
) -> httpx.Response:
    """Trigger governance as somebody, with a key."""
    issued = api.tokens.issue(subject, Role.OPERATOR, HOUR)
    headers = {"Authorization": f"Bearer {issued.text}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    return httpx.post(api.url + PATH, headers=headers, timeout=30, **options)


def test_the_same_key_publishes_once_and_answers_the_same(api: ApiProcess, client: Client) -> None:
    answers = [trigger(api) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert client.llen(QUEUE) == 1


def test_without_a_key_each_request_publishes(api: ApiProcess, client: Client) -> None:
    ids = {trigger(api, None).json()["task_id"] for _ in range(2)}
    assert len(ids) == client.llen(QUEUE) == 2


def test_another_key_and_another_caller_publish_anew(api: ApiProcess, client: Client) -> None:
    answers = [trigger(api), trigger(api, "k2"), trigger(api, subject="bob")]
    assert len({answer.json()["task_id"] for answer in answers}) == client.llen(QUEUE) == 3


def test_a_role_does_not_matter_and_neither_does_the_api_host(
    start_api: StartApi, client: Client
) -> None:
    one, other = trigger(start_api()), trigger(start_api())
    assert one.json() == other.json()
    assert client.llen(QUEUE) == 1


def test_the_same_key_with_other_arguments_is_a_conflict_and_publishes_nothing(
    api: ApiProcess, client: Client
) -> None:
    first = trigger(api, json={"auto_actions": False})
    other = trigger(api, json={"auto_actions": True})
    assert other.status_code == 409
    problem = other.json()
    assert problem["type"] == "urn:nova:problem:conflict"
    assert first.json()["task_id"] in problem["detail"]
    assert "Idempotency-Key" in problem["detail"]
    assert client.llen(QUEUE) == 1
    again = trigger(api, json={"auto_actions": False})
    assert (again.status_code, again.json()) == (202, first.json())


def test_wrong_arguments_do_not_use_up_a_key(api: ApiProcess, client: Client) -> None:
    assert trigger(api, json={"auto_actions": "perhaps"}).status_code == 422
    assert trigger(api, json={"auto_actions": True}).status_code == 202
    assert client.llen(QUEUE) == 1


def test_at_the_same_time_one_of_them_publishes(api: ApiProcess, client: Client) -> None:
    """Whichever arguments come first win; nothing is decided in the API process."""
    answers: list[httpx.Response] = []

    def ask(actions: bool) -> None:
        answers.append(trigger(api, json={"auto_actions": actions}))

    threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202] * 4 + [409] * 4
    assert client.llen(QUEUE) == 1


def test_a_key_is_remembered_after_the_run_and_after_its_result(
    api: ApiProcess, worker: "subprocess.Popen[bytes]", client: Client
) -> None:
    accepted = trigger(api)
    location = accepted.headers["Location"]
    done = ("SUCCESS", "FAILURE")
    wait_until(lambda: api.get(location, Role.VIEWER).json()["state"] in done, api.log.read_text)
    run = Keys.issued_task(accepted.json()["task_id"])
    wait_until(lambda: client.ttl(run) > 0)
    assert client.ttl(run) > 6 * 24 * 3600
    client.delete(Keys.result(accepted.json()["task_id"]))
    again = trigger(api)
    assert (again.status_code, again.json()) == (202, accepted.json())
    assert client.llen(QUEUE) == 0
    assert client.hget(run, "done") is not None
    assert trigger(api, json={"auto_actions": True}).status_code == 409


def test_a_retry_is_published_though_its_run_was_asked_for_with_a_key(
    client: Client, settings: Settings
) -> None:
    """It has the same id and the headers of the message that it repeats."""
    celery_app = app_on(settings)
    celery_app.send_task("nova.trends.scan", task_id="t1", headers={ASKED_HEADER: "digest"})
    [text] = client.lrange("trends", 0, -1)
    headers = json.loads(text)["headers"]
    assert ASKED_HEADER not in headers
    celery_app.send_task("nova.trends.scan", task_id="t1", headers=headers, retries=1)
    assert client.llen("trends") == 2


@pytest.mark.parametrize("key", ["", "x" * 201, "a b", "schl\u00fcssel"])
def test_a_malformed_key_is_refused(api: ApiProcess, client: Client, key: str) -> None:
    issued = api.tokens.issue("ann", Role.OPERATOR, HOUR)
    headers = [
        (b"Authorization", f"Bearer {issued.text}".encode()),
        (b"Idempotency-Key", key.encode()),
    ]
    answer = httpx.post(api.url + PATH, headers=headers, timeout=30)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"] or "idempotency-key" in answer.text
    assert client.llen(QUEUE) == 0


def test_over_the_stock_transport_a_key_is_refused(
    client: Client, make_settings: Callable[..., Settings]
) -> None:
    """There the same id runs twice."""
    settings = make_settings(NOVA_STOCK_PARTS="transport,ledger")
    api = Api(create_app(settings, app_on(settings)))
    answer = api.request("POST", PATH, role=Role.OPERATOR, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 422
    assert "NOVA_STOCK_PARTS" in answer.json()["detail"]


def app_on(settings: Settings) -> NovaCelery:
    """Return an app of Celery that publishes to the private Redis."""
    celery_app = NovaCelery("test", settings)
    celery_app.conf.update(**broker_connection(settings), **result_connection(settings))
    celery_app.conf.task_queues = [Queue("trends")]
    celery_app.conf.task_default_queue = "trends"
    return celery_app
