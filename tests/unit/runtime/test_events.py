"""Events are sent once."""

from typing import Any

import pytest
from celery import Celery
from celery.events.dispatcher import EventDispatcher

from nova.runtime.events import Dispatcher


def test_what_celery_wants_to_send_until_it_succeeds_is_sent_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker's heartbeats come with retry=True, from its event loop."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(
        EventDispatcher, "send", lambda _self, kind, **options: sent.append({kind: options})
    )
    dispatcher = Dispatcher(app=Celery(broker="memory://"), enabled=False)
    dispatcher.send("worker-heartbeat", freq=2, retry=True)
    assert sent == [{"worker-heartbeat": {"retry": False, "freq": 2}}]
