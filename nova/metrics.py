"""Every Prometheus metric of Nova: name, help, labels. Names are nova_<noun>_<unit>[_total].

Requests are counted by the process that answers them. The state of the fleet is read from Redis
when somebody asks, so each API process, however many there are, shows the whole fleet.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import redis
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

import nova

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
#: Seconds that a scrape waits for each of its five answers of Redis; Prometheus gives up after 10.
REDIS_TIMEOUT_SECONDS = 1.0

# They would double the number of series, and nothing here needs them.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: What this process counts itself.
REGISTRY = CollectorRegistry()

API_REQUESTS = Counter(
    "nova_api_requests_total",
    "Requests that the API answered.",
    ("method", "route", "status"),
    registry=REGISTRY,
)
API_REQUEST_DURATION = Histogram(
    "nova_api_request_duration_seconds",
    "Time until the API had answered a request.",
    ("method", "route"),
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


RELEASE_INFO = FleetGauge("nova_release_info", "The release that answers, always 1.", ("release",))
REDIS_UP = FleetGauge("nova_redis_up", "1 if Redis answers, else 0; then no gauge of the fleet.")
QUEUE_DEPTH = FleetGauge(
    "nova_queue_depth_tasks", "Tasks that wait in a queue and that no worker has yet.", ("queue",)
)
WORKERS_ONLINE = FleetGauge(
    "nova_workers_online", "Workers online that take tasks from a queue.", ("queue",)
)
HELD_MESSAGES = FleetGauge(
    "nova_held_messages", "Messages that workers hold: they run, wait for an ETA or a new try."
)
OLDEST_RENEWAL = FleetGauge(
    "nova_oldest_renewal_seconds",
    "Time since the lease of any held message was renewed last, the longest; 0 if none is held.",
)
DEAD_LETTERS = FleetGauge("nova_dead_letters", "Messages that were given up.", ("queue",))
FLEET_GAUGES = (
    RELEASE_INFO,
    REDIS_UP,
    QUEUE_DEPTH,
    WORKERS_ONLINE,
    HELD_MESSAGES,
    OLDEST_RENEWAL,
    DEAD_LETTERS,
)


def _redelivered() -> CounterMetricFamily:
    """Return the counter without values yet: all workers count it, in Redis."""
    return CounterMetricFamily(
        "nova_redelivered_messages_total",
        "Messages that went back to their queue because their worker was silent.",
        labels=("queue",),
    )


class FleetCollector(Collector):
    """Reads the state of the fleet; `client` should wait no longer than a scrape may take."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def describe(self) -> list[Metric]:
        """Return the gauges without values; nothing is asked of Redis."""
        return [*(gauge.family() for gauge in FLEET_GAUGES), _redelivered()]

    def collect(self) -> Iterator[Metric]:
        """Return the gauges. With Redis away there are only the release and nova_redis_up 0."""
        release = RELEASE_INFO.family()
        release.add_metric((nova.__release__,), 1)
        yield release
        up = REDIS_UP.family()
        try:
            fleet = [*self._fleet(), *self._deliveries()]
        except redis.RedisError as error:
            logger.warning("no gauges of the fleet: Redis does not answer: %s", error)
            fleet = []
        up.add_metric((), 1 if fleet else 0)
        yield up
        yield from fleet

    def _fleet(self) -> list[Metric]:
        # Imported here: it brings Celery, which is a second of start-up for others.
        from nova.runtime.fleet import read_fleet

        fleet = read_fleet(self.client)
        depth, online = QUEUE_DEPTH.family(), WORKERS_ONLINE.family()
        for name, waiting in fleet.queues.items():
            depth.add_metric((name,), waiting)
            online.add_metric((name,), fleet.workers_of(name))
        return [depth, online]

    def _deliveries(self) -> list[Metric]:
        from nova.runtime.deliveries import read_deliveries

        found = read_deliveries(self.client)
        held, oldest = HELD_MESSAGES.family(), OLDEST_RENEWAL.family()
        held.add_metric((), found.held)
        oldest.add_metric((), found.oldest_renewal_seconds)
        dead, redelivered = DEAD_LETTERS.family(), _redelivered()
        for name, count in found.dead_letters.items():
            dead.add_metric((name,), count)
        for name, count in found.redelivered.items():
            redelivered.add_metric((name,), count)
        return [held, oldest, dead, redelivered]


def render(client: redis.Redis) -> bytes:
    """Return all metrics in the text format of Prometheus."""
    return generate_latest(REGISTRY) + generate_latest(FleetCollector(client))
