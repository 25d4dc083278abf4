"""Videos: which stood in the files, and how one day of them lies in Redis.

One hash per day, `Keys.video_day(day)`: field = source and video id (`trending:2kyS6SvSYSE`), value
= a JSON array, in the order of FIELDS. `Keys.VIDEO_DAYS` is a sorted set of the days that exist:
member YYYY-MM-DD, score yyyymmdd. Ingest writes a day of them in one step with that day's channel
metrics (`nova.channels`); nothing else writes here.

What "a day" is depends on the source, and so do the numbers:

- `trending`: the day on which the video was on the list. A video that stays on the list lies under
  each of those days, with what it had gathered by then.
- `studio`: the day on which the video was published, with its numbers since then.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from operator import itemgetter
from typing import Any, cast

import orjson
import redis

from nova import channels
from nova.channels import day_score
from nova.store import Keys


class VideoSource(StrEnum):
    """Kinds of files that name videos."""

    TRENDING = "trending"
    STUDIO = "studio"


@dataclass(frozen=True, slots=True)
class Video:
    """One video as a source showed it on one day. None means not known, never 0."""

    #: YouTube's id.
    id: str
    source: VideoSource
    #: UTF-8 on one line, "" when the file has none; see `nova.ingest.values.title`.
    title: str
    #: The channel's name, the very one that its metrics lie under.
    channel: str
    #: UTC. From a Studio export 00:00 of the day, for it tells no time.
    published_at: datetime | None = None
    #: YouTube's number of a category; 10 is music.
    category: int | None = None
    views: int | None = None
    likes: int | None = None
    dislikes: int | None = None
    comments: int | None = None
    #: USD, estimated; below 0 when more was taken back.
    revenue: float | None = None


#: What a stored record holds, by position: new fields are only ever appended. `published_at` is
#: stored as seconds since 1970.
FIELDS = (
    "title",
    "channel",
    "published_at",
    "category",
    "views",
    "likes",
    "dislikes",
    "comments",
    "revenue",
)
_COUNTS = slice(FIELDS.index("views"), FIELDS.index("revenue"))


def field(source: VideoSource, video_id: str) -> str:
    """Return the field of a video in its day's hash."""
    return f"{source}:{video_id}"


def pack_row(row: Sequence[Any]) -> bytes:
    """Return the record of a video from all of FIELDS in order; counts may come as floats."""
    counts = [None if count is None else int(count) for count in row[_COUNTS]]
    return orjson.dumps([*row[: _COUNTS.start], *counts, *row[_COUNTS.stop :]])


def pack(video: Video) -> bytes:
    """Return the record of a video, without its id and source: those are the hash's field."""
    values = [getattr(video, name) for name in FIELDS]
    if video.published_at is not None:
        values[FIELDS.index("published_at")] = int(video.published_at.timestamp())
    return pack_row(values)


def unpack(name: bytes, record: bytes) -> Video:
    """Return the video of a field and its record.

    A record of an older release is shorter, and lacks what came later; one of a newer release is
    longer and cut.
    """
    source, _, video_id = name.decode().partition(":")
    values = dict(zip(FIELDS, orjson.loads(record), strict=False))
    if values["published_at"] is not None:
        values["published_at"] = datetime.fromtimestamp(values["published_at"], UTC)
    return Video(id=video_id, source=VideoSource(source), **values)


def newest_day(
    client: redis.Redis, source: VideoSource | None = None, up_to: date = date.max
) -> date | None:
    """Return the newest day that has videos, of a source or of any; None when there is none.

    Days after `up_to` do not count.
    """
    # Which sources a day has only its hash knows. The first field that fits ends the looking.
    for day in reversed(newest_days(client)):
        if day > up_to:
            continue
        if source is None:
            return day
        fields = client.hscan_iter(Keys.video_day(day), match=field(source, "*"), count=1000)
        if next(fields, None) is not None:
            return day
    return None


def newest_days(client: redis.Redis, most: int | None = None) -> list[date]:
    """Return the newest `most` days that have videos, or all, oldest first."""
    return channels.newest_days(client, most, index=Keys.VIDEO_DAYS)


def days_in_window(client: redis.Redis, end: date, length: int) -> list[date]:
    """Return the days that have videos among the `length` days up to and including `end`."""
    return channels.days_in_window(client, end, length, index=Keys.VIDEO_DAYS)


def load_videos(client: redis.Redis, day: date, source: VideoSource | None = None) -> list[Video]:
    """Return the videos of a day, of one source or of all, in the order of source and id."""
    records = cast(dict[bytes, bytes], client.hgetall(Keys.video_day(day)))
    prefix = f"{source}:".encode() if source else b""
    return [unpack(name, records[name]) for name in sorted(records) if name.startswith(prefix)]


def load_fields(
    client: redis.Redis, day: date, names: Sequence[str]
) -> Iterator[tuple[VideoSource, tuple[Any, ...]]]:
    """Yield the source and at least two of FIELDS of each video of a day, in no order.

    Some ten times faster than `load_videos`, for whoever counts all videos of a day.
    """
    pick = itemgetter(*map(FIELDS.index, names))
    sources = {source.value.encode(): source for source in VideoSource}
    records = cast(dict[bytes, bytes], client.hgetall(Keys.video_day(day)))
    for name, record in records.items():
        values = orjson.loads(record)
        if len(values) < len(FIELDS):
            values += [None] * (len(FIELDS) - len(values))
        yield sources[name.partition(b":")[0]], pick(values)


def forget_days(client: redis.Redis, days: Iterable[date]) -> None:
    """Remove the videos of whole days. Redis frees their memory beside its other work."""
    for day in days:
        with client.pipeline(transaction=True) as transaction:
            transaction.unlink(Keys.video_day(day))
            transaction.zrem(Keys.VIDEO_DAYS, day.isoformat())
            transaction.execute()


def days_before(client: redis.Redis, first_kept: date) -> list[date]:
    """Return the days that have videos and lie before `first_kept`, oldest first."""
    members = cast(
        list[bytes], client.zrangebyscore(Keys.VIDEO_DAYS, "-inf", f"({day_score(first_kept)}")
    )
    return [date.fromisoformat(member.decode()) for member in members]
