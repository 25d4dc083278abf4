"""Transactions on watched keys whose answer gets lost: with no claim, nobody may do them again."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from celery import Celery

from nova.governance.models import Report
from nova.governance.reports import commit_plainly
from nova.runtime import ledger
from nova.runtime.ledger import Run
from nova.settings import Settings
from tests.conftest import wait_until


def called_directly(client: redis.Redis, redis_url: str) -> Run:
    """The run of a task that nobody has claimed."""
    app = Celery("test", backend=redis_url, set_as_current=False)
    request = SimpleNamespace(id="1", get={}.get)
    return Run(SimpleNamespace(request=request, app=app), client)


def lose_answers(transaction: Any) -> None:
    """Let Redis do what is sent next, and its answers get lost."""
    connection = transaction.connection
    send, read = connection.send_packed_command, connection.read_response

    def read_response(*_: Any, **__: Any) -> Any:
        connection.read_response = read
        raise redis.ConnectionError("answer lost")

    def send_packed_command(*args: Any, **options: Any) -> None:
        connection.send_packed_command = send
        send(*args, **options)
        connection.read_response = read_response

    connection.send_packed_command = send_packed_command


@pytest.mark.parametrize("of", ["run", "report"])
def test_a_lost_answer_is_no_change_of_a_watched_key(
    client: redis.Redis,
    redis_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    of: str,
) -> None:
    """redis-py says that a watched key has changed, and its own loop tries again."""
    monkeypatch.setattr(ledger, "get_settings", lambda: settings)
    client.set("budget", 1)
    run = called_directly(client, redis_url)
    attempts = []

    def attempt(transaction: Any) -> None:
        attempts.append(1)
        effects = client.pipeline()
        effects.incr("effect")
        if len(attempts) == 1:
            lose_answers(transaction)
        if of == "run":
            run.commit(effects, None, transaction=transaction)
        else:
            commit_plainly(effects, cast(Report, None), transaction)

    with pytest.raises(redis.ConnectionError, match="answer lost"):
        client.transaction(attempt, "budget")
    wait_until(lambda: client.get("effect"))
    assert (client.get("effect"), attempts) == (b"1", [1])
