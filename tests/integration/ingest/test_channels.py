"""Days of channel metrics are found and loaded from a real Redis."""

from datetime import date

import numpy as np
import redis

from nova.channels import (
    METRICS,
    day_score,
    days_in_window,
    load_day,
    newest_day,
    pack,
)
from nova.store import Keys


def add_day(client: redis.Redis, day: date, **channels: float) -> None:
    """Store one day: channel -> views."""
    records = [part for name, views in channels.items() for part in (name, pack({"views": views}))]
    client.hset(Keys.metric_day(day), items=records)
    client.zadd(Keys.METRIC_DAYS, {day.isoformat(): day_score(day)})


def test_without_data_there_is_no_newest_day(client: redis.Redis) -> None:
    """An empty Redis has no day, no window and no channel."""
    day = date(2025, 1, 1)
    assert newest_day(client) is None
    assert days_in_window(client, day, 28) == []
    names, table = load_day(client, day)
    assert (names, table.shape) == ([], (0, len(METRICS)))


def test_a_window_holds_the_days_with_data_only(client: redis.Redis) -> None:
    """Both ends are in, gaps are left out, also over the end of a year."""
    days = [date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 2), date(2025, 1, 3)]
    for day in days:
        add_day(client, day, A=1)
    assert newest_day(client) == date(2025, 1, 3)
    assert days_in_window(client, date(2025, 1, 2), 3) == days[1:3]
    assert days_in_window(client, date(2025, 1, 3), 5) == days


def test_a_day_is_loaded_with_channels_and_rows_in_one_order(client: redis.Redis) -> None:
    """Row i of the table belongs to channel i."""
    add_day(client, date(2025, 1, 1), A=1.5, B=2.5)
    names, table = load_day(client, date(2025, 1, 1))
    assert dict(zip(names, table[:, 0].tolist(), strict=True)) == {b"A": 1.5, b"B": 2.5}
    assert np.isnan(table[:, 1:]).all()
