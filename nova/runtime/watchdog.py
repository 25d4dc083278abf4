"""Tells systemd that a process gets on, so that it is killed and started anew when it does not.

systemd expects WATCHDOG=1 within each WatchdogSec. A thread sends it, not the event loop: that one
rests while a worker connects again. But it sends it only if the process has got on since the last
time: turned its event loop, or tried once more to connect.
"""

import threading
import time
from typing import Any

from celery import bootsteps, signals
from celery.concurrency.solo import TaskPool as SoloPool

from nova.runtime.forking import no_fork
from nova.runtime.notify import notify
from nova.settings import Settings, get_settings

#: So many times in WatchdogSec there is a chance to tell.
PINGS_PER_PERIOD = 3


class Watchdog(threading.Thread):
    """Tells systemd now and again, while there is progress."""

    def __init__(self, interval_seconds: float, *, is_blind: bool) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._interval = interval_seconds
        self._is_blind = is_blind
        self._told_at = 0.0

    def run(self) -> None:
        """Runs until the process ends, through its stop as well."""
        while True:
            if self._is_blind or progress_made_at() > self._told_at:
                self._told_at = time.monotonic()
                with no_fork():
                    notify("WATCHDOG=1")
            time.sleep(self._interval)


_made_at = 0.0


def progress() -> None:
    """Say that this process gets on. Costs next to nothing; call it as often as you like."""
    global _made_at  # noqa: PLW0603  # one process, one stamp
    _made_at = time.monotonic()


def progress_made_at() -> float:
    """Return when this process last got on, by `time.monotonic`."""
    return _made_at


def interval_seconds(settings: Settings) -> float:
    """Return the seconds between two tellings; 0 when systemd does not watch."""
    return settings.watchdog_usec / 1_000_000 / PINGS_PER_PERIOD


def start(settings: Settings, *, is_blind: bool = False) -> None:
    """Begin to tell systemd, if it watches this process.

    A blind watchdog does not look for progress: the unit has its WatchdogSec all the same, and
    somebody must tell.
    """
    progress()
    if settings.watchdog_usec:
        is_blind = is_blind or "watchdog" in settings.stock_parts
        Watchdog(interval_seconds(settings), is_blind=is_blind).start()


class WatchdogStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Worker step: the watchdog of a worker."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """Runs before the first connection."""
        settings = get_settings()
        if not settings.watchdog_usec:
            return
        # A timer of the event loop, not a callback at its turns: Celery goes on with the timers
        # when a shutdown without drain leaves the loop to wait for the pool.
        parent.timer.call_repeatedly(interval_seconds(settings) / 2, progress)
        # The pool `solo` runs its tasks in the event loop, and stock workers do not tell that
        # they connect again: nobody knows whether those get on.
        is_blind = isinstance(parent.pool, SoloPool) or "transport" in settings.stock_parts
        start(settings, is_blind=is_blind)


def install(app: Any) -> None:
    """Give the app's workers and beat a watchdog."""
    app.steps["worker"].add(WatchdogStep)
    signals.beat_init.connect(_on_beat_init, weak=False)


def _on_beat_init(**_: Any) -> None:
    start(get_settings())
