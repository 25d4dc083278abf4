"""Loads a window of channel metrics from Redis, one day at a time."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count

import numpy as np
import redis
from numpy.typing import NDArray

from nova.arrays import Floats
from nova.channels import METRIC_NAMES, days_in_window, load_day
from nova.errors import ConfigurationError
from nova.governance import models
from nova.governance.scoring import INPUT_METRICS
from nova.store import Keys


@dataclass(frozen=True)
class ChannelWindow:
    """Metrics of all channels that were seen in a window."""

    start: date
    end: date
    days_used: list[date]
    #: Sorted, in UTF-8.
    channels: list[bytes]
    #: Metric name -> (days, channels).
    arrays: dict[str, Floats]
    #: Channel days that were read.
    rows_read: int

    def note(self) -> models.Window:
        """Return what a report says about the window."""
        length = (self.end - self.start).days + 1
        calendar = [self.start + timedelta(days=offset) for offset in range(length)]
        used = set(self.days_used)
        return models.Window(
            start=self.start,
            end=self.end,
            days_used=self.days_used,
            days_missing=[day for day in calendar if day not in used],
        )


def load_window(client: redis.Redis, end: date, length: int, memory_limit_mb: int) -> ChannelWindow:
    """Load the `length` days up to and including `end`.

    Raises:
        ConfigurationError: the run would need more than `memory_limit_mb`.
    """
    start = end - timedelta(days=length - 1)
    days = days_in_window(client, end, length)
    # At least so many channels; that more of them come and go shows while loading.
    largest = max((client.hlen(Keys.metric_day(day)) for day in days), default=0)
    _check_memory(largest, length, memory_limit_mb)
    # Numbers a channel when it is first met; as fast as a lookup, millions of which follow.
    row_of: defaultdict[bytes, int] = defaultdict(count().__next__)
    rows: list[NDArray[np.intp]] = []
    columns: dict[str, list[Floats]] = {name: [] for name in INPUT_METRICS}
    for day in days:
        ids, values = load_day(client, day)
        rows.append(np.fromiter(map(row_of.__getitem__, ids), np.intp, len(ids)))
        _check_memory(len(row_of), length, memory_limit_mb)
        for name, parts in columns.items():
            parts.append(values[:, METRIC_NAMES.index(name)].copy())
    channels = sorted(row_of)
    place = np.empty(len(channels), np.intp)
    place[[row_of[channel] for channel in channels]] = np.arange(len(channels))
    offsets = [(day - start).days for day in days]
    arrays = {}
    for name in INPUT_METRICS:
        array = np.full((length, len(channels)), np.nan)
        # Popped, so that each metric is held twice only while its array is made.
        for offset, row, part in zip(offsets, rows, columns.pop(name), strict=True):
            array[offset, place[row]] = part
        arrays[name] = array
    rows_read = sum(map(len, rows))
    return ChannelWindow(start, end, days, channels, arrays, rows_read)


def estimate_memory_mb(channels: int, days: int) -> float:
    """Return about how much memory a run needs on top of an idle worker, in MB (10^6 bytes).

    Per channel and day: one float64 per metric, and about as much as seven of them while scoring;
    per channel and whatever the days are: its id, its features and one day's raw records.
    docs/benchmarks.md compares this with what is measured.
    """
    per_channel = days * 8 * (len(INPUT_METRICS) + 7) + 1200
    return channels * per_channel / 1e6


def _check_memory(channels: int, days: int, limit_mb: int) -> None:
    needed = estimate_memory_mb(channels, days)
    if needed > limit_mb:
        raise ConfigurationError(
            f"a window of {days} days and {channels:,} channels needs about {needed:,.0f} MB, more "
            f"than enforcement.memory_limit_mb ({limit_mb:,}) of the governance policy: "
            "raise it or shorten window_days"
        )
