"""The witness: a Redis that no fault touches, in which publishers and tasks leave what happened."""

import os
import time
from dataclasses import dataclass
from typing import cast
from uuid import UUID, uuid5

import redis

#: Where processes of the harness find the witness; the URL holds a password.
URL_VARIABLE = "NOVA_FAULT_WITNESS_URL"
#: Hash in the broker's own Redis in which effects are counted that go through Nova's ledger.
EFFECTS_KEY = "nova:fault:effects"
#: Tasks get their ids from their numbers, so that publishing a number again is the same task.
NAMESPACE = UUID("7d0bb4f5-5a36-4b0c-8f0e-4f2a36f6f1f0")


def task_id(number: int) -> str:
    """Return the id of the task with a number."""
    return str(uuid5(NAMESPACE, str(number)))


def witness() -> "Witness":
    """Return the witness that the environment names."""
    return Witness(redis.Redis.from_url(os.environ[URL_VARIABLE]))


@dataclass(frozen=True)
class Witness:
    """Writes and reads the events. Every one is about a task's number or the name of a slot."""

    client: redis.Redis

    def publishing(self, name: int | str) -> None:
        """Somebody is about to publish it."""
        self.client.hsetnx("published", str(name), str(time.time()))

    def acknowledged(self, name: int | str) -> None:
        """The publisher was told that it is published."""
        self.client.hsetnx("acknowledged", str(name), str(time.time()))

    def started(self, name: int | str) -> None:
        """A task body begins."""
        self.client.hincrby("starts", str(name), 1)

    def effect(self, name: int | str) -> None:
        """It has had an effect, outside of what the fault touches."""
        self.client.hincrby("effects", str(name), 1)

    def finished(self, name: int | str) -> None:
        """A task body has ended, its effect is there."""
        self.client.hsetnx("finished", str(name), str(time.time()))

    def counts(self, event: str) -> dict[str, int]:
        """Return how often each task had an event: `starts` or `effects`."""
        return count(self.client, event)

    def times(self, event: str) -> dict[str, float]:
        """Return when each task had an event: `published`, `acknowledged` or `finished`."""
        found = cast(dict[bytes, bytes], self.client.hgetall(event))
        return {name.decode(): float(value) for name, value in found.items()}


def count(client: redis.Redis, key: str) -> dict[str, int]:
    """Read a hash of counters."""
    found = cast(dict[bytes, bytes], client.hgetall(key))
    return {name.decode(): int(value) for name, value in found.items()}
