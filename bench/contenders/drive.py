"""Publishes the tasks of one system; runs in that system's own environment.

    python -m bench.contenders.drive MODULE fill TASK COUNT        publish at once
    python -m bench.contenders.drive MODULE pace COUNT PER_SECOND  steadily, see when they run
    python -m bench.contenders.drive MODULE trickle COUNT PER_SECOND   steadily, ask for nothing

Prints one line of JSON: how long it took, or the latencies.
"""

import importlib
import json
import sys
import time
from collections.abc import Collection
from typing import Protocol

import redis

from bench.contenders.work import STARTS_KEY, now, redis_url

#: The longest wait for results after the last task was published.
PATIENCE_SECONDS = 60.0
#: Between two looks for results: the resolution of the run latency.
LOOK_SECONDS = 0.0005


class System(Protocol):
    """How a system publishes, and how one sees in Redis that a result is there."""

    def publish(self, task: str, number: int) -> str:
        """Publish a task with its number as the only argument; return its id."""

    def finished(self, client: redis.Redis, ids: Collection[str]) -> set[str]:
        """Return those ids whose result is stored; one round trip."""


def fill(system: System, task: str, count: int) -> dict[str, float]:
    """Publish `count` tasks, one after the other."""
    start = now()
    for number in range(count):
        system.publish(task, number)
    return {"seconds": now() - start}


def trickle(system: System, count: int, per_second: float) -> dict[str, float]:
    """Publish at a steady pace, and send Redis nothing else."""
    start = now()
    for number in range(count):
        time.sleep(max(0.0, start + number / per_second - now()))
        system.publish("empty", number)
    return {"seconds": now() - start}


def pace(system: System, count: int, per_second: float) -> dict[str, list[float]]:
    """Publish at a steady pace, whether or not the results come in time.

    Returns the seconds from before the publishing to the task's start (`wait`) and to its stored
    result (`run`).
    """
    client = redis.Redis.from_url(redis_url())
    start, published, done = now(), dict[int, float](), dict[int, float]()
    outstanding: dict[str, int] = {}
    while len(done) < count:
        number = len(published)
        if number < count and now() >= start + number / per_second:
            published[number] = now()
            outstanding[system.publish("stamp", number)] = number
        elif outstanding:
            for task_id in system.finished(client, outstanding.keys()):
                done[outstanding.pop(task_id)] = now()
        if now() > start + count / per_second + PATIENCE_SECONDS:
            raise SystemExit(f"{count - len(done)} of {count} results did not come")
        time.sleep(LOOK_SECONDS)
    starts = {int(number): float(at) for number, at in client.hgetall(STARTS_KEY).items()}
    return {
        "wait": [starts[number] - published[number] for number in range(count)],
        "run": [done[number] - published[number] for number in range(count)],
    }


def main() -> None:
    """Do what the command line says."""
    module, command, *arguments = sys.argv[1:]
    system: System = importlib.import_module(module).system
    if command == "fill":
        print(json.dumps(fill(system, arguments[0], int(arguments[1]))))
    else:
        steady = {"pace": pace, "trickle": trickle}[command]
        print(json.dumps(steady(system, int(arguments[0]), float(arguments[1]))))


if __name__ == "__main__":
    main()
