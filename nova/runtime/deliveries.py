"""Numbers about messages on their way: held, redelivered, given up."""

from collections import Counter
from collections.abc import Iterable
from typing import cast

import redis
from pydantic import BaseModel

from nova.queues import QUEUES
from nova.store import Keys

#: Stands for all queues that are not in the queue table: the direct queues of workers.
OTHER_QUEUES = "direct"
REDELIVERED_PREFIX = "redelivered:"  # as lua/sweep.lua has it


def queue_label(queue: str | None) -> str:
    """Return the name by which a queue is counted, so that workers' own queues are one series."""
    return queue if queue and queue in QUEUES else OTHER_QUEUES


class Deliveries(BaseModel):
    """What becomes of messages; by queue, with zero for each that has none."""

    held: int
    oldest_renewal_seconds: float
    redelivered: dict[str, int]
    dead_letters: dict[str, int]


def read_deliveries(client: redis.Redis) -> Deliveries:
    """Return the numbers; two round trips to Redis.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.hlen(Keys.HELD)
        pipe.zrange(Keys.HELD_INDEX, 0, 0, withscores=True)
        pipe.time()
        pipe.hgetall(Keys.SWEEP)
        pipe.smembers(Keys.DEAD_LETTER_QUEUES)
        held, oldest, (seconds, _), sweep, dead_queues = pipe.execute()
    renewed_at = oldest[0][1] if oldest else seconds
    return Deliveries(
        held=held,
        # A message that waits to be tried again is given a time that lies ahead.
        oldest_renewal_seconds=max(0.0, seconds - renewed_at),
        redelivered=by_queue(
            (name.decode().removeprefix(REDELIVERED_PREFIX), int(count))
            for name, count in sweep.items()
            if name.startswith(REDELIVERED_PREFIX.encode())
        ),
        dead_letters=_dead_letters(client, [name.decode() for name in dead_queues]),
    )


def _dead_letters(client: redis.Redis, queues: list[str]) -> dict[str, int]:
    with client.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.llen(Keys.dead_letters(queue))
        return by_queue(zip(queues, cast(list[int], pipe.execute()), strict=True))


def by_queue(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Add up numbers of queues: one for each in the queue table, and one for all others."""
    sums: Counter[str] = Counter(dict.fromkeys((*QUEUES, OTHER_QUEUES), 0))
    for queue, count in counts:
        sums[queue_label(queue)] += count
    return dict(sums)
