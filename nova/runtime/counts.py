"""What one worker counts: in memory, in its main process.

Children are replaced, killed and lost; only the main process sees how each task ended. What is
counted costs a few additions in a dictionary. A thread hands it over to Redis, in batches:
`nova/runtime/handover.py`.
"""

import secrets
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nova.metrics import RUNTIME_BUCKETS, WAIT_BUCKETS

#: What happens to a task, each a counter by task and queue; `failed` by exception as well.
Event = Literal[
    "received",
    "started",
    "succeeded",
    "failed",
    "retried",
    "rejected",
    "ignored",
    "revoked",
    "lost_child",
    "hard_time_limit",
]
#: What is counted, with its labels. Times are whole microseconds: Redis adds those exactly.
#:
#:   <event>, task, queue            failed: and exception
#:   runtime, task, outcome, upper bound of a bucket or "sum"
#:   wait, queue, upper bound of a bucket or "sum"
#:   dead_lettered, queue
CountKey = tuple[str, ...]

SUM = "sum"
MICROSECONDS = 1_000_000

_RUNTIME_LABELS = (*map(str, RUNTIME_BUCKETS), "+Inf")
_WAIT_LABELS = (*map(str, WAIT_BUCKETS), "+Inf")


@dataclass
class Batch:
    """Counts on their way to Redis."""

    #: Counts up from 1 in the life of the process: Redis adds each number once.
    number: int
    counts: Counter[CountKey] = field(default_factory=Counter)


class Counts:
    """Counts of one process, and which of them Redis has."""

    def __init__(self) -> None:
        #: Names this process, and no other: two may have the same worker name for a moment.
        self.process = secrets.token_hex(8)
        # A signal handler of Celery (SIGQUIT) may come here while this same thread holds it.
        self._lock = threading.RLock()
        self._new: Counter[CountKey] = Counter()
        self._batch: Batch | None = None
        self._number = 0
        self._handed_over: Counter[CountKey] = Counter()

    def add(self, *key: str, amount: int = 1) -> None:
        """Count something; 0 makes it known before it happens."""
        with self._lock:
            self._new[key] += amount

    def event(self, event: Event, task: str, queue: str, *exception: str) -> None:
        """Count what happened to a task."""
        self.add(event, task, queue, *exception)

    def runtime(self, task: str, outcome: str, seconds: float) -> None:
        """Count how long a task ran."""
        bucket = _RUNTIME_LABELS[bisect_left(RUNTIME_BUCKETS, seconds)]
        self._observe(("runtime", task, outcome), bucket, seconds)

    def wait(self, queue: str, seconds: float) -> None:
        """Count how long a task waited for its start."""
        self._observe(("wait", queue), _WAIT_LABELS[bisect_left(WAIT_BUCKETS, seconds)], seconds)

    def _observe(self, key: CountKey, bucket: str, seconds: float) -> None:
        with self._lock:
            self._new[*key, bucket] += 1
            self._new[*key, SUM] += round(seconds * MICROSECONDS)

    def announce(self, task: str, queue: str, events: Iterable[Event]) -> None:
        """Make a task known: its counters are 0 before anything happens to it."""
        for event in events:
            self.add(event, task, queue, amount=0)

    # --- On the way to Redis

    @property
    def is_waiting(self) -> bool:
        """Whether a batch was sent, or was to be, and Redis has not confirmed it."""
        return self._batch is not None

    def batch(self) -> Batch:
        """Return what is to be handed over: the same until it is confirmed."""
        with self._lock:
            if self._batch is None:
                self._number += 1
                self._batch = Batch(self._number, self._new)
                self._new = Counter()
            return self._batch

    def confirm(self) -> bool:
        """Redis has the batch; return whether more has been counted since it was made."""
        with self._lock:
            if self._batch is not None:
                _add(self._handed_over, self._batch.counts)
                self._batch = None
            return bool(self._new)

    def totals(self) -> Counter[CountKey]:
        """Return all that this process has counted since it started."""
        with self._lock:
            totals = self._handed_over.copy()
            if self._batch is not None:
                _add(totals, self._batch.counts)
            _add(totals, self._new)
            return totals


def _add(totals: Counter[CountKey], counts: Counter[CountKey]) -> None:
    """Add, and keep what is 0, which `+=` would drop."""
    for key, amount in counts.items():
        totals[key] += amount


def of_worker(counts: Mapping[CountKey, int]) -> Counter[CountKey]:
    """Return what is kept for each worker: events and waits by queue, without the task."""
    own: Counter[CountKey] = Counter()
    for key, amount in counts.items():
        if key[0] == "wait":
            own[key] += amount
        elif key[0] not in ("runtime", "dead_lettered"):
            own[key[0], key[2]] += amount
    return own


#: Of this process.
COUNTS = Counts()
