"""Loads a window of channel metrics from Redis, one day at a time."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import cast

import numpy as np
import redis

from nova.channels import METRIC_NAMES, days_in_window, load_day
from nova.errors import ConfigurationError
from nova.governance import models
from nova.governance.scoring import INPUT_METRICS, Floats
from nova.store import Keys

COLUMNS = [METRIC_NAMES.index(name) for name in INPUT_METRICS]


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

    The channels are read first, so that each array is made once, in its final size.

    Raises:
        ConfigurationError: the run would need more than `memory_limit_mb`.
    """
    start = end - timedelta(days=length - 1)
    days = days_in_window(client, end, length)
    channels = _channels(client, days)
    _check_memory(len(channels), length, memory_limit_mb)
    row_of = {channel: row for row, channel in enumerate(channels)}
    arrays = {name: np.full((length, len(channels)), np.nan) for name in INPUT_METRICS}
    for day in days:
        ids, values = load_day(client, day)
        # A channel that was ingested since the channels were read waits for the next run.
        rows = np.fromiter((row_of.get(channel, -1) for channel in ids), np.intp, len(ids))
        known = rows >= 0
        for name, column in zip(INPUT_METRICS, COLUMNS, strict=True):
            arrays[name][(day - start).days, rows[known]] = values[known, column]
    return ChannelWindow(start, end, days, channels, arrays)


def _channels(client: redis.Redis, days: list[date]) -> list[bytes]:
    """Return all channels of the days, sorted."""
    seen: set[bytes] = set()
    for day in days:
        seen.update(cast(list[bytes], client.hkeys(Keys.metric_day(day))))
    return sorted(seen)


def estimate_memory_mb(channels: int, days: int) -> float:
    """Return about how much memory a run needs on top of an idle worker, in MB (10^6 bytes).

    Per channel and day: one float64 per metric, and about as much as six of them while scoring;
    per channel and whatever the days are: its id, its features and one day's raw records.
    docs/benchmarks.md compares this with what is measured.
    """
    per_channel = days * 8 * (len(INPUT_METRICS) + 6) + 1200
    return channels * per_channel / 1e6


def _check_memory(channels: int, days: int, limit_mb: int) -> None:
    needed = estimate_memory_mb(channels, days)
    if needed > limit_mb:
        raise ConfigurationError(
            f"a window of {days} days and {channels:,} channels needs about {needed:,.0f} MB, more "
            f"than enforcement.memory_limit_mb ({limit_mb:,}) of the governance policy: "
            "raise it or shorten window_days"
        )
