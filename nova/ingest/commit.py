"""Storing one day in Redis: all of it at once, or nothing of it.

What differs is put together under a staging key that expires, so that a crash leaves nothing
for ever, and takes the day's name in one transaction. The day is watched meanwhile.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import cast

import redis
from redis.exceptions import WatchError

from nova.channels import day_score
from nova.errors import UnavailableError
from nova.store import Keys

#: Channels per command: large enough to be fast, small enough not to hold up other clients.
CHUNK = 1000
STAGING_TTL_SECONDS = 3600
ATTEMPTS = 5


@dataclass
class DayOutcome:
    """How many channels of a day were new, changed or the same."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    @property
    def written(self) -> bool:
        """Whether anything differs from what was stored."""
        return bool(self.new or self.changed)


Chunks = Iterable[dict[str, bytes]]


def store_day(
    client: redis.Redis,
    day: date,
    read_chunks: Callable[[], Chunks],
    ingest_id: str,
    *,
    dry_run: bool = False,
) -> DayOutcome:
    """Store a day's channels; other channels of that day stay as they are.

    Args:
        client: Redis.
        day: The day.
        read_chunks: Returns the packed metrics by channel, from the beginning at each call.
        ingest_id: Names the staging key; of this ingest's own.
        dry_run: Compare with what is stored, and write nothing.

    Raises:
        UnavailableError: others wrote to the same day at every attempt.
        redis.RedisError: Redis does not answer.
    """
    for _ in range(ATTEMPTS):
        try:
            return _attempt(client, day, read_chunks(), Keys.metric_staging(ingest_id), dry_run)
        except WatchError:
            continue
    raise UnavailableError(
        f"{day} was written to by others at each of {ATTEMPTS} attempts; try again later"
    )


def _attempt(
    client: redis.Redis, day: date, chunks: Chunks, staging: str, dry_run: bool
) -> DayOutcome:
    key = Keys.metric_day(day)
    outcome = DayOutcome()
    with client.pipeline() as transaction:
        transaction.watch(key)  # type: ignore[no-untyped-call]
        exists = bool(client.exists(key))
        for chunk in chunks:
            first = not outcome.written
            different = _differences(client, key, chunk, outcome) if exists else chunk
            outcome.new += 0 if exists else len(chunk)
            if different and not dry_run:
                _stage(client, staging, different, begin=first, copy_of=key if exists else None)
        if outcome.written and not dry_run:
            transaction.multi()
            transaction.persist(staging)
            transaction.rename(staging, key)
            transaction.zadd(Keys.METRIC_DAYS, {day.isoformat(): day_score(day)})
            transaction.execute()
    return outcome


def _differences(
    client: redis.Redis, key: str, chunk: dict[str, bytes], outcome: DayOutcome
) -> dict[str, bytes]:
    """Return the channels that are not stored just so, and count all of them."""
    different = {}
    stored = cast(list[bytes | None], client.hmget(key, list(chunk)))
    for (channel, record), there in zip(chunk.items(), stored, strict=True):
        if there == record:
            outcome.unchanged += 1
            continue
        different[channel] = record
        if there is None:
            outcome.new += 1
        else:
            outcome.changed += 1
    return different


def _stage(
    client: redis.Redis,
    staging: str,
    channels: dict[str, bytes],
    *,
    begin: bool,
    copy_of: str | None,
) -> None:
    with client.pipeline(transaction=True) as pipeline:
        if begin:
            pipeline.delete(staging)
            if copy_of:
                pipeline.copy(copy_of, staging)
        pipeline.hset(staging, items=[part for pair in channels.items() for part in pair])
        pipeline.expire(staging, STAGING_TTL_SECONDS)
        pipeline.execute()
