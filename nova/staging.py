"""Large keys that become visible together, each as a whole, or not at all.

A run writes them in batches under names of its own, which expire by themselves, and its commit
renames them:

    with staging(client, "trends") as place:
        place.write_scores(Keys.trend_scores(day), scores, retention)
        effects = run.effects()
        place.rename(effects)
        run.commit(effects, result)
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import redis
from redis.client import Pipeline

from nova.store import Keys

#: Fields or members that are sent to Redis in one command.
BATCH = 10_000
#: Longer than any run may take: what a killed run leaves behind goes away by itself.
STAGING_EXPIRES_SECONDS = 3600

T = TypeVar("T")


@dataclass
class _Staged:
    """One key that is put together."""

    name: str
    #: How long it lives under its final name; None is for ever.
    expires: timedelta | None
    filled: bool = False


class Staging:
    """Keys under names of this run's own, until `rename` gives them their final ones."""

    def __init__(self, client: redis.Redis, domain: str) -> None:
        self._client = client
        self._domain = domain
        self._run_id = uuid.uuid4().hex
        self._keys: dict[str, _Staged] = {}
        self._texts: dict[str, tuple[str, timedelta | None]] = {}

    def write_hash(
        self,
        key: str,
        records: Iterable[tuple[str | bytes, str | bytes]],
        expires: timedelta | None,
    ) -> None:
        """Put the hash `key` together; without any record the key will be removed."""
        self._write(key, records, expires, lambda pipe, name, part: pipe.hset(name, mapping=part))

    def write_scores(
        self, key: str, scores: Iterable[tuple[str | bytes, float]], expires: timedelta | None
    ) -> None:
        """Put the sorted set `key` together; without any member the key will be removed."""
        self._write(key, scores, expires, lambda pipe, name, part: pipe.zadd(name, part))

    def write_text(self, key: str, text: str, expires: timedelta | None) -> None:
        """Keep a short text, which goes with the commit itself."""
        self._texts[key] = (text, expires)

    def _write(
        self,
        key: str,
        pairs: Iterable[tuple[str | bytes, Any]],
        expires: timedelta | None,
        send: Callable[[Any, str, dict[str | bytes, Any]], object],
    ) -> None:
        name = Keys.staged(self._domain, self._run_id, len(self._keys))
        staged = self._keys[key] = _Staged(name, expires)
        for part in _batches(pairs):
            with self._client.pipeline(transaction=False) as pipe:
                send(pipe, name, dict(part))
                pipe.expire(name, STAGING_EXPIRES_SECONDS)
                pipe.execute()
            staged.filled = True

    def rename(self, effects: Pipeline) -> None:
        """Record the commands that put the keys in place of those that stand there."""
        for key, staged in self._keys.items():
            effects.unlink(key)
            if not staged.filled:
                continue
            effects.rename(staged.name, key)
            if staged.expires is None:
                effects.persist(key)
            else:
                effects.expire(key, staged.expires)
        for key, (text, expires) in self._texts.items():
            effects.set(key, text, ex=expires)

    def remove(self) -> None:
        """Remove what was not renamed."""
        if self._keys:
            self._client.unlink(*(staged.name for staged in self._keys.values()))


@contextmanager
def staging(client: redis.Redis, domain: str) -> Iterator[Staging]:
    """Give a place to write a domain's large keys to; a run that fails leaves nothing there."""
    place = Staging(client, domain)
    try:
        yield place
    except Exception:
        place.remove()
        raise


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
