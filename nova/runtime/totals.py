"""The totals of what workers count, as they stand in Redis."""

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import redis

from nova.runtime.counts import CountKey
from nova.store import Keys

#: A worker that has counted nothing for so long has gone, and its own totals with it.
WORKER_EXPIRES_SECONDS = 24 * 3600
#: A batch is known for so long: a process that is cut off from Redis must be back before.
NUMBER_EXPIRES_SECONDS = 7 * 24 * 3600

_SEPARATOR = "|"


def write_key(key: CountKey) -> str:
    """Return what is counted as the name of a field."""
    return _SEPARATOR.join(part.replace(_SEPARATOR, "/") for part in key)


def read_key(text: str) -> CountKey:
    """Read what `write_key` wrote."""
    return tuple(text.split(_SEPARATOR))


@dataclass(frozen=True)
class Totals:
    """What has been counted since there is this Redis; times in microseconds."""

    fleet: Counter[CountKey] = field(default_factory=Counter)
    #: By the name of the worker, those of the last day.
    workers: dict[str, Counter[CountKey]] = field(default_factory=dict)
    #: Commits of the ledger by outcome, and messages of the outbox by queue.
    ledger: Counter[CountKey] = field(default_factory=Counter)


def read_totals(client: redis.Redis) -> Totals:
    """Return the totals; two round trips to Redis.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(Keys.COUNTS)
        pipe.hgetall(Keys.LEDGER_COUNTS)
        pipe.zrange(Keys.COUNTING_WORKERS, 0, -1)
        fleet, ledger, members = pipe.execute()
    names = sorted(member.decode() for member in members)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hgetall(Keys.worker_counts(name))
        found = cast(list[dict[bytes, bytes]], pipe.execute())
    workers = {name: _read(fields) for name, fields in zip(names, found, strict=True) if fields}
    return Totals(_read(fleet), workers, _read(ledger))


def _read(fields: dict[bytes, bytes]) -> Counter[CountKey]:
    return Counter({read_key(name.decode()): int(amount) for name, amount in fields.items()})
