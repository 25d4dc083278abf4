"""What is known of channels: in Studio exports, in feeds, on trending lists, in channel metrics.

Each source has a window of its own, which ends on its newest day up to the analysed one: a list
that was ingested for last week counts in full, beside a feed that was read today.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import redis

from nova import channels, videos
from nova.analysis.models import Origin
from nova.channels import METRIC_NAMES
from nova.feeds import Item
from nova.topics import folded
from nova.videos import Video, VideoSource

DAY = timedelta(days=1)
_METRICS = [METRIC_NAMES.index(name) for name in ("views", "likes", "comments")]


@dataclass(frozen=True, slots=True)
class Piece:
    """A video; of channel metrics a day. None is what is not known."""

    title: str = ""
    #: When it was published, else its first day on the list.
    day: date | None = None
    #: The newest numbers.
    views: int | None = None
    likes: int | None = None
    comments: int | None = None
    #: Views when it was seen first.
    first_views: int | None = None
    #: Whether `day` is the first day on the list.
    by_list: bool = False


@dataclass(frozen=True)
class Window:
    """The days of one source that count."""

    origin: Origin
    first: date
    last: date
    #: Days with data, oldest first.
    days: Sequence[date]
    #: Rows of those days, of all channels.
    rows: int


@dataclass(frozen=True)
class Material:
    """What one source knows of one channel."""

    window: Window
    #: First day of which it is known what was published.
    since: date
    pieces: Sequence[Piece]

    @property
    def dated(self) -> list[Piece]:
        """The pieces that were published since then, and when is known."""
        return [piece for piece in self.pieces if piece.day and self.since <= piece.day]

    @property
    def days(self) -> int:
        """Days of which it is known what was published."""
        return max((self.window.last - self.since).days + 1, 0)

    def halves(self) -> tuple[list[float], list[float]]:
        """Return the first views of what was published in the first and second half of them."""
        found: tuple[list[float], list[float]] = ([], [])
        for piece in self.dated:
            if piece.day and piece.first_views is not None:
                is_second = 2 * (piece.day - self.since).days >= self.days
                found[is_second].append(piece.first_views)
        return found


@dataclass(frozen=True)
class Source:
    """What one source knows of all channels."""

    window: Window
    materials: Mapping[str, Material]
    #: All channels of which it has data in its window.
    names: frozenset[str]
    #: Of trending lists: the days on which a channel was listed.
    listed: Mapping[str, frozenset[date]] = field(default_factory=dict)


def read_lists(client: redis.Redis, day: date, length: int) -> Source | None:
    """Return what the trending lists know; None without a list up to a day."""
    last = videos.newest_day(client, VideoSource.TRENDING, up_to=day)
    if last is None:
        return None
    before = last - length * DAY
    days = [before, *videos.days_in_window(client, last, length)]
    lists = {one: videos.load_videos(client, one, VideoSource.TRENDING) for one in days}
    lists = {one: found for one, found in lists.items() if found}
    oldest = min(lists)
    # Since when they were on the list is not known.
    on_oldest = {video.id for video in lists[oldest]}
    lists.pop(before, None)
    rows: dict[tuple[str, str], list[tuple[date, Video]]] = defaultdict(list)
    listed: dict[str, set[date]] = defaultdict(set)
    for one, found in lists.items():
        for video in found:
            rows[video.channel, video.id].append((one, video))
            listed[video.channel].add(one)
    window = Window(Origin.LISTS, before + DAY, last, list(lists), sum(map(len, lists.values())))
    pieces: dict[str, list[Piece]] = defaultdict(list)
    for (channel, video_id), seen in rows.items():
        pieces[channel].append(_listed_piece(seen, is_new=video_id not in on_oldest))
    return Source(
        window,
        {name: Material(window, oldest + DAY, found) for name, found in pieces.items()},
        frozenset(pieces),
        {name: frozenset(found) for name, found in listed.items()},
    )


def _listed_piece(seen: Sequence[tuple[date, Video]], *, is_new: bool) -> Piece:
    """Return a video of the lists: its first day, and its numbers on the last one."""
    (first_day, first), (_, newest) = seen[0], seen[-1]
    published = newest.published_at.date() if newest.published_at else None
    return Piece(
        title=newest.title,
        day=published or (first_day if is_new else None),
        views=newest.views,
        likes=newest.likes,
        comments=newest.comments,
        first_views=first.views,
        by_list=published is None and is_new,
    )


def read_exports(client: redis.Redis, day: date, length: int) -> Source | None:
    """Return what Studio exports know; None without a video that was published up to a day."""
    last = videos.newest_day(client, VideoSource.STUDIO, up_to=day)
    if last is None:
        return None
    pieces: dict[str, list[Piece]] = defaultdict(list)
    days = []
    for one in videos.days_in_window(client, last, length):
        found = videos.load_videos(client, one, VideoSource.STUDIO)
        days += [one] if found else []
        for video in found:
            counts = (video.views, video.likes, video.comments, video.views)
            pieces[video.channel].append(Piece(video.title, one, *counts))
    first = last - (length - 1) * DAY
    window = Window(Origin.STUDIO, first, last, days, sum(map(len, pieces.values())))
    materials = {name: Material(window, first, found) for name, found in pieces.items()}
    return Source(window, materials, frozenset(pieces))


def read_metrics(
    client: redis.Redis, day: date, length: int, wanted: Iterable[str]
) -> Source | None:
    """Return what channel metrics know of the wanted names, whatever their case.

    None without metrics up to a day. The days of exports and lists have metrics as well: they are
    for channels of which no video is known.
    """
    last = max((one for one in channels.newest_days(client) if one <= day), default=None)
    if last is None:
        return None
    looked_for = set(map(folded, wanted))
    wanted_ids: dict[bytes, str | None] = {}
    pieces: dict[str, list[Piece]] = defaultdict(list)
    days = channels.days_in_window(client, last, length)
    rows = 0
    for one in days:
        ids, values = channels.load_day(client, one)
        rows += len(ids)
        for number, channel_id in enumerate(ids):
            if channel_id not in wanted_ids:
                name = channel_id.decode()
                wanted_ids[channel_id] = name if folded(name) in looked_for else None
            if known := wanted_ids[channel_id]:
                views, likes, comments = map(_count, values[number, _METRICS].tolist())
                pieces[known].append(Piece("", one, views, likes, comments, views))
    first = last - (length - 1) * DAY
    window = Window(Origin.METRICS, first, last, days, rows)
    names = frozenset(channel_id.decode() for channel_id in wanted_ids)
    return Source(window, {n: Material(window, first, p) for n, p in pieces.items()}, names)


def _count(value: float) -> int | None:
    return None if np.isnan(value) else int(value)


def feed_material(items: Sequence[Item], day: date, length: int) -> Material:
    """Return what a feed knows, which was read on a day: its entries of the window.

    A feed shows its newest entries only; what was published before the oldest of them is not known.
    An entry that does not tell when it was published counts, but not for cadence and growth.
    """
    first = day - (length - 1) * DAY
    dated = [item.published.date() for item in items if item.published]
    since = max(first, min(dated, default=day + DAY))
    pieces = [
        Piece(item.title, published, item.views, first_views=item.views)
        for item in items
        for published in [item.published.date() if item.published else None]
        if published is None or first <= published <= day
    ]
    days = sorted({piece.day for piece in pieces if piece.day})
    return Material(Window(Origin.FEED, first, day, days, len(pieces)), since, pieces)


def feed_channel(items: Iterable[Item]) -> str | None:
    """Return the channel that most entries of a feed name, of several the first by name."""
    names = Counter(item.channel for item in items if item.channel)
    return min(names, key=lambda name: (-names[name], name), default=None)
