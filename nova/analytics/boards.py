"""Leaderboards: for each span and metric, the channels with the highest values, a sorted set."""

from collections.abc import Sequence

import numpy as np
import redis

from nova.analytics.models import Standing
from nova.arrays import Floats
from nova.store import Keys

#: Places that a leaderboard keeps: with all of them, those of 100,000 channels would take some
#: 40 MB of Redis a day and metric.
BOARD_SIZE = 1000


def best(names: list[bytes], values: Floats, size: int = BOARD_SIZE) -> list[tuple[bytes, float]]:
    """Return the `size` names with the highest values, best first; NaN takes no part.

    Of equal values the name that sorts later comes first, as `ZREVRANGE` has it: the places here
    and in Redis are the same.
    """
    ranked = np.flatnonzero(~np.isnan(values))
    if len(ranked) > size:
        # All that could be among them, equal ones of the last place included; few are left to sort.
        least = np.partition(values[ranked], -size)[-size]
        ranked = ranked[values[ranked] >= least]
    pairs = zip(values[ranked].tolist(), (names[row] for row in ranked.tolist()), strict=True)
    return [(name, value) for value, name in sorted(pairs, reverse=True)[:size]]


def standings(
    client: redis.Redis,
    metric: str,
    places: Sequence[tuple[bytes, float]],
    previous_key: str | None,
    first_rank: int = 1,
) -> list[Standing]:
    """Return consecutive places of a leaderboard, compared with that of another span.

    Args:
        client: Redis with the other span's leaderboard.
        metric: Name of the metric.
        places: Channels and their values.
        previous_key: Key of the other span; None if there is none.
        first_rank: Rank of the first of the places.
    """
    ranks: list[int | None] = [None] * len(places)
    if previous_key is not None:
        with client.pipeline(transaction=False) as pipe:
            for channel, _ in places:
                pipe.zrevrank(Keys.analytics_board(previous_key, metric), channel)
            ranks = pipe.execute()
    return [
        Standing(
            rank=rank,
            channel=channel.decode(),
            value=value,
            previous_rank=None if before is None else before + 1,
            rank_change=None if before is None else before + 1 - rank,
        )
        for rank, ((channel, value), before) in enumerate(
            zip(places, ranks, strict=True), first_rank
        )
    ]
