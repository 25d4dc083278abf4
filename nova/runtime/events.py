"""Celery's events, which Flower shows: sent if possible, and never waited for."""

from typing import Any

from celery.app import events as stock
from celery.events.dispatcher import EventDispatcher


class Dispatcher(EventDispatcher):  # type: ignore[misc]  # celery ships no types
    """A dispatcher that does not try again.

    Celery's worker sends its heartbeats from the event loop, and again for as long as Redis does
    not take them: one that froze would hold up the loop, which then never sees that its own
    connections are dead.
    """

    def send(self, type: str, *args: Any, retry: bool = False, **options: Any) -> Any:
        """Send an event, once; it is kept for later if that fails."""
        return super().send(type, *args, retry=False, **options)


class Events(stock.Events):  # type: ignore[misc]
    """Celery's events with Nova's dispatcher."""

    dispatcher_cls = "nova.runtime.events:Dispatcher"
