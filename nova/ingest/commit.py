"""Storing one day in Redis: all of it at once, or nothing of it.

A day is one hash or several: channels, and videos where the file has them. What differs is put
together under staging keys that expire, so that a crash leaves nothing for ever, and all of them
take the names of the day's hashes in one transaction. Those are watched meanwhile.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

import redis
from redis.exceptions import WatchError

from nova.channels import day_score
from nova.errors import UnavailableError
from nova.store import Keys

#: Fields per command: large enough to be fast, small enough not to hold up other clients.
CHUNK = 1000
STAGING_TTL_SECONDS = 3600
ATTEMPTS = 5


@dataclass
class Outcome:
    """How many fields of a day's hash were new, changed or the same."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    @property
    def written(self) -> bool:
        """Whether anything differs from what was stored."""
        return bool(self.new or self.changed)


Chunks = Iterable[dict[str, bytes]]


@dataclass(frozen=True)
class DayHash:
    """A hash of a day, and what comes into it."""

    key: str
    #: Sorted set of the days that have such a hash.
    index: str
    #: Where it is put together; of this ingest's own.
    staging: str
    #: Returns the records by field, from the beginning at each call.
    read_chunks: Callable[[], Chunks]


def channel_hash(day: date, ingest_id: str, read_chunks: Callable[[], Chunks]) -> DayHash:
    """Return the hash of a day's channels."""
    staging = Keys.metric_staging(ingest_id)
    return DayHash(Keys.metric_day(day), Keys.METRIC_DAYS, staging, read_chunks)


def video_hash(day: date, ingest_id: str, read_chunks: Callable[[], Chunks]) -> DayHash:
    """Return the hash of a day's videos."""
    staging = Keys.video_staging(ingest_id)
    return DayHash(Keys.video_day(day), Keys.VIDEO_DAYS, staging, read_chunks)


def store_day(
    client: redis.Redis, day: date, hashes: Sequence[DayHash], *, dry_run: bool = False
) -> list[Outcome]:
    """Store a day; fields that are not given stay as they are.

    Args:
        client: Redis.
        day: The day.
        hashes: The day's hashes, which change together.
        dry_run: Compare with what is stored, and write nothing.

    Returns:
        What became of each hash, in their order.

    Raises:
        UnavailableError: others wrote to the same day at every attempt.
        redis.RedisError: Redis does not answer.
    """
    for _ in range(ATTEMPTS):
        try:
            return _attempt(client, day, hashes, dry_run)
        except WatchError:
            continue
    raise UnavailableError(
        f"{day} was written to by others at each of {ATTEMPTS} attempts; try again later"
    )


def _attempt(
    client: redis.Redis, day: date, hashes: Sequence[DayHash], dry_run: bool
) -> list[Outcome]:
    with client.pipeline() as transaction:
        transaction.watch(*(part.key for part in hashes))  # type: ignore[no-untyped-call]
        outcomes = [_prepare(client, part, dry_run) for part in hashes]
        written = [part for part, done in zip(hashes, outcomes, strict=True) if done.written]
        if written and not dry_run:
            transaction.multi()
            for part in written:
                transaction.persist(part.staging)
                transaction.rename(part.staging, part.key)
                transaction.zadd(part.index, {day.isoformat(): day_score(day)})
                transaction.hincrby(Keys.DAY_WRITES, part.key, 1)
            transaction.execute()
    return outcomes


def _prepare(client: redis.Redis, part: DayHash, dry_run: bool) -> Outcome:
    """Compare a hash with what is stored, and put the new one together if it differs."""
    outcome = Outcome()
    exists = bool(client.exists(part.key))
    for chunk in part.read_chunks():
        first = not outcome.written
        different = _differences(client, part.key, chunk, outcome) if exists else chunk
        outcome.new += 0 if exists else len(chunk)
        if different and not dry_run:
            copy_of = part.key if exists else None
            _stage(client, part.staging, different, begin=first, copy_of=copy_of)
    return outcome


def _differences(
    client: redis.Redis, key: str, chunk: dict[str, bytes], outcome: Outcome
) -> dict[str, bytes]:
    """Return the fields that are not stored just so, and count all of them."""
    different = {}
    stored = cast(list[bytes | None], client.hmget(key, list(chunk)))
    for (name, record), there in zip(chunk.items(), stored, strict=True):
        if there == record:
            outcome.unchanged += 1
            continue
        different[name] = record
        if there is None:
            outcome.new += 1
        else:
            outcome.changed += 1
    return different


def _stage(
    client: redis.Redis,
    staging: str,
    records: dict[str, bytes],
    *,
    begin: bool,
    copy_of: str | None,
) -> None:
    with client.pipeline(transaction=True) as pipeline:
        if begin:
            pipeline.delete(staging)
            if copy_of:
                pipeline.copy(copy_of, staging)
        pipeline.hset(staging, items=[part for pair in records.items() for part in pair])
        pipeline.expire(staging, STAGING_TTL_SECONDS)
        pipeline.execute()
