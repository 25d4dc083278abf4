"""The lab of one scenario, and the ledger: what was published, and what became of it."""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from nova.errors import UnavailableError
from nova.runtime.slots import slot_id
from scripts.local.redis_server import LocalRedis
from scripts.local.sentinel_group import MASTER
from tests.fault.group import ProxiedGroup, proxied_group
from tests.fault.network import Network
from tests.fault.processes import HarnessError, Program, wait_for
from tests.fault.slots import ENTRY, planned_times, slot_of
from tests.fault.witness import EFFECTS_KEY, URL_VARIABLE, Witness, count

CELERY = str(Path(sys.executable).parent / "celery")
QUEUES = ("maintenance", "analytics", "governance")
#: A signing key, for the API; as secret as this file.
JWT_SECRET = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Side:
    """One of the two runtimes that are compared."""

    name: str
    module: str


NOVA = Side("nova", "tests.fault.tasks")
STOCK = Side("stock", "tests.fault.stock")


@dataclass
class Outcome:
    """One line of the table."""

    scenario: str
    published: int = 0
    acknowledged: int = 0
    effects: int = 0
    #: Starts beyond the first of a task. Not a failure: at least once.
    repeated: int = 0
    #: Effects beyond the first of a task.
    doubled: int = 0
    #: Acknowledged tasks without an effect.
    lost: int = 0
    #: Seconds from the end of the last fault to the last effect of a task acknowledged before it.
    recovery_seconds: float | None = None
    bound_seconds: float = 0.0
    #: What else the scenario demands and did not get.
    problems: list[str] = field(default_factory=list)
    #: What else it measured.
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Return why it failed; nothing if it passed."""
        failures = []
        if self.lost:
            failures.append(f"{self.lost} lost")
        if self.doubled:
            failures.append(f"{self.doubled} doubled")
        if not self.lost and self.recovery_seconds is None:
            failures.append("no recovery")
        if self.recovery_seconds is not None and self.recovery_seconds > self.bound_seconds:
            failures.append("recovered too late")
        return failures + self.problems

    @property
    def passed(self) -> bool:
        """Nothing lost, nothing doubled, back in time."""
        return not self.failures


class Lab:
    """What a scenario works with: processes of one side, their Redis, and the witness."""

    def __init__(
        self,
        side: Side,
        is_long: bool,
        folder: Path,
        stack: contextlib.ExitStack,
        say: Callable[[str], None],
    ) -> None:
        self.side = side
        self.is_long = is_long
        self.folder = folder
        self.stack = stack
        self.say = say
        self.lease_seconds = 6
        self.fault_at = time.time()
        self.variables: dict[str, str] = {}
        self.redis: LocalRedis | None = None
        self.group: ProxiedGroup | None = None
        server = stack.enter_context(LocalRedis.create(folder / "witness", "appendonly no"))
        self.witness = Witness(
            stack.enter_context(redis.Redis.from_url(server.url, socket_timeout=10))
        )
        self.variables[URL_VARIABLE] = server.url
        self._next_number = 1

    @property
    def is_nova(self) -> bool:
        """Whether this is Nova's side, not stock Celery's."""
        return self.side is NOVA

    def size(self, short: int, long: int) -> int:
        """Return how often to do something."""
        return long if self.is_long else short

    # --- Redis

    def start_redis(self, *options: str, folder: Path | None = None) -> LocalRedis:
        """Start the broker: one Redis with an append-only file."""
        server = LocalRedis.create(folder or self.folder / "redis", *options)
        self.redis = self.stack.enter_context(server)
        self.use_redis(server.url)
        return server

    def use_redis(self, url: str) -> None:
        """Make processes that are started from now on use this URL."""
        self.variables["REDIS_URL"] = url

    def start_group(self) -> ProxiedGroup:
        """Start the broker: a primary, two replicas, three sentinels."""
        network = self.stack.enter_context(Network())
        # Stock Celery says nothing of these, so that its group goes without.
        options = () if self.is_nova else ("min-replicas-to-write 0",)
        found = self.stack.enter_context(proxied_group(self.folder, network, *options))
        self.group = found
        if self.is_nova:
            self.use_redis(found.group.url)
            self.variables["NOVA_REDIS_SENTINEL_MASTER"] = MASTER
            self.variables["NOVA_REDIS_GROUP_SIZE"] = str(len(found.group.servers))
        else:
            password = found.group.servers[0].password
            self.use_redis(
                ";".join(
                    f"sentinel://:{password}@127.0.0.1:{sentinel.port}/0"
                    for sentinel in found.group.sentinels
                )
            )
            self.variables["NOVA_FAULT_STOCK_OPTIONS"] = json.dumps({"master_name": MASTER})
        return found

    @contextlib.contextmanager
    def broker(self) -> Iterator[redis.Redis]:
        """Give a client of the broker, of its primary if it is a group."""
        server = self.redis if self.group is None else self.group.group.primary()
        if server is None:
            raise HarnessError("the scenario started no Redis")
        with redis.Redis.from_url(server.url, socket_timeout=5, socket_connect_timeout=2) as client:
            yield client

    # --- Processes

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a process; nothing of the caller's settings leaks into it."""
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
        }
        own = {"JWT_SECRET_KEY": JWT_SECRET, "NOVA_LEASE_SECONDS": str(self.lease_seconds)}
        return inherited | own | self.variables | variables

    def program(self, name: str, command: list[str], ready: str = "", **variables: str) -> Program:
        """Start a process, which ends with the scenario."""
        log = self.folder / f"{name}.log"
        program = Program(name, command, self.environment(**variables), log, ready)
        return self.stack.enter_context(program.start())

    def worker(
        self, name: str, *, queues: str = "maintenance", processes: int = 2, **variables: str
    ) -> Program:
        """Start a worker; do not wait until it is ready."""
        command = [
            *(CELERY, "--quiet", "-A", self.side.module, "worker", "--loglevel=info"),
            *(f"--queues={queues}", f"--concurrency={processes}", f"--hostname={name}@%h"),
            *("--without-gossip", "--without-mingle"),
        ]
        return self.program(name, command, ready=" ready.", **variables)

    def workers(self, number: int, **options: Any) -> list[Program]:
        """Start some workers and wait until they are ready."""
        workers = [self.worker(f"worker-{index}", **options) for index in range(number)]
        for worker in workers:
            worker.wait_ready()
        return workers

    def beat(self, name: str, **variables: str) -> Program:
        """Start a beat, with a file of its own for its schedule."""
        command = [
            *(CELERY, "--quiet", "-A", self.side.module, "beat", "--loglevel=info"),
            *(f"--schedule={self.folder / name}.schedule", f"--pidfile={self.folder / name}.pid"),
        ]
        return self.program(name, command, ready="beat: Starting", **variables)

    def publisher(self, name: str = "publisher", **variables: str) -> Program:
        """Start a publisher and wait until it takes orders."""
        command = [sys.executable, "-m", "tests.fault.publisher", self.side.module]
        return self.program(name, command, ready="ready", **variables).wait_ready()

    # --- Publishing

    def order(self, publisher: Program, count: int, **order: Any) -> list[int]:
        """Tell a publisher to publish tasks; return their numbers, and do not wait."""
        first = self._next_number
        self._next_number += count
        publisher.tell(json.dumps({"first": first, "count": count} | order))
        return list(range(first, first + count))

    def publish(
        self, publisher: Program, count: int, wait_seconds: float = 30, **order: Any
    ) -> list[int]:
        """Publish tasks and wait until all are acknowledged."""
        numbers = self.order(publisher, count, **order)
        names = [str(number) for number in numbers]
        wait_for(
            lambda: all(self.witness.client.hmget("acknowledged", names)),
            f"{count} tasks acknowledged",
            wait_seconds,
        )
        return numbers

    def stop_publisher(self, publisher: Program) -> None:
        """End what a publisher does; kill it if it hangs."""
        publisher.signal(15)
        if not publisher.wait(15):
            publisher.crash()

    def wait_started(self, number: int, times: int = 1, seconds: float = 30) -> None:
        """Wait until a task body has begun."""
        wait_for(
            lambda: int(self.witness.client.hget("starts", str(number)) or 0) >= times,
            f"task {number} started",
            seconds,
        )

    def wait_finished(self, number: int, seconds: float = 30) -> bool:
        """Wait until a task has had its effect; tell whether it had in time."""
        try:
            wait_for(
                lambda: self.witness.client.hexists("finished", str(number)), "an effect", seconds
            )
        except HarnessError:
            return False
        return True

    # --- The ledger

    def mark_fault(self) -> None:
        """Note that the last fault is now; recovery is counted from here."""
        self.fault_at = time.time()

    def effects(self) -> dict[str, int]:
        """Return how many effects each task has had."""
        total = self.witness.counts("effects")
        if self.is_nova:
            with self.broker() as client:
                for name, number in count(client, EFFECTS_KEY).items():
                    total[name] = total.get(name, 0) + number
        return total

    def slots(self, start: float, end: float) -> dict[str, float]:
        """Return name and planned time of each slot in a span of time."""
        times = planned_times(start, end)
        if self.is_nova:
            return {slot_id(ENTRY, datetime.fromtimestamp(time_, UTC)): time_ for time_ in times}
        return {slot_of(time_): time_ for time_ in times}

    def settle(self, seconds: float, expected: Iterable[str] = ()) -> None:
        """Wait until nothing acknowledged or expected is without effect, nor held by the broker.

        When the time is over it just returns: the ledger then shows what is missing.
        """
        self.say("settling")
        with contextlib.suppress(HarnessError):
            wait_for(lambda: self._is_settled(expected), "settled", seconds, pause_seconds=0.25)

    def _is_settled(self, expected: Iterable[str]) -> bool:
        try:
            effects = self.effects()
            wanted = {*self.witness.times("acknowledged"), *expected}
            if not wanted <= effects.keys():
                return False
            with self.broker() as client:
                return self.held(client) == 0
        except (UnavailableError, redis.RedisError):
            return False

    @staticmethod
    def held(client: redis.Redis) -> int:
        """Count the messages that wait or are held."""
        lists = [*QUEUES, *client.scan_iter("nova:inbox:*", 1000)]
        return sum(client.llen(name) for name in lists) + client.hlen("unacked")

    def outcome(
        self, name: str, bound_seconds: float, expected: Iterable[str] | None = None
    ) -> Outcome:
        """Draw the balance.

        Args:
            name: the scenario's.
            bound_seconds: recovery must not take longer.
            expected: names of slots that must have had their effect; else the tasks that were
                acknowledged.
        """
        acknowledged = (
            self.witness.times("acknowledged") if expected is None else dict.fromkeys(expected, 0.0)
        )
        published = acknowledged
        if expected is None:  # of what the API was asked for, only what it answered is known
            published = self.witness.times("published") | acknowledged
        starts, effects = self.witness.counts("starts"), self.effects()
        finished = self.witness.times("finished")
        lost = [task for task in acknowledged if task not in effects]
        # What was acknowledged later tells how fast the workers are, not when they were back.
        ends = [
            finished[task]
            for task, moment in acknowledged.items()
            if task in finished and moment <= self.fault_at
        ]
        recovery = max(0.0, max(ends) - self.fault_at) if ends and not lost else None
        notes = [f"{', '.join(lost[:5])} lost, {self._left()}"] if lost else []
        return Outcome(
            scenario=name,
            published=len(published),
            acknowledged=len(acknowledged),
            effects=sum(effects.get(task, 0) for task in published),
            repeated=sum(max(0, starts.get(task, 0) - 1) for task in published),
            doubled=sum(max(0, effects.get(task, 0) - 1) for task in published),
            lost=len(lost),
            recovery_seconds=recovery,
            bound_seconds=bound_seconds,
            notes=notes,
        )

    def _left(self) -> str:
        """Say what the broker still has: a task that waits there is late rather than lost."""
        try:
            with self.broker() as client:
                return f"{self.held(client)} messages left in Redis"
        except (UnavailableError, redis.RedisError):
            return "Redis is away"


Scenario = Callable[[Lab], Outcome]


def run(
    name: str,
    scenario: Scenario,
    side: Side,
    *,
    is_long: bool = False,
    say: Callable[[str], None] = lambda _: None,
    keep: Path | None = None,
) -> Outcome:
    """Run one scenario in a lab of its own; nothing of it is left afterwards.

    Args:
        name: the scenario's, for the outcome of one that the harness could not run.
        scenario: what to run.
        side: Nova or stock Celery.
        is_long: the long form, or the short one.
        say: called with what is being done.
        keep: folder in which the logs stay; None removes them.
    """
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nova-fault-")))
        else:
            folder = Path(tempfile.mkdtemp(prefix=f"{side.name}-{name}-", dir=keep))
        try:
            outcome = scenario(Lab(side, is_long, folder, stack, say))
        except (HarnessError, UnavailableError, redis.RedisError) as error:
            outcome = Outcome(name, problems=[f"broken off: {error}"])
    outcome.scenario = name
    outcome.seconds = time.monotonic() - begin
    return outcome
