"""Nova's worker against stock Celery, arq and dramatiq: speed, latency, cost, memory.

    python -m bench runtime             everything: the tables of docs/benchmarks.md
    python -m bench runtime --quick     one small round, to see that all works
    python -m bench runtime --only nova,stock-equal
    python -m bench runtime --profile   where the time goes, for Nova and stock Celery
    python -m bench runtime --appendfsync everysec    with another Redis than the fleet's

All run on this machine against one private Redis with an append-only file, in interleaved
rounds. In a round every system starts anew for each of two drains: its queue is filled first,
then its worker starts. Rates and costs are those between 10 % and 90 % of the queue, so neither
the start nor the end of a drain counts. Then tasks come at a steady pace, which tells the
latencies.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from rich.console import Console

from bench import interrupts
from bench.contenders.work import COUNT_KEY
from bench.figures import Spread, percentile, ratios, spread
from bench.fleet import (
    BASE,
    CONTENDERS,
    ROOT,
    STALL_SECONDS,
    BenchError,
    Contender,
    Sample,
    Worker,
    backlog,
    check_environment,
    commands_between,
    drive,
    environment,
    running,
    sample,
)
from bench.profiler import print_profile
from nova.errors import ConfigurationError, NovaError
from scripts.local.redis_server import KEEPING, LocalRedis

#: Between two looks at a queue that is drained.
LOOK_SECONDS = 0.01
#: What fraction of the tasks is done when the measured part of a drain begins and ends.
WINDOW = (0.1, 0.9)
MILLISECOND = 1e-3
MICROSECOND = 1e-6

#: Progress goes to standard error: standard output is a part of docs/benchmarks.md.
progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    counts: int = 2000
    empties: int = 1000
    #: More than the 200 after which both processes of a Celery worker have been replaced: that
    #: holds up tasks, and belongs to the latency.
    paced: int = 250
    per_second: float = 50
    idle_seconds: float = 5
    idle_consumers: int = 50


QUICK = Plan(rounds=1, counts=500, empties=500, paced=40, idle_seconds=3, idle_consumers=10)


@dataclass(frozen=True)
class Drain:
    """One drain of a filled queue; costs are per task."""

    per_second: float
    start_seconds: float
    publish_per_second: float
    commands: dict[str, float]
    reads: float
    bytes_in: float
    bytes_out: float
    aof_bytes: float
    cpu_main: float
    cpu_children: float
    cpu_redis: float


@dataclass
class Found:
    """All that was measured of one contender, one item a round unless said otherwise."""

    count: list[Drain] = field(default_factory=list)
    empty: list[Drain] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)
    wait: list[list[float]] = field(default_factory=list)
    run: list[list[float]] = field(default_factory=list)
    #: Once: commands and CPU seconds per second of an idle worker.
    idle_commands: float = 0.0
    idle_cpu: float = 0.0


def drain(client: redis.Redis, worker: Worker, total: int, publish_seconds: float) -> Drain:
    """Watch a worker that has just started empty a queue of `total` tasks.

    Raises:
        BenchError: it ended, or did not go on.
    """
    contender = worker.contender
    first: Sample | None = None
    last: Sample | None = None
    start_seconds = 0.0
    looks, left, moved_at = 0, total, time.monotonic()
    while left:
        seen = backlog(client, contender)
        looks += first is not None and last is None
        if seen != left:
            start_seconds = start_seconds or time.monotonic() - worker.started_at
            left, moved_at = seen, time.monotonic()
        if time.monotonic() > moved_at + STALL_SECONDS:
            raise BenchError(f"{contender.label}: {left} of {total} tasks are not done, none goes")
        worker.check()
        if first is None and left <= total * (1 - WINDOW[0]):
            first = sample(client, worker)
        elif last is None and left <= total * (1 - WINDOW[1]):
            last = sample(client, worker)
        time.sleep(LOOK_SECONDS)
    if first is None or last is None or last.backlog >= first.backlog:
        raise BenchError(f"{contender.label}: {total} tasks were done too fast to measure")
    tasks = first.backlog - last.backlog
    commands = commands_between(first, last, contender, looks)
    return Drain(
        per_second=tasks / (last.at - first.at),
        start_seconds=start_seconds,
        publish_per_second=total / publish_seconds,
        commands={name: calls / tasks for name, calls in commands.items()},
        # The last sample reads twice.
        reads=(last.reads - first.reads - looks - 2) / tasks,
        bytes_in=(last.bytes_in - first.bytes_in) / tasks,
        bytes_out=(last.bytes_out - first.bytes_out) / tasks,
        aof_bytes=(last.aof_bytes - first.aof_bytes) / tasks,
        cpu_main=(last.cpu_main - first.cpu_main) / tasks,
        cpu_children=(last.cpu_children - first.cpu_children) / tasks,
        cpu_redis=(last.cpu_redis - first.cpu_redis) / tasks,
    )


@dataclass(frozen=True)
class Bench:
    """The server, and where logs go."""

    server: LocalRedis
    client: redis.Redis
    folder: Path

    @contextmanager
    def draining(
        self, contender: Contender, task: str, total: int
    ) -> Iterator[tuple[Worker, Drain]]:
        """Fill the queue, start a worker and yield it when the queue is empty."""
        self.client.flushall()
        seconds = drive(contender, self.server.url, "fill", task, total)["seconds"]
        with running(contender, self.server.url, self.folder) as worker:
            yield worker, drain(self.client, worker, total, seconds)

    def round(self, contender: Contender, plan: Plan, found: Found) -> None:
        """Measure one contender once.

        Raises:
            BenchError: a worker or publisher failed, or a task ran twice or not at all.
        """
        with self.draining(contender, "empty", plan.empties) as (_, drained):
            found.empty.append(drained)
        with self.draining(contender, "count", plan.counts) as (worker, drained):
            found.count.append(drained)
            counted = int(self.client.get(COUNT_KEY) or 0)
            if counted != plan.counts:
                raise BenchError(f"{contender.label}: {plan.counts} tasks counted to {counted}")
            found.memory.append(worker.memory())
            paced = drive(contender, self.server.url, "pace", plan.paced, plan.per_second)
            found.wait.append(paced["wait"])
            found.run.append(paced["run"])
            if not found.idle_commands:
                found.idle_commands, found.idle_cpu = self.idle(worker, plan.idle_seconds)

    def idle(self, worker: Worker, seconds: float) -> tuple[float, float]:
        """Return commands and CPU seconds per second of a worker that has nothing to do."""
        first = sample(self.client, worker)
        time.sleep(seconds)
        last = sample(self.client, worker)
        passed = last.at - first.at
        commands = commands_between(first, last, worker.contender, 0)
        cpu = last.cpu_main + last.cpu_children - first.cpu_main - first.cpu_children
        return sum(commands.values()) / passed, max(0.0, cpu / passed)


# --- What one publish wakes

#: Opens so many idle consumers on the queue of the bench, and closes them.
Opener = Callable[[int], AbstractContextManager[None]]


def idle_consumers(contender: Contender, redis_url: str) -> Opener:
    """Return a way to open idle consumers of a Celery app's transport, all in one process."""

    @contextmanager
    def opened(count: int) -> Iterator[None]:
        module = f"bench.contenders.{contender.module}"
        command = [str(contender.python), "-m", "bench.contenders.idle", module, str(count)]
        with subprocess.Popen(
            command,
            env=environment(redis_url),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdout is not None  # noqa: S101 - asked for above
                if not process.stdout.readline():
                    raise BenchError(f"{contender.label}: no idle consumers, see above")
                yield
            finally:
                process.kill()

    return opened


def wake_ups(
    bench: Bench, contender: Contender, open_consumers: Opener, consumers: int, publishes: int = 50
) -> dict[str, float]:
    """Return the commands that one publish causes while so many consumers wait for it.

    What they do without a publish is measured first and taken off. With one consumer the counts
    are those of one delivery; whatever there is more with many is the herd's.
    """
    per_second = 10.0
    seconds = publishes / per_second
    bench.client.flushall()
    with open_consumers(consumers):
        quiet = _commands(bench.client, lambda: time.sleep(seconds))
        busy = _commands(
            bench.client,
            lambda: drive(contender, bench.server.url, "trickle", publishes, per_second),
        )
    return {
        name: (calls - quiet.get(name, 0)) / publishes
        for name, calls in busy.items()
        if calls - quiet.get(name, 0) > publishes / 10
    }


def _commands(client: redis.Redis, action: Callable[[], object]) -> dict[str, int]:
    """Return how often each command ran while the action did."""
    counts = []
    for do in (action, lambda: None):
        found = client.info("commandstats")
        counts.append({name[8:]: entry["calls"] for name, entry in found.items()})
        do()
    before, after = counts
    return {name: calls - before.get(name, 0) for name, calls in after.items() if name != "info"}


# --- Tables


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a markdown table with the first column to the left, all others to the right."""
    print(f"| {' | '.join(headings)} |")
    print(f"| --- |{' ---: |' * (len(headings) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def median_of(drains: Sequence[Drain], name: str) -> float:
    """Return the median of one figure."""
    return spread([getattr(one, name) for one in drains]).median


def commands_of(drains: Sequence[Drain]) -> Spread:
    """Return Redis commands per task."""
    return spread([sum(one.commands.values()) for one in drains])


def shown_ratios(values: Sequence[float], base: Sequence[float]) -> str:
    """Return the ratios to the base, or a dash when it was not measured."""
    return ratios(values, base).show(2) if base else "-"


def print_speed(results: dict[str, Found]) -> None:
    """Print rates and ratios."""
    base = results.get(BASE)
    for kind, title in (("count", "each one Redis INCR"), ("empty", "empty")):
        rows = []
        for name, found in results.items():
            rates = [one.per_second for one in getattr(found, kind)]
            against = [one.per_second for one in getattr(base, kind)] if base else []
            rows.append(
                [CONTENDERS[name].label, spread(rates).show(), shown_ratios(rates, against)]
            )
        print(f"Tasks per second, {title}: median (lowest to highest)\n")
        table(["worker", "tasks/s", "x stock, equal settings"], rows)


def print_latency(results: dict[str, Found], plan: Plan) -> None:
    """Print latencies: percentiles over all rounds."""
    rows = []
    base = results.get(BASE)
    for name, found in results.items():
        wait, run = ([v for one in part for v in one] for part in (found.wait, found.run))
        middles = [percentile(one, 50) for one in found.run]
        against = [percentile(one, 50) for one in base.run] if base else []
        latencies = (percentile(wait, 50), percentile(wait, 99), percentile(run, 50))
        rows.append(
            [
                CONTENDERS[name].label,
                *(f"{value / MILLISECOND:.1f}" for value in (*latencies, percentile(run, 99))),
                shown_ratios(middles, against),
            ]
        )
    print(f"Latency in ms at {plan.per_second:.0f} tasks per second\n")
    headings = ["wait p50", "wait p99", "run p50", "run p99", "run p50 x stock, equal"]
    table(["worker", *headings], rows)


def print_cost(results: dict[str, Found]) -> None:
    """Print what a task costs, and what an idle worker does."""
    rows = []
    for name, found in results.items():
        drains = found.count
        cpu = [
            median_of(drains, part) / MICROSECOND
            for part in ("cpu_main", "cpu_children", "cpu_redis")
        ]
        rows.append(
            [
                CONTENDERS[name].label,
                *(f"{value:,.0f}" for value in cpu),
                f"{commands_of(drains).median:.1f}",
                f"{median_of(drains, 'reads'):.1f}",
                f"{median_of(drains, 'bytes_in'):,.0f}",
                f"{median_of(drains, 'bytes_out'):,.0f}",
                f"{median_of(drains, 'aof_bytes'):,.0f}",
            ]
        )
    print("Cost of a task with one INCR, publishing not counted\n")
    headings = ["main, CPU us", "children, CPU us", "Redis, CPU us", "commands", "requests"]
    headings += ["bytes to Redis", "bytes from Redis", "AOF bytes"]
    table(["worker", *headings], rows)


def print_commands(results: dict[str, Found]) -> None:
    """Print the Redis commands of the Celery workers by name."""
    names = [name for name in results if name in ("nova", BASE)]
    costs = {
        name: {
            command: spread([one.commands.get(command, 0.0) for one in results[name].count]).median
            for command in {command for one in results[name].count for command in one.commands}
        }
        for name in names
    }
    # What happens less than once in a hundred tasks is upkeep.
    commands = sorted({c for cost in costs.values() for c, calls in cost.items() if calls >= 0.01})
    print("Redis commands per task\n")
    table(
        ["command", *(CONTENDERS[name].label for name in names)],
        [[c, *(f"{costs[name].get(c, 0.0):.2f}" for name in names)] for c in commands],
    )


def print_upkeep(results: dict[str, Found]) -> None:
    """Print start, memory, publishing and idling."""
    rows = []
    for name, found in results.items():
        memory = [spread([one[kind] for one in found.memory]).median for kind in found.memory[0]]
        drains = found.count + found.empty
        rows.append(
            [
                CONTENDERS[name].label,
                f"{median_of(drains, 'start_seconds'):.2f}",
                *(f"{value:.0f}" for value in memory),
                f"{median_of(drains, 'publish_per_second'):,.0f}",
                f"{found.idle_commands:.1f}",
                f"{found.idle_cpu / MILLISECOND:.1f}",
            ]
        )
    print("Start (to the first task done), memory after a drain, publishing, idling\n")
    headings = ["start, s", "main, MB", "child, MB", "all, MB", "published/s by one client"]
    headings += ["idle: commands/s", "idle: CPU ms/s"]
    table(["worker", *headings], rows)


def print_wake_ups(bench: Bench, names: Sequence[str], plan: Plan) -> None:
    """Measure and print what a publish wakes."""
    rows = []
    for name in names:
        contender = CONTENDERS[name]
        for consumers in (1, plan.idle_consumers):
            progress.print(f"wake-ups: {contender.label}, {consumers} idle")
            opener = idle_consumers(contender, bench.server.url)
            woken = wake_ups(bench, contender, opener, consumers)
            ranked = sorted(woken.items(), key=lambda item: -item[1])
            rows.append(
                [
                    f"{contender.label}, {consumers} waiting",
                    f"{sum(woken.values()):.1f}",
                    ", ".join(f"{command} {calls:.1f}" for command, calls in ranked[:8]),
                ]
            )
    print("Commands that one publish causes, publishing included\n")
    table(["consumers", "commands", "of them"], rows)


# --- The command


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench runtime",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--rounds", type=int, help="rounds, 5 by default")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, comma-separated")
    parser.add_argument(
        "--appendfsync",
        choices=("always", "everysec", "no"),
        default=KEEPING["appendfsync"],
        help="when Redis forces its append-only file to the disk; as in the fleet by default",
    )
    return parser.parse_args(arguments)


def chosen(names: str) -> list[str]:
    """Return the contenders that are asked for.

    Raises:
        ConfigurationError: there is no such contender.
    """
    asked = names.split(",")
    for name in asked:
        if name not in CONTENDERS:
            raise ConfigurationError(f"no contender {name!r}; there are {', '.join(CONTENDERS)}")
    return asked


def measure(bench: Bench, names: Sequence[str], plan: Plan) -> dict[str, Found]:
    """Run all rounds; each starts with another contender."""
    results = {name: Found() for name in names}
    for number in range(plan.rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            bench.round(CONTENDERS[name], plan, results[name])
            rate = results[name].count[-1].per_second
            label = CONTENDERS[name].label
            progress.print(f"round {number + 1} of {plan.rounds}: {label}, {rate:,.0f} tasks/s")
    return results


def main() -> None:
    """Measure and print."""
    options = parse()
    names = chosen(options.only)
    check_environment()
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = Plan(**{**vars(plan), "rounds": options.rounds})
    with tempfile.TemporaryDirectory(prefix="nova-bench-") as name:
        folder = Path(name)
        # The size of the append-only file is measured, so nothing may rewrite it.
        settings = ("auto-aof-rewrite-percentage 0", f"appendfsync {options.appendfsync}")
        server = LocalRedis.create(folder / "redis", *settings)
        with server, redis.Redis.from_url(server.url) as client:
            bench = Bench(server, client, folder)
            celery = [name for name in names if name in ("nova", BASE)]
            if options.profile:
                print_profile(celery, client, server.url, folder, options.quick)
                return
            results = measure(bench, names, plan)
            print_speed(results)
            print_latency(results, plan)
            print_cost(results)
            print_commands(results)
            print_upkeep(results)
            print_wake_ups(bench, celery, plan)


if __name__ == "__main__":
    interrupts.install()
    try:
        main()
    except NovaError as error:
        sys.exit(f"nova: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
