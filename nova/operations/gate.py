"""The gate: whether what was just started on a host runs the release, and works.

A worker has passed when it has left a heartbeat, has answered a health check on its own queue, and
has claimed something from each shared queue that it serves, all as the wanted release.
docs/releases.md says what that proves and what not.
"""

import contextlib
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import httpx
import redis
from celery import Celery
from pydantic import BaseModel, Field

from nova.errors import InputError
from nova.operations.probes import Answer, Probes, direct_queue
from nova.queues import QUEUES
from nova.runtime.heartbeat import INTERVAL_SECONDS, WorkerHeartbeat, read_workers
from nova.runtime.totals import write_key
from nova.settings import Settings
from nova.store import Keys, connect

POLL_SECONDS = 0.25
#: Between two rounds of health checks to a shared queue.
ROUND_SECONDS = 1.0
#: Of one command of Redis, and of one request to the API.
TIMEOUT_SECONDS = 2.0
#: A worker whose processes have all been busy for so long cannot answer, and is at work.
BUSY_SECONDS = 15.0
#: A heartbeat that is older says nothing about now.
FRESH = timedelta(seconds=2.5 * INTERVAL_SECONDS)

NO_SIGN = "no sign of it"


class GateCheck(BaseModel):
    """One thing that the gate wants."""

    part: str = Field(description="`worker NAME@HOST`, or `api`.")
    what: str = Field(description="heartbeat, direct queue, `queue NAME`, or api.")
    passed: bool = False
    detail: str = NO_SIGN

    def set(self, passed: bool, detail: str) -> None:
        """Note what was seen; what has passed stays so."""
        if not self.passed:
            self.passed, self.detail = passed, detail

    def line(self) -> str:
        """Return it as one line for people."""
        what = "" if self.what == self.part else f"{self.what}: "
        return f"{self.part}: {what}{self.detail}"


class GateResult(BaseModel):
    """What came of all of them."""

    passed: bool
    release: str
    seconds: float
    checks: list[GateCheck]


@dataclass(frozen=True)
class Wanted:
    """What is to pass, and within how many seconds."""

    release: str
    workers: Sequence[str] = ()
    api_url: str = ""
    api_ca: Path | None = None
    timeout_seconds: float = 120.0


@dataclass
class WorkerPart:
    """One worker that is to pass."""

    name: str
    release: str
    #: What it had received from each queue when the gate began; None until Redis has told.
    received: dict[str, int] | None = None
    queues: dict[str, GateCheck] = field(default_factory=dict)
    beat: WorkerHeartbeat | None = None
    busy_since: float | None = None

    def __post_init__(self) -> None:
        self.part = f"worker {self.name}"
        self.heartbeat = GateCheck(
            part=self.part, what="heartbeat", detail="none, it is not online"
        )
        self.direct = GateCheck(part=self.part, what="direct queue", detail="no answer")

    @property
    def checks(self) -> list[GateCheck]:
        """All that is known to be wanted of it."""
        return [self.heartbeat, self.direct, *self.queues.values()]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to wait for."""
        return all(check.passed for check in self.checks)

    def see_heartbeat(self, beat: WorkerHeartbeat | None) -> None:
        """Note what it says about itself; only as the wanted release its queues count."""
        self.beat = beat
        if beat is None:
            return
        is_wanted = beat.release == self.release
        self.heartbeat.set(is_wanted, f"it runs release {beat.release}")
        if not is_wanted:
            self.beat = None
            return
        for queue in beat.queues:
            if queue in QUEUES and queue not in self.queues:
                self.queues[queue] = GateCheck(part=self.part, what=f"queue {queue}")

    def see_received(self, received: dict[str, int]) -> None:
        """Note how many tasks it has received from each queue, ever."""
        if self.received is None:
            self.received = received
        for queue, check in self.queues.items():
            more = received.get(queue, 0) - self.received.get(queue, 0)
            # One that takes nothing tells late what it had taken before.
            if more > 0 and self.beat is not None and self.beat.state == "working":
                check.set(True, f"received {more} since the gate began")

    def see_drained(self) -> None:
        """Let a worker pass that an operator has drained: it takes nothing until it is resumed."""
        if self.heartbeat.passed:
            for check in self.checks:
                check.set(True, "drained on purpose, takes nothing until it is resumed")

    def see_answer(self, answer: Answer) -> None:
        """Note the answer to a health check, if it is this worker's."""
        if answer.worker != self.name:
            return
        is_direct = answer.queue == direct_queue(self.name)
        check = self.direct if is_direct else self.queues.get(answer.queue)
        if check is not None:
            check.set(answer.release == self.release, f"answered as release {answer.release}")

    def see_time(self, now: float, wall_clock: datetime, *, is_over: bool) -> None:
        """Let a worker pass that cannot answer: all its processes run tasks that it claimed."""
        beat = self.beat
        is_busy = (
            beat is not None
            and beat.state == "working"
            and 0 < beat.concurrency <= beat.active
            and wall_clock - beat.at < FRESH
        )
        if not is_busy:
            self.busy_since = None
            return
        self.busy_since = now if self.busy_since is None else self.busy_since
        if now - self.busy_since >= BUSY_SECONDS or (is_over and now > self.busy_since):
            for check in self.checks:
                check.set(True, "all its processes are busy with tasks that it claimed")

    def explain(self) -> None:
        """Say of what has not passed why, where the state of the worker tells."""
        if self.beat is not None and self.beat.state != "working":
            for check in (self.direct, *self.queues.values()):
                check.set(False, f"{check.detail}; the worker is {self.beat.state}")


class ReleaseGate:
    """One run of the gate."""

    def __init__(self, client: redis.Redis, app: Celery, wanted: Wanted) -> None:
        self._client = client
        self._wanted = wanted
        self._began = time.monotonic()
        self._deadline = self._began + wanted.timeout_seconds
        self._probes = Probes(client, app, wanted.timeout_seconds)
        self._workers = [WorkerPart(name, wanted.release) for name in dict.fromkeys(wanted.workers)]
        self._api = GateCheck(part="api", what="api")
        self._next_round = self._began
        self._redis_trouble = ""
        self._most_at_hand: dict[str, int] = {}

    def run(self) -> GateResult:
        """Ask until all have passed, or the time is over; leave nothing in the queues."""
        try:
            while not self._turn() and time.monotonic() < self._deadline:
                time.sleep(POLL_SECONDS)
        finally:
            with contextlib.suppress(redis.RedisError):  # what stays behind expires
                self._probes.withdraw()
        return self._result()

    def _turn(self) -> bool:
        """Look once at everything; return whether all have passed."""
        if self._wanted.api_url and not self._api.passed:
            self._api.set(*ask_api(self._wanted))
        if any(not worker.is_done for worker in self._workers):
            self._try(self._look_at_workers)
        is_over = time.monotonic() >= self._deadline - POLL_SECONDS
        for worker in self._workers:
            worker.see_time(time.monotonic(), datetime.now(UTC), is_over=is_over)
        return all(check.passed for check in self._checks())

    def _try(self, look: Callable[[], object]) -> None:
        try:
            look()
            self._redis_trouble = ""
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            raise
        except redis.RedisError as error:
            self._redis_trouble = f"Redis does not answer: {error}"

    def _look_at_workers(self) -> None:
        everybody = read_workers(self._client)
        beats = {beat.name: beat for beat in everybody}
        # What it says of itself does not count: each starts as drained, until Redis has told it.
        drained = cast(set[bytes], self._client.smembers(Keys.DRAINED))
        for worker in self._workers:
            worker.see_heartbeat(beats.get(worker.name))
            if worker.name.encode() in drained:
                worker.see_drained()
            worker.see_received(read_received(self._client, worker.name))
        for answer in self._probes.collect():
            for worker in self._workers:
                worker.see_answer(answer)
        if time.monotonic() >= self._next_round:
            self._next_round = time.monotonic() + ROUND_SECONDS
            self._publish_round(everybody)

    def _publish_round(self, everybody: Sequence[WorkerHeartbeat]) -> None:
        """Keep as many health checks waiting as all workers together can have at hand.

        Fewer might all be taken by others, or lie with one that froze; more would be a flood.
        """
        for worker in self._workers:
            queue = direct_queue(worker.name)
            if not worker.direct.passed:
                self._probes.publish(queue, 1 - self._probes.waiting(queue))
        wanted = {
            name
            for worker in self._workers
            for name, check in worker.queues.items()
            if not check.passed
        }
        for queue in sorted(wanted):
            at_hand = sum(beat.concurrency + 1 for beat in everybody if queue in beat.queues)
            most = max(at_hand, self._most_at_hand.get(queue, 0))
            self._most_at_hand[queue] = most
            self._probes.publish(queue, most - self._probes.waiting(queue))

    def _checks(self) -> list[GateCheck]:
        checks = [check for worker in self._workers for check in worker.checks]
        return [*checks, self._api] if self._wanted.api_url else checks

    def _result(self) -> GateResult:
        for worker in self._workers:
            worker.explain()
            for check in worker.checks:
                if self._redis_trouble:
                    check.set(False, self._redis_trouble)
        checks = self._checks()
        return GateResult(
            passed=all(check.passed for check in checks),
            release=self._wanted.release,
            seconds=round(time.monotonic() - self._began, 3),
            checks=checks,
        )


def run_gate(settings: Settings, app: Celery, wanted: Wanted) -> GateResult:
    """Run the gate; takes little longer than its time, whatever the state of Redis and API.

    Raises:
        InputError: nothing is to be asked.
        redis.AuthenticationError: Redis refuses this user.
    """
    if not wanted.workers and not wanted.api_url:
        raise InputError("the gate has nothing to ask: name workers with --worker, or give --api")
    with connect(settings, TIMEOUT_SECONDS) as client:
        return ReleaseGate(client, app, wanted).run()


def read_received(client: redis.Redis, worker: str) -> dict[str, int]:
    """Return how many tasks a worker has received from each queue, as it told last.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    fields = [write_key(("received", queue)) for queue in QUEUES]
    found = cast(list[bytes | None], client.hmget(Keys.worker_counts(worker), fields))
    return {queue: int(count or 0) for queue, count in zip(QUEUES, found, strict=True)}


def ask_api(wanted: Wanted) -> tuple[bool, str]:
    """Ask the API whether it is ready; return whether it is, as this release, and what it said."""
    url = f"{wanted.api_url.rstrip('/')}/readyz"
    try:
        verify = ssl.create_default_context(cafile=wanted.api_ca)
        with httpx.Client(verify=verify, trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.get(url)
        body = answer.json() if answer.status_code == httpx.codes.OK else {}
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return False, f"{url} does not answer: {error or type(error).__name__}"
    if answer.status_code != httpx.codes.OK:
        return False, f"{url} answers {answer.status_code}"
    release = body.get("release") if isinstance(body, dict) else None
    return release == wanted.release, f"{url} answers as release {release}"
