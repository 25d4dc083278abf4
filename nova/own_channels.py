"""Which channels are ours, what they make videos about, and what they earn.

NOVA_OWN_CHANNELS names them. Where it is not set the data says it: ours are the channels of which
Nova has what YouTube shows to nobody but a channel's owner, videos from an export of YouTube Studio
or one of OWNER_METRICS. A channel that is only known from trending lists and feeds has neither.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property

import numpy as np
import redis

from nova import channels, videos
from nova.channels import METRIC_NAMES
from nova.settings import Settings
from nova.topics import folded
from nova.videos import Video, VideoSource

#: Metrics that only a channel's owner can know.
OWNER_METRICS = ("watch_hours", "impressions", "ctr", "rpm", "revenue")
EARNINGS = ("views", "rpm", "revenue")
#: Days with channel metrics, the newest, in which our channels and their income are looked for.
LOOKED_THROUGH = 90
BY_SETTING = "named in NOVA_OWN_CHANNELS"
BY_DATA = f"with a Studio export, or with {', '.join(OWNER_METRICS)}"

_OWNER_COLUMNS = [METRIC_NAMES.index(name) for name in OWNER_METRICS]


@dataclass(frozen=True)
class Income:
    """What a channel earned, on the days of which both numbers are known."""

    #: USD.
    revenue: float = 0.0
    views: float = 0.0

    def __add__(self, other: "Income") -> "Income":
        return Income(self.revenue + other.revenue, self.views + other.views)

    @property
    def rpm(self) -> float | None:
        """USD per thousand views; None where nothing, or less, was earned."""
        return 1000 * self.revenue / self.views if self.views > 0 < self.revenue else None


@dataclass(frozen=True)
class OwnChannels:
    """Our channels."""

    #: Names as the setting or the data has them.
    names: frozenset[str]
    #: How they were found, one line for people.
    basis: str
    #: Of those that earned anything.
    income: Mapping[str, Income]
    #: Days of channel metrics on which they earned, the first and the last; None without income.
    earned: tuple[date, date] | None = None
    #: Those of Studio exports, by day of publishing, all that are kept.
    videos: Sequence[Video] = ()

    def __contains__(self, channel: object) -> bool:
        return isinstance(channel, str) and folded(channel) in self._folded

    @cached_property
    def _folded(self) -> frozenset[str]:
        """Their names as they are compared."""
        return frozenset(map(folded, self.names))


def find_own_channels(client: redis.Redis, settings: Settings) -> OwnChannels:
    """Return our channels, by the setting or by the data, with their videos and their income.

    Raises:
        redis.RedisError: the data cannot be read.
    """
    named = frozenset(map(folded, settings.own_channels))

    @cache
    def is_named(channel: str) -> bool:
        return not named or folded(channel) in named

    studio = [
        video
        for day in videos.newest_days(client)
        for video in videos.load_videos(client, day, VideoSource.STUDIO)
        if is_named(video.channel)
    ]
    found = {video.channel for video in studio}
    # Two plain numbers a channel, for there may be a hundred thousand on each day.
    totals: dict[str, list[float]] = {}
    earned: set[date] = set()
    for day in channels.newest_days(client, LOOKED_THROUGH):
        for name, revenue, views in _owners_rows(client, day):
            if is_named(name):
                found.add(name)
                if views > 0:
                    total = totals.setdefault(name, [0.0, 0.0])
                    total[0] += revenue
                    total[1] += views
                    earned.add(day)
    return OwnChannels(
        names=settings.own_channels or frozenset(found),
        basis=BY_SETTING if named else BY_DATA,
        # In one order, for sums of floats depend on it.
        income={name: Income(*totals[name]) for name in sorted(totals)},
        earned=(min(earned), max(earned)) if earned else None,
        videos=studio,
    )


def _owners_rows(client: redis.Redis, day: date) -> Iterator[tuple[str, float, float]]:
    """Yield the channels of a day of which something is known that only owners see.

    Each with its revenue in USD and its views; both are 0 where they are not known.
    """
    ids, values = channels.load_day(client, day)
    is_owners = ~np.isnan(values[:, _OWNER_COLUMNS]).all(axis=1)
    views, rpm, revenue = (values[:, METRIC_NAMES.index(name)] for name in EARNINGS)
    revenue = np.where(np.isnan(revenue), rpm * views / 1000, revenue)
    is_known = ~np.isnan(views + revenue)
    earnings = np.where(is_known, [revenue, views], 0.0)[:, is_owners].tolist()
    names = (ids[row].decode() for row in np.flatnonzero(is_owners).tolist())
    return zip(names, *earnings, strict=True)
