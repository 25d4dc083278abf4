"""One day as analytics sees it: its channels, their metrics, and the category of each.

A channel's category on a day is that of its videos of the day. Where they differ it is the one
under which most of the channel's views lie, and of equal ones the lower number. Files that name no
videos (Nova CSV and JSON) tell no category, and neither does a Studio export: those channel days
are in no category's aggregates, and are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import redis
from numpy.typing import NDArray

from nova.analytics.totals import of_one_day, summed
from nova.arrays import Floats
from nova.channels import load_day
from nova.videos import VideoSource, load_fields

#: In place of a category's number.
UNKNOWN = -1
#: YouTube's names of the categories that a video can be given, in the United States.
CATEGORY_NAMES = {
    1: "Film & Animation",
    2: "Autos & Vehicles",
    10: "Music",
    15: "Pets & Animals",
    17: "Sports",
    19: "Travel & Events",
    20: "Gaming",
    22: "People & Blogs",
    23: "Comedy",
    24: "Entertainment",
    25: "News & Politics",
    26: "Howto & Style",
    27: "Education",
    28: "Science & Technology",
    29: "Nonprofits & Activism",
    43: "Shows",
}


def category_name(number: int) -> str:
    """Return a category's name, or its number where YouTube has given it no name."""
    return CATEGORY_NAMES.get(number, f"category {number}")


@dataclass(frozen=True)
class Day:
    """The channels of one day."""

    day: date
    #: Sorted, in UTF-8.
    channels: list[bytes]
    #: Shape (channels, metrics), NaN where not known.
    metrics: Floats
    #: Channel -> number of its category, of those that have one.
    categories: dict[bytes, int]
    #: Channels that have videos of a trending list, whose numbers are running totals.
    trending: set[bytes]

    @cached_property
    def aggregates(self) -> Floats:
        """Aggregates of this one day, shape (channels, metrics, 4)."""
        return of_one_day(self.metrics)

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """Number of each channel's category, UNKNOWN without one."""
        numbers = [self.categories.get(channel, UNKNOWN) for channel in self.channels]
        return np.array(numbers, np.int64)

    @property
    def without_category(self) -> int:
        """Count the channels whose category is not known."""
        return int(np.count_nonzero(self._numbers == UNKNOWN))

    def by_category(self) -> Iterator[tuple[bytes, Floats]]:
        """Yield each category's number with the aggregate of its channels, by number."""
        for number in np.unique(self._numbers).tolist():
            if number != UNKNOWN:
                yield str(number).encode(), summed(self.aggregates[self._numbers == number])


def load(client: redis.Redis, day: date) -> Day:
    """Load a day; without any metrics it has no channels."""
    ids, metrics = load_day(client, day)
    # In one order whatever Redis gives, or sums of fractions would differ in the last bit.
    order = sorted(range(len(ids)), key=ids.__getitem__)
    categories, trending = _of_videos(client, day)
    return Day(day, [ids[row] for row in order], metrics[order], categories, trending)


def _of_videos(client: redis.Redis, day: date) -> tuple[dict[bytes, int], set[bytes]]:
    """Return each channel's category, and the channels with videos of a trending list."""
    views_of: dict[tuple[str, int], int] = {}
    trending = set()
    names = ("channel", "category", "views")
    for source, (channel, category, views) in load_fields(client, day, names):
        if source is VideoSource.TRENDING:
            trending.add(channel)
        if category is not None:
            pair = (channel, category)
            views_of[pair] = views_of.get(pair, 0) + (views or 0)
    heaviest: dict[str, tuple[int, int]] = {}
    for (channel, category), views in views_of.items():
        weight = (views, -category)
        if channel not in heaviest or weight > heaviest[channel]:
            heaviest[channel] = weight
    categories = {channel.encode(): -weight[1] for channel, weight in heaviest.items()}
    return categories, {channel.encode() for channel in trending}
