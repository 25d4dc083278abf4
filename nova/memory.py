"""Agent memory: small JSON values that outlive a run, by namespace and key.

A domain uses the namespace of its name: trends remembers the past scores of topics, governance the
past latencies of tools. For example, in a task:

    memory = Memory(client)
    past = memory.get_many("trends", topics)
    effects = run.effects()
    memory.record(effects, "trends", {"cats": {"score": 3.2}})
    run.commit(effects, result)

In Redis a hash `nova:memory:of:<namespace>` holds the values, and one sorted set,
`nova:memory:index`, holds `<namespace>:<key>` of all entries with the time of their last access by
Redis' clock. Both change in one step. `forget_unused` removes what nobody has read or written for
long, a slice at a time.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import cast

import redis
from pydantic import JsonValue
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError

from nova.errors import InputError, NotFoundError
from nova.runtime.scripts import load
from nova.store import Keys

NAMESPACE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 64 * 1024
#: Entries that one command writes or reads; more would keep Redis from others.
ENTRIES_AT_A_TIME = 500
#: Entries that one step of forgetting removes.
FORGOTTEN_AT_A_TIME = 200


@dataclass(frozen=True)
class Entry:
    """One entry, for people. `value_bytes` is its size as JSON; times are UTC."""

    namespace: str
    key: str
    value: JsonValue
    value_bytes: int
    last_access: datetime


@dataclass(frozen=True)
class Slice:
    """Some of the unused entries: how many, and the bytes of their keys and values."""

    entries: int
    stored_bytes: int


class Memory:
    """The store. Namespaces, keys and values that are not allowed raise InputError.

    A namespace is up to 64 small letters, digits, `_` and `-`, and begins with a letter. A key is
    1 to 256 bytes of printable text. A value is JSON of at most 64 KiB.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._offset: float | None = None

    def get(self, namespace: str, key: str) -> JsonValue:
        """Return a value, None if there is none, and note the access."""
        return self.get_many(namespace, [key]).get(key)

    def get_many(self, namespace: str, keys: Iterable[str]) -> dict[str, JsonValue]:
        """Return the values of those keys that there are, and note the accesses.

        A Redis that is full answers all the same; then the accesses are not noted.
        """
        values: dict[str, JsonValue] = {}
        for part in _batches(dict.fromkeys(_checked_key(namespace, key) for key in keys)):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hmget(Keys.memory(namespace), part)
            members = dict.fromkeys((_member(namespace, key) for key in part), self._now())
            pipeline.zadd(Keys.MEMORY_INDEX, members, xx=True)
            found, noted = pipeline.execute(raise_on_error=False)
            for answer in (found, noted):
                if isinstance(answer, Exception) and not isinstance(answer, OutOfMemoryError):
                    raise answer
            for key, value in zip(part, found, strict=True):
                if value is not None:
                    values[key] = json.loads(value)
        return values

    def put(self, namespace: str, key: str, value: JsonValue) -> None:
        """Store a value at once. A task records it with its other effects instead: `record`."""
        pipeline = self._client.pipeline(transaction=True)
        self.record(pipeline, namespace, {key: value})
        pipeline.execute()

    def record(self, effects: Pipeline, namespace: str, values: Mapping[str, JsonValue]) -> None:
        """Record values on a pipeline, such as `Run.effects()`; its commit stores them."""
        texts = {
            _checked_key(namespace, key): _encoded(f"{namespace} {key}", value)
            for key, value in values.items()
        }
        if not texts:
            return
        now = self._now()
        effects.sadd(Keys.MEMORY_NAMESPACES, namespace)
        for part in _batches(texts):
            effects.hset(Keys.memory(namespace), mapping={key: texts[key] for key in part})
            effects.zadd(Keys.MEMORY_INDEX, {_member(namespace, key): now for key in part})

    def delete(self, namespace: str, key: str) -> None:
        """Remove an entry.

        Raises:
            NotFoundError: there is none.
        """
        pipeline = self._client.pipeline(transaction=True)
        self.record_delete(pipeline, namespace, [key])
        if not pipeline.execute()[0]:
            raise _no_entry(namespace, key)

    def record_delete(self, effects: Pipeline, namespace: str, keys: Iterable[str]) -> None:
        """Record the removal of entries on a pipeline; those that are not there do no harm."""
        for part in _batches([_checked_key(namespace, key) for key in keys]):
            effects.hdel(Keys.memory(namespace), *part)
            effects.zrem(Keys.MEMORY_INDEX, *(_member(namespace, key) for key in part))

    def namespaces(self) -> dict[str, int]:
        """Return the namespaces that hold anything, by name, with their numbers of entries."""
        members = cast(set[bytes], self._client.smembers(Keys.MEMORY_NAMESPACES))
        names = sorted(member.decode() for member in members)
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.hlen(Keys.memory(name))
        return {name: n for name, n in zip(names, pipeline.execute(), strict=True) if n}

    def entries(self, namespace: str, limit: int) -> list[Entry]:
        """Return at most `limit` entries of a namespace, by key; which ones, Redis decides.

        Looking does not count as access.
        """
        _check_namespace(namespace)
        found = dict(islice(self._client.hscan_iter(Keys.memory(namespace), count=100), limit))
        keys = sorted(key.decode() for key in found)
        return [self._entry(namespace, key, found[key.encode()]) for key in keys]

    def entry(self, namespace: str, key: str) -> Entry:
        """Return one entry for people; looking does not count as access.

        Raises:
            NotFoundError: there is none.
        """
        _checked_key(namespace, key)
        value = cast(bytes | None, self._client.hget(Keys.memory(namespace), key))
        if value is None:
            raise _no_entry(namespace, key)
        return self._entry(namespace, key, value)

    def forget_unused(self, hours: float, limit: int = FORGOTTEN_AT_A_TIME) -> Slice:
        """Remove at most `limit` entries that nobody has read or written for `hours`, oldest first.

        One step in Redis, which serves nobody else meanwhile: of a million entries 200 take about
        half a millisecond. An entry that is used in the meantime stays. Call it until it removes
        nothing.

        Raises:
            ValueError: the limit is not within 1 and 1000.
        """
        if not 1 <= limit <= 1000:
            raise ValueError(f"limit {limit} is not within 1 and 1000")
        script = load(self._client, "forget")
        keys = [Keys.MEMORY_INDEX, Keys.memory("")]
        entries, stored_bytes = script(keys=keys, args=[hours * 3600, limit])
        return Slice(entries, stored_bytes)

    def count_unused(self, hours: float) -> int:
        """Return how many entries nobody has read or written for `hours`."""
        return self._client.zcount(Keys.MEMORY_INDEX, "-inf", f"({self._now() - hours * 3600}")

    def measure_unused(self, hours: float, offset: int, limit: int = FORGOTTEN_AT_A_TIME) -> Slice:
        """Measure what `forget_unused` would remove after the first `offset` entries."""
        end = min(offset + limit, self.count_unused(hours))
        if end <= offset:
            return Slice(0, 0)
        members = cast(list[bytes], self._client.zrange(Keys.MEMORY_INDEX, offset, end - 1))
        pipeline = self._client.pipeline(transaction=False)
        sizes = 0
        for member in members:
            namespace, _, key = member.decode().partition(":")
            sizes += len(key.encode())
            pipeline.hstrlen(Keys.memory(namespace), key)
        return Slice(len(members), sizes + sum(pipeline.execute()))

    def _entry(self, namespace: str, key: str, value: bytes) -> Entry:
        at = self._client.zscore(Keys.MEMORY_INDEX, _member(namespace, key))
        last_access = datetime.fromtimestamp(at or 0.0, UTC)
        return Entry(namespace, key, json.loads(value), len(value), last_access)

    def _now(self) -> float:
        """Return Redis' time, which it is asked for once."""
        if self._offset is None:
            seconds, microseconds = self._client.time()
            self._offset = seconds + microseconds / 1e6 - time.monotonic()
        return time.monotonic() + self._offset


def _check_namespace(namespace: str) -> None:
    if not NAMESPACE.fullmatch(namespace):
        raise InputError(
            f"namespace {namespace[:80]!r} of agent memory: takes up to 64 small letters, digits, "
            "_ and -, beginning with a letter"
        )


def _checked_key(namespace: str, key: str) -> str:
    _check_namespace(namespace)
    shown = f"key {key[:80]!r} of agent memory"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InputError(f"{shown}: is not valid UTF-8") from None
    if not 1 <= size <= MAX_KEY_BYTES:
        raise InputError(f"{shown}: is {size} bytes long; 1 to {MAX_KEY_BYTES} are allowed")
    if any(character < " " or character == "\x7f" for character in key):
        raise InputError(f"{shown}: holds a control character")
    return key


def _encoded(place: str, value: JsonValue) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"value of {place}: is not JSON ({error})") from None
    if len(encoded) > MAX_VALUE_BYTES:
        raise InputError(
            f"value of {place}: is {len(encoded):,} bytes as JSON; {MAX_VALUE_BYTES:,} are allowed"
        )
    return encoded


def _member(namespace: str, key: str) -> str:
    return f"{namespace}:{key}"


def _no_entry(namespace: str, key: str) -> NotFoundError:
    return NotFoundError(
        f"agent memory has no {key!r} in {namespace}; see: nova memory list {namespace}"
    )


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while part := list(islice(rest, ENTRIES_AT_A_TIME)):
        yield part
