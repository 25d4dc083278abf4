"""How the counts of a worker come to Redis, where every API process reads them.

Each worker sends what is new every five seconds, in one call. Two kinds of totals grow by it:
those of the fleet by task, which stay for ever, and those of the worker, which go a day after it
has gone.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import redis
from celery import Celery, bootsteps, signals
from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server

from nova.queues import queue_of_task
from nova.runtime.collectors import WorkerCollector
from nova.runtime.counts import COUNTS, CountKey, Counts, Event, of_worker
from nova.runtime.deliveries import queue_label
from nova.runtime.forking import no_fork
from nova.runtime.scripts import load
from nova.runtime.totals import NUMBER_EXPIRES_SECONDS, WORKER_EXPIRES_SECONDS, write_key
from nova.settings import Settings, get_settings
from nova.store import Keys, connect

logger = logging.getLogger(__name__)

#: As often as a heartbeat. A worker that is killed takes with it what it counted in this time.
INTERVAL_SECONDS = 5.0
#: Seconds to wait for an answer of Redis.
TIMEOUT_SECONDS = 2.0
#: Seconds that a stopping worker waits for the thread, which may wait for a Redis that froze.
STOP_SECONDS = 1.0
#: What bounds the number of series; `docs/operations.md` says what comes of it.
MOST_FIELDS = 5_000
MOST_WORKERS = 500
#: Counters that are 0 before anything happens; which exceptions there will be nobody knows.
ANNOUNCED: tuple[Event, ...] = (
    "received",
    "started",
    "succeeded",
    "retried",
    "rejected",
    "ignored",
    "revoked",
    "lost_child",
    "hard_time_limit",
)


class Handover:
    """Sends the counts of one process."""

    def __init__(self, client: redis.Redis, counts: Counts, worker: str) -> None:
        self._counts = counts
        self._worker = worker
        self._script = load(client, "count")

    def send(self) -> None:
        """Hand over all that was counted; at least one call, which says that the worker is there.

        Raises:
            redis.RedisError: Redis is away, or refused. The counts wait; whether Redis has added
                them all the same the next call will tell, and none is added twice.
        """
        was_waiting = self._counts.is_waiting
        self._send_batch()
        if self._counts.confirm() and was_waiting:
            self._send_batch()
            self._counts.confirm()

    def _send_batch(self) -> None:
        batch = self._counts.batch()
        own = of_worker(batch.counts)
        self._script(
            keys=[
                Keys.COUNTS,
                Keys.worker_counts(self._worker),
                Keys.COUNTING_WORKERS,
                Keys.count_batch(self._counts.process),
            ],
            args=[
                batch.number,
                self._worker,
                WORKER_EXPIRES_SECONDS,
                NUMBER_EXPIRES_SECONDS,
                MOST_FIELDS,
                MOST_WORKERS,
                Keys.WORKER_COUNTS_PREFIX,
                len(batch.counts),
                *_words(batch.counts),
                *_words(own),
            ],
        )


def _words(counts: Mapping[CountKey, int]) -> Iterator[str | int]:
    for key, amount in counts.items():
        yield write_key(key)
        yield amount


class HandoverThread(threading.Thread):
    """Hands over now and then until it is told to stop, and then once more."""

    def __init__(self, handover: Handover, interval_seconds: float = INTERVAL_SECONDS) -> None:
        super().__init__(name="counts", daemon=True)
        self._handover = handover
        self._interval_seconds = interval_seconds
        self._stop_event = threading.Event()
        self._is_failing = False

    def run(self) -> None:
        """Send, whatever happens: a task must not suffer from being counted."""
        is_stopping = False
        while True:
            with no_fork():
                self._send()
            if is_stopping:
                return
            is_stopping = self._stop_event.wait(self._interval_seconds)

    def stop(self) -> None:
        """Return when the last counts are handed over, or Redis does not take them in time."""
        self._stop_event.set()
        self.join(STOP_SECONDS)

    def _send(self) -> None:
        try:
            self._handover.send()
        except Exception as error:
            if not self._is_failing:
                logger.warning("cannot hand over what was counted, it waits: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False


class CountsStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Worker step: counts are handed over from before the first task to after the last."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.thread: HandoverThread | None = None

    def start(self, parent: Any) -> None:
        """Make the tasks known, start the thread and, if there is a port for it, the endpoint."""
        settings = get_settings()
        announce(parent.app, COUNTS)
        client = connect(settings, TIMEOUT_SECONDS)
        self.thread = HandoverThread(Handover(client, COUNTS, parent.hostname))
        self.thread.start()
        serve(settings, parent.hostname)

    def stop(self, parent: Any) -> None:
        """Runs after the pool has ended."""
        if self.thread is not None:
            self.thread.stop()

    def terminate(self, parent: Any) -> None:
        """Runs at a cold shutdown."""
        self.stop(parent)


def announce(app: Celery, counts: Counts) -> None:
    """Make the tasks known whose queues this worker serves."""
    served = set(app.amqp.queues.consume_from)
    for name in app.tasks:
        queue = queue_of_task(name).name
        if name.startswith("nova.") and queue in served:
            counts.announce(name, queue, ANNOUNCED)


def serve(settings: Settings, worker: str) -> None:
    """Show what this process has counted on a port of its own, if one is set.

    A port that is taken is no reason not to work.
    """
    port = settings.worker_metrics_port
    if port is None:
        return
    registry = CollectorRegistry()
    registry.register(WorkerCollector(COUNTS, worker))
    try:
        server, _ = start_http_server(port, settings.worker_metrics_host, registry)
    except OSError as error:
        logger.error(
            "no metrics at %s:%d: %s; set another NOVA_WORKER_METRICS_PORT",
            *(settings.worker_metrics_host, port, error.strerror),
        )
        return
    server.set_app(_undisturbed(make_wsgi_app(registry)))
    # Children get a copy of the socket, and would keep the port from the next worker.
    signals.worker_process_init.connect(lambda **_: server.socket.close(), weak=False)
    logger.info(
        "metrics of this worker at http://%s:%d/metrics", settings.worker_metrics_host, port
    )


def _undisturbed(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Let no fork happen while a request is answered; for its bytes to come and go it may."""

    def answer_undisturbed(*arguments: Any) -> Any:
        with no_fork():
            return answer(*arguments)

    return answer_undisturbed


def _on_received(request: Any, **_: Any) -> None:
    COUNTS.event("received", request.task.name, queue_label(request.delivery_info["routing_key"]))


def _on_revoked(sender: Any, request: Any, **_: Any) -> None:
    queue = (request.delivery_info or {}).get("routing_key")
    COUNTS.event("revoked", sender.name, queue_label(queue))


def install(app: Celery) -> None:
    """Make the app's workers count."""
    app.steps["worker"].add(CountsStep)
    signals.task_received.connect(_on_received, weak=False)
    signals.task_revoked.connect(_on_revoked, weak=False)
