"""What /metrics shows: the fleet as it stands in Redis, and one worker as it knows itself."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import redis
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import nova
from nova import metrics
from nova.operations.lock import read_lock
from nova.operations.pause import read_pause
from nova.queues import QUEUES, queue_of_task
from nova.runtime.counts import MICROSECONDS, SUM, CountKey, Counts, of_worker
from nova.runtime.deliveries import OTHER_QUEUES, read_deliveries
from nova.runtime.fleet import read_fleet
from nova.runtime.schedule_status import ScheduleStatus, read_schedule
from nova.runtime.totals import Totals, read_totals
from nova.runtime.waiting import read_oldest
from nova.schedule import SCHEDULE

logger = logging.getLogger(__name__)

QUEUE_LABELS = (*QUEUES, OTHER_QUEUES)
#: What `lua/commit.lua` returns.
COMMIT_OUTCOMES = ("committed", "before", "stale")


class FleetCollector(Collector):
    """Reads the state of the fleet; `client` should wait no longer than a scrape may take."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def describe(self) -> list[Metric]:
        """Return the metrics without values; nothing is asked of Redis."""
        return [metric.family() for metric in metrics.FLEET_METRICS]

    def collect(self) -> Iterator[Metric]:
        """Return the metrics. With Redis away there are only the release and nova_redis_up 0."""
        yield _release()
        up = metrics.REDIS_UP.family()
        try:
            fleet = [
                *self._operations(),
                *self._fleet(),
                *self._deliveries(),
                *_tasks(read_totals(self.client)),
                *_schedule(read_schedule(self.client)),
            ]
        except redis.RedisError as error:
            logger.warning("no metrics of the fleet: Redis does not answer: %s", error)
            fleet = []
        up.add_metric((), 1 if fleet else 0)
        yield up
        yield from fleet

    def _operations(self) -> list[Metric]:
        lock, pause = read_lock(self.client), read_pause(self.client)
        now = datetime.now(UTC)
        held, left = metrics.FLEET_LOCK.family(), metrics.API_PAUSE.family()
        held.add_metric((), _seconds(lock.acquired_at, now) if lock else 0)
        left.add_metric((), _seconds(now, pause.until) if pause else 0)
        return [held, left]

    def _fleet(self) -> list[Metric]:
        fleet = read_fleet(self.client)
        depth, online = metrics.QUEUE_DEPTH.family(), metrics.WORKERS_ONLINE.family()
        oldest = metrics.OLDEST_TASK.family()
        for name, waiting in fleet.queues.items():
            depth.add_metric((name,), waiting)
            online.add_metric((name,), fleet.workers_of(name))
        for name, seconds in read_oldest(self.client).items():
            oldest.add_metric((name,), seconds)
        return [depth, oldest, online]

    def _deliveries(self) -> list[Metric]:
        found = read_deliveries(self.client)
        held, oldest = metrics.HELD_MESSAGES.family(), metrics.OLDEST_RENEWAL.family()
        held.add_metric((), found.held)
        oldest.add_metric((), found.oldest_renewal_seconds)
        dead, redelivered = metrics.DEAD_LETTERS.family(), metrics.REDELIVERED.family()
        for name, count in found.dead_letters.items():
            dead.add_metric((name,), count)
        for name, count in found.redelivered.items():
            redelivered.add_metric((name,), count)
        return [held, oldest, redelivered, dead]


class WorkerCollector(Collector):
    """Shows what one worker has counted since it started; asks nobody.

    The metrics are those of the fleet, with the share of this worker.
    """

    def __init__(self, counts: Counts, worker: str) -> None:
        self._counts = counts
        self._worker = worker

    def describe(self) -> list[Metric]:
        """Return the metrics without values."""
        return list(self.collect())

    def collect(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield _release()
        counted = self._counts.totals()
        yield from _task_counters(counted, known=())
        yield from _task_histograms(counted)
        yield from _of_workers({self._worker: of_worker(counted)})


def _seconds(begin: datetime, end: datetime) -> float:
    """Return the time between two moments of two clocks, which may differ a little."""
    return max(0.001, (end - begin).total_seconds())


def _release() -> Metric:
    release = metrics.RELEASE_INFO.family()
    release.add_metric((nova.__release__,), 1)
    return release


# --- What workers count


def _tasks(totals: Totals) -> Iterator[Metric]:
    known = [(entry.task, queue_of_task(entry.task).name) for entry in SCHEDULE]
    yield from _task_counters(totals.fleet, known)
    yield from _task_histograms(totals.fleet)
    yield from _of_workers(totals.workers)
    commits, outbox = metrics.LEDGER_COMMITS.family(), metrics.OUTBOX_MESSAGES.family()
    for outcome in COMMIT_OUTCOMES:
        commits.add_metric((outcome,), totals.ledger[outcome,])
    for queue in QUEUE_LABELS:
        outbox.add_metric((queue,), totals.ledger["outbox", queue])
    yield from (commits, outbox)


def _task_counters(
    counts: Mapping[CountKey, int], known: Iterable[tuple[str, str]]
) -> Iterator[Metric]:
    """Return the counters by task, 0 for those that are known and were not counted."""
    dead = metrics.DEAD_LETTERED.family()
    for queue in QUEUE_LABELS:
        dead.add_metric((queue,), counts.get(("dead_lettered", queue), 0))
    yield dead
    for event, metric in metrics.TASK_COUNTERS.items():
        family = metric.family()
        values = {key[1:]: amount for key, amount in counts.items() if key[0] == event}
        if event != "failed":
            values = dict.fromkeys(known, 0) | values
        for labels, amount in sorted(values.items()):
            family.add_metric(labels, amount)
        yield family


def _task_histograms(counts: Mapping[CountKey, int]) -> Iterator[Metric]:
    runtime = metrics.RUNTIME.family()
    _add_histograms(runtime, "runtime", counts, metrics.RUNTIME_BUCKETS)
    yield runtime
    wait = metrics.WAIT.family()
    quiet = [(queue,) for queue in QUEUE_LABELS]
    _add_histograms(wait, "wait", counts, metrics.WAIT_BUCKETS, known=quiet)
    yield wait


def _of_workers(workers: Mapping[str, Mapping[CountKey, int]]) -> Iterator[Metric]:
    tasks, wait = metrics.WORKER_TASKS.family(), metrics.WORKER_WAIT.family()
    for worker, counts in workers.items():
        who = (worker, worker.partition("@")[2])
        events = {key: amount for key, amount in counts.items() if key[0] in metrics.TASK_COUNTERS}
        for (event, queue), amount in sorted(events.items()):
            tasks.add_metric((*who, queue, event), amount)
        _add_histograms(wait, "wait", counts, metrics.WAIT_BUCKETS, prefix=who)
    yield from (tasks, wait)


def _add_histograms(
    family: HistogramMetricFamily,
    kind: str,
    counts: Mapping[CountKey, int],
    bounds: Sequence[float],
    *,
    known: Iterable[CountKey] = (),
    prefix: CountKey = (),
) -> None:
    """Add what was counted under (kind, labels..., upper bound) to a histogram."""
    found: dict[CountKey, Counter[str]] = defaultdict(Counter)
    for labels in known:
        found[labels] = Counter()
    for (counted, *labels_and_bound), amount in counts.items():
        if counted == kind:
            *labels_found, bound = labels_and_bound
            found[tuple(labels_found)][bound] += amount
    for labels, buckets in sorted(found.items()):
        seconds = buckets.pop(SUM, 0) / MICROSECONDS
        family.add_metric((*prefix, *labels), _cumulated(buckets, bounds), seconds)


def _cumulated(buckets: Mapping[str, int], bounds: Sequence[float]) -> Sequence[tuple[str, float]]:
    """Return how many observations each bound does not exceed.

    The bounds of another release count in the next larger one of this.
    """
    counted = [(float(bound), amount) for bound, amount in buckets.items()]
    return [
        (str(bound), sum(amount for upper, amount in counted if upper <= bound)) for bound in bounds
    ] + [("+Inf", sum(buckets.values()))]


# --- The schedule


def _schedule(found: ScheduleStatus) -> list[Metric]:
    up, leader, tick = (
        metrics.BEAT_UP.family(),
        metrics.BEAT_LEADER.family(),
        metrics.BEAT_TICK.family(),
    )
    up.add_metric((), 0 if found.leader is None else 1)
    if found.leader is not None:
        leader.add_metric((found.leader.host, found.leader.release), 1)
    tick.add_metric((), found.last_tick.timestamp() if found.last_tick else 0)
    late, overdue = metrics.LATENESS.family(), metrics.OVERDUE.family()
    last, following = metrics.LAST_SLOT.family(), metrics.NEXT_SLOT.family()
    missed = metrics.MISSED_SLOTS.family()
    for entry in found.entries:
        labels = (entry.name,)
        late.add_metric(labels, entry.lateness_seconds or 0)
        overdue.add_metric(labels, entry.overdue_seconds)
        last.add_metric(labels, entry.last_slot.timestamp() if entry.last_slot else 0)
        following.add_metric(labels, entry.next_slot.timestamp())
        missed.add_metric(labels, entry.missed_slots)
    return [up, leader, tick, late, overdue, last, following, missed]
