"""Channel metrics: which there are, and how one day of them lies in Redis.

One hash per day, `Keys.metric_day(day)`: field = channel id in UTF-8, value = one little-endian
float64 per entry of METRICS, in that order, NaN where a metric is not known. Packed numbers
load about forty times faster than JSON. `Keys.METRIC_DAYS` is a sorted set of the days that
exist: member YYYY-MM-DD, score yyyymmdd.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import nan
from typing import cast

import numpy as np
import redis
from numpy.typing import NDArray

from nova.errors import InputError
from nova.store import Keys


@dataclass(frozen=True)
class Metric:
    """One number that is known, or not, for a channel on a day."""

    name: str
    unit: str
    description: str
    #: Whether a number below zero makes sense.
    signed: bool = False
    #: Whether it cannot be summed over days: their mean counts.
    is_ratio: bool = False


#: New metrics are only ever appended: records that lie in Redis are read by position.
METRICS: tuple[Metric, ...] = (
    Metric("views", "count", "Views of the channel's videos."),
    Metric("likes", "count", "Likes given to the channel's videos."),
    Metric("comments", "count", "Comments written under the channel's videos."),
    Metric("shares", "count", "Times the channel's videos were shared."),
    Metric("subscribers", "count", "Subscribers gained less subscribers lost.", signed=True),
    Metric("watch_hours", "hours", "Time that people watched."),
    Metric("impressions", "count", "Times a thumbnail was shown."),
    Metric("ctr", "percent", "Impressions that led to a view, 0 to 100.", is_ratio=True),
    Metric("rpm", "USD", "Revenue per thousand views.", signed=True, is_ratio=True),
    Metric("revenue", "USD", "Estimated revenue, less what was taken back.", signed=True),
)
METRIC_NAMES: tuple[str, ...] = tuple(metric.name for metric in METRICS)

_RECORD = struct.Struct(f"<{len(METRICS)}d")


def pack(values: Mapping[str, float]) -> bytes:
    """Return the record of one channel and day; a metric that is not in `values` is NaN.

    Raises:
        InputError: `values` holds a name that is no metric.
    """
    if unknown := values.keys() - set(METRIC_NAMES):
        raise InputError(
            f"unknown metric {', '.join(sorted(unknown))}; known are {', '.join(METRIC_NAMES)}"
        )
    return _RECORD.pack(*(values.get(name, nan) for name in METRIC_NAMES))


def pack_row(values: Iterable[float | None]) -> bytes:
    """Return the record of one channel and day from all metrics in order; None becomes NaN."""
    return _RECORD.pack(*[nan if value is None else value for value in values])


def unpack_many(values: Sequence[bytes]) -> NDArray[np.float64]:
    """Return the metrics of many records, shape (len(values), len(METRICS)).

    A record of an older release is shorter and padded with NaN; one of a newer release is
    longer and cut.
    """
    size = _RECORD.size
    if set(map(len, values)) - {size}:
        values = [_fit(value) for value in values]
    return np.frombuffer(b"".join(values), dtype="<f8").reshape(len(values), len(METRICS))


def _fit(value: bytes) -> bytes:
    missing = (_RECORD.size - len(value)) // 8
    padding = struct.pack("<d", nan) * missing
    return value[: len(value) // 8 * 8][: _RECORD.size] + padding


def newest_day(client: redis.Redis, *, index: str = Keys.METRIC_DAYS) -> date | None:
    """Return the newest day of an index of days, None when there is none."""
    newest = cast(list[bytes], client.zrange(index, -1, -1))
    return date.fromisoformat(newest[0].decode()) if newest else None


def newest_days(
    client: redis.Redis, most: int | None = None, *, index: str = Keys.METRIC_DAYS
) -> list[date]:
    """Return the newest `most` days of an index of days, or all of it, oldest first."""
    first = 0 if most is None else -most
    members = cast(list[bytes], client.zrange(index, first, -1))
    return [date.fromisoformat(member.decode()) for member in members]


def days_in_window(
    client: redis.Redis, end: date, length: int, *, index: str = Keys.METRIC_DAYS
) -> list[date]:
    """Return the days of an index among the `length` days up to and including `end`."""
    first = end - timedelta(days=length - 1)
    members = cast(list[bytes], client.zrangebyscore(index, day_score(first), day_score(end)))
    return [date.fromisoformat(member.decode()) for member in members]


def load_day(client: redis.Redis, day: date) -> tuple[list[bytes], NDArray[np.float64]]:
    """Return the channel ids of a day and their metrics, one row per channel in the same order."""
    records = cast(dict[bytes, bytes], client.hgetall(Keys.metric_day(day)))
    return list(records), unpack_many(list(records.values()))


def day_score(day: date) -> int:
    """Return the day's score in `Keys.METRIC_DAYS`: 2026-03-01 -> 20260301."""
    return day.year * 10_000 + day.month * 100 + day.day
