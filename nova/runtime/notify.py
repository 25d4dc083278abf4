"""Tells systemd how a process is doing: READY, STOPPING and a STATUS line for people.

The protocol is one datagram to a Unix socket, see sd_notify(3). Outside systemd nothing is sent.
"""

import atexit
import itertools
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import redis
from celery import bootsteps, signals

from nova.settings import Settings, get_settings
from nova.store import connect

logger = logging.getLogger(__name__)

#: Seconds between two tries to reach Redis at start.
RETRY_SECONDS = 2.0
#: Of the tries, each how many-th is logged: one a minute.
LOG_EVERY_ATTEMPTS = 30


def notify(*lines: str) -> None:
    """Send assignments such as `READY=1` to systemd, if it listens."""
    address = get_settings().notify_socket
    if not address:
        return
    if address.startswith("@"):  # a socket in the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        logger.warning("cannot tell systemd %s: %s", lines[0], error)


def wait_for_redis(
    settings: Settings, client: redis.Redis, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return once Redis answers; meanwhile say in the unit's status what is being waited for."""
    for attempt in itertools.count():
        try:
            client.ping()
            return
        except redis.RedisError as error:
            waiting = f"waiting for Redis at {settings.redis_location}: {error}"
            notify(f"STATUS={waiting}")
            if attempt % LOG_EVERY_ATTEMPTS == 0:
                logger.warning(waiting)
            sleep(RETRY_SECONDS)


class ReadyStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Consumer step: READY when the worker consumes, which it starts only with a broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Runs at every (re)connection, after the task consumer is there."""
        queues = ", ".join(sorted(queue.name for queue in parent.task_consumer.queues))
        notify("READY=1", f"STATUS=consuming {queues}")

    def stop(self, parent: Any) -> None:
        """Runs when the connection is lost, and at shutdown before `StoppingStep`."""
        notify("STATUS=not connected to Redis")


class StoppingStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Worker step: STOPPING when the worker is asked to stop."""

    requires = ("celery.worker.components:Pool",)

    def stop(self, parent: Any) -> None:
        """Runs before the pool waits for running tasks."""
        notify("STOPPING=1", "STATUS=finishing running tasks")


def install(app: Any) -> None:
    """Make the app's workers and beat tell systemd how they are."""
    app.steps["consumer"].add(ReadyStep)
    app.steps["worker"].add(StoppingStep)
    signals.beat_init.connect(_on_beat_init, weak=False)


def _on_beat_init(**_: Any) -> None:
    settings = get_settings()
    atexit.register(notify, "STOPPING=1")
    with connect(settings) as client:
        wait_for_redis(settings, client)
