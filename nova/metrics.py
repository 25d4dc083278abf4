"""Every Prometheus metric of Nova: name, help, labels. Names are nova_<noun>_<unit>[_total].

Requests are counted by the process that answers them. All else is read from Redis when somebody
asks, so each API process, however many there are, shows the whole fleet: what workers counted
(`nova/runtime/handover.py`), and what stands there (`nova/runtime/collectors.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import redis
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
#: Seconds that a scrape waits for each answer of Redis. The first that does not come ends the
#: waiting, so that a frozen Redis costs one; Prometheus gives up after 10.
REDIS_TIMEOUT_SECONDS = 1.0
#: Upper bounds in seconds. Tasks take milliseconds to the longest time limit of the queues.
RUNTIME_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900, 1800)
#: A task starts within 50 ms when a worker is free; 75 s is the bound of a redelivery.
WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 75, 300, 1800)

# They would double the number of series, and nothing here needs them.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: What this process counts itself.
REGISTRY = CollectorRegistry()

_ROUTE = ("method", "route")
_REQUEST = (*_ROUTE, "status")
API_REQUESTS = Counter(
    "nova_api_requests_total",
    "Requests that the API answered.",
    _REQUEST,
    registry=REGISTRY,
)
API_REQUEST_DURATION = Histogram(
    "nova_api_request_duration_seconds",
    "Time until the API had answered a request.",
    _ROUTE,
    registry=REGISTRY,
    # Most routes ask Redis once or twice: milliseconds. 2 s and 5 s are where Redis timeouts
    # show, and an upload of 512 MB takes minutes.
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def observe_request(method: str, route: str, status: int, duration_seconds: float) -> None:
    """Count and time one answered request; `route` is the route's path template."""
    # Clients may invent methods, and each would be a series.
    known_method = method if method in _METHODS else "other"
    API_REQUESTS.labels(known_method, route, str(status)).inc()
    API_REQUEST_DURATION.labels(known_method, route).observe(duration_seconds)


@dataclass(frozen=True)
class FleetGauge:
    """A gauge whose value is read when it is asked for."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> GaugeMetricFamily:
        """Return it without values yet."""
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)


@dataclass(frozen=True)
class FleetCounter:
    """A counter that many processes count, in Redis."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> CounterMetricFamily:
        """Return it without values yet."""
        return CounterMetricFamily(self.name, self.help, labels=self.labels)


@dataclass(frozen=True)
class FleetHistogram:
    """A histogram that many processes count, in Redis."""

    name: str
    help: str
    buckets: Sequence[float]
    labels: tuple[str, ...] = ()

    def family(self) -> HistogramMetricFamily:
        """Return it without values yet."""
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)


_TASK = ("task", "queue")
_WORKER = ("worker", "host", "queue")
_ENTRY = ("entry",)

RELEASE_INFO = FleetGauge("nova_release_info", "The release that answers, always 1.", ("release",))
REDIS_UP = FleetGauge(
    "nova_redis_up", "1 if Redis answers, else 0; then nothing that is read from it is shown."
)

FLEET_LOCK = FleetGauge(
    "nova_fleet_lock_seconds",
    "For how long somebody has held the lock of the fleet; 0 if nobody does.",
)
API_PAUSE = FleetGauge(
    "nova_api_pause_seconds", "For how long the API stays paused on purpose; 0 if it is not."
)

QUEUE_DEPTH = FleetGauge(
    "nova_queue_depth_tasks", "Tasks that wait in a queue and that no worker has yet.", ("queue",)
)
OLDEST_TASK = FleetGauge(
    "nova_queue_oldest_task_seconds",
    "How long the task has waited that is next in a queue; 0 if none waits.",
    ("queue",),
)
WORKERS_ONLINE = FleetGauge(
    "nova_workers_online", "Workers online that take tasks from a queue.", ("queue",)
)
HELD_MESSAGES = FleetGauge(
    "nova_held_messages",
    "Messages that workers hold, unacknowledged: they run, wait for an ETA or a new try.",
)
OLDEST_RENEWAL = FleetGauge(
    "nova_oldest_renewal_seconds",
    "Time since the lease of any held message was renewed last, the longest; 0 if none is held. "
    "More than 75: nobody sweeps.",
)
DEAD_LETTERS = FleetGauge(
    "nova_dead_letters", "Messages that were given up and that nobody has decided on.", ("queue",)
)
REDELIVERED = FleetCounter(
    "nova_redelivered_messages_total",
    "Messages that went back to their queue because their worker was silent.",
    ("queue",),
)
DEAD_LETTERED = FleetCounter(
    "nova_dead_lettered_messages_total", "Messages that were given up, ever.", ("queue",)
)

#: By what is counted for them, see nova/runtime/counts.py.
TASK_COUNTERS = {
    "received": FleetCounter(
        "nova_received_tasks_total",
        "Tasks that a worker took; those that come back are counted again.",
        _TASK,
    ),
    "started": FleetCounter("nova_started_tasks_total", "Starts of tasks.", _TASK),
    "succeeded": FleetCounter("nova_succeeded_tasks_total", "Starts that ended well.", _TASK),
    "failed": FleetCounter(
        "nova_failed_tasks_total",
        "Tasks that failed for good, those at their hard time limit included.",
        (*_TASK, "exception"),
    ),
    "retried": FleetCounter(
        "nova_retried_tasks_total", "Starts that ended with another try for later.", _TASK
    ),
    "rejected": FleetCounter(
        "nova_rejected_tasks_total",
        "Starts that ended with the message put back or refused; tasks that this release does not "
        "know have the name unknown.",
        _TASK,
    ),
    "ignored": FleetCounter(
        "nova_ignored_tasks_total",
        "Starts without an outcome: another worker has the run, or another task replaces it.",
        _TASK,
    ),
    "revoked": FleetCounter(
        "nova_revoked_tasks_total", "Tasks that were revoked or had expired.", _TASK
    ),
    "lost_child": FleetCounter(
        "nova_lost_child_tasks_total",
        "Starts whose process died; the task starts again, five times at most.",
        _TASK,
    ),
    "hard_time_limit": FleetCounter(
        "nova_hard_time_limit_tasks_total",
        "Starts whose process was killed at the hard time limit.",
        _TASK,
    ),
}
RUNTIME = FleetHistogram(
    "nova_task_runtime_seconds",
    "Time from the start of a task to its end, as the worker's main process sees it.",
    RUNTIME_BUCKETS,
    ("task", "outcome"),
)
WAIT = FleetHistogram(
    "nova_task_wait_seconds",
    "Time from the publishing of a task, or its ETA, to its first start.",
    WAIT_BUCKETS,
    ("queue",),
)
WORKER_TASKS = FleetCounter(
    "nova_worker_tasks_total",
    "What happened to tasks on each worker; the events are those of the counters above. Goes a day "
    "after the worker has.",
    (*_WORKER, "event"),
)
WORKER_WAIT = FleetHistogram(
    "nova_worker_wait_seconds",
    "Time from the publishing of a task, or its ETA, to its first start on this worker. Goes a day "
    "after the worker has.",
    WAIT_BUCKETS,
    _WORKER,
)

LEDGER_COMMITS = FleetCounter(
    "nova_ledger_commits_total",
    "Commits of effects: committed; before, which had happened already; stale, by a worker whose "
    "run another has, without an effect.",
    ("outcome",),
)
OUTBOX_MESSAGES = FleetCounter(
    "nova_outbox_messages_total", "Tasks that commits published, by their queue.", ("queue",)
)

BEAT_UP = FleetGauge("nova_beat_up", "1 if a beat leads, else 0.")
BEAT_LEADER = FleetGauge(
    "nova_beat_leader_info", "The beat that leads, always 1; absent if none.", ("host", "release")
)
BEAT_TICK = FleetGauge(
    "nova_beat_last_tick_timestamp_seconds",
    "When a leader looked last what is due, Unix time by the clock of Redis; 0 if none ever did.",
)
LATENESS = FleetGauge(
    "nova_schedule_lateness_seconds",
    "How late the last slot of an entry was published; 0 if none was yet.",
    _ENTRY,
)
OVERDUE = FleetGauge(
    "nova_schedule_overdue_seconds",
    "For how long a slot of an entry is due now and not published; 0 if none is.",
    _ENTRY,
)
LAST_SLOT = FleetGauge(
    "nova_schedule_last_slot_timestamp_seconds",
    "Planned time of the last slot that was published, Unix time; 0 if none was yet.",
    _ENTRY,
)
NEXT_SLOT = FleetGauge(
    "nova_schedule_next_slot_timestamp_seconds",
    "Planned time of the next slot, Unix time.",
    _ENTRY,
)
MISSED_SLOTS = FleetCounter(
    "nova_schedule_missed_slots_total",
    "Slots that were passed over and never published, by the catch-up policy; no more than 1,000 "
    "are counted of one outage.",
    _ENTRY,
)

#: In the order in which they are shown.
FLEET_METRICS: tuple[FleetGauge | FleetCounter | FleetHistogram, ...] = (
    RELEASE_INFO,
    REDIS_UP,
    FLEET_LOCK,
    API_PAUSE,
    QUEUE_DEPTH,
    OLDEST_TASK,
    WORKERS_ONLINE,
    HELD_MESSAGES,
    OLDEST_RENEWAL,
    REDELIVERED,
    DEAD_LETTERS,
    DEAD_LETTERED,
    *TASK_COUNTERS.values(),
    RUNTIME,
    WAIT,
    WORKER_TASKS,
    WORKER_WAIT,
    LEDGER_COMMITS,
    OUTBOX_MESSAGES,
    BEAT_UP,
    BEAT_LEADER,
    BEAT_TICK,
    LATENESS,
    OVERDUE,
    LAST_SLOT,
    NEXT_SLOT,
    MISSED_SLOTS,
)


def all_metrics() -> list[tuple[Metric, tuple[str, ...]]]:
    """Return every metric without values, and its labels; asks nobody."""
    of_the_api = [(API_REQUESTS, _REQUEST), (API_REQUEST_DURATION, _ROUTE)]
    return [
        *((next(iter(metric.describe())), labels) for metric, labels in of_the_api),
        *((metric.family(), metric.labels) for metric in FLEET_METRICS),
    ]


def render(client: redis.Redis) -> bytes:
    """Return all metrics in the text format of Prometheus."""
    # Imported here: it brings Celery, which is a second of start-up for others.
    from nova.runtime.collectors import FleetCollector

    return generate_latest(REGISTRY) + generate_latest(FleetCollector(client))
