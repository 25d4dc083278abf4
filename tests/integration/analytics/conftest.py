"""Channel metrics and videos in a real Redis, stored as ingest does."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta

import pytest
import redis

from nova.channels import pack
from nova.ingest.commit import channel_hash, store_day, video_hash
from nova.store import Keys
from nova.videos import Video, VideoSource, field
from nova.videos import pack as pack_video

#: A Sunday: the 1st was one too, so the month's first week began in February.
LAST_DAY = date(2026, 3, 29)

Values = Mapping[str, float]
#: Stores channels of a day so many days before the last: name -> metrics, or views alone; and the
#: videos of the day.
StoreDay = Callable[..., None]
Stored = Callable[[], dict[bytes, object]]


@pytest.fixture
def store(client: redis.Redis) -> StoreDay:
    """Store one day as ingest does: what is given replaces, the rest of the day stays."""

    def store_(
        days_ago: int, channels: Mapping[str, Values | float], videos: tuple[Video, ...] = ()
    ) -> None:
        day = LAST_DAY - timedelta(days=days_ago)
        metrics = {
            name: pack(values if isinstance(values, Mapping) else {"views": values})
            for name, values in channels.items()
        }
        hashes = [channel_hash(day, "test", lambda: [metrics])]
        if videos:
            packed = {field(video.source, video.id): pack_video(video) for video in videos}
            hashes.append(video_hash(day, "test", lambda: [packed]))
        store_day(client, day, hashes)

    return store_


def video(video_id: str, channel: str, category: int | None, views: int | None = 1) -> Video:
    """A video of a trending list."""
    return Video(video_id, VideoSource.TRENDING, "title", channel, category=category, views=views)


@pytest.fixture
def stored(client: redis.Redis) -> Stored:
    """Read all that analytics keeps, but for its reports: key -> what is in it."""

    def read() -> dict[bytes, object]:
        content: dict[bytes, object] = {}
        for key in client.scan_iter("nova:analytics:*"):
            if key.startswith(b"nova:analytics:report"):
                continue
            kind = client.type(key)
            if kind == b"zset":
                content[key] = client.zrange(key, 0, -1, withscores=True)
            elif kind == b"hash":
                content[key] = client.hgetall(key)
            else:
                content[key] = client.get(key)
        return content

    return read


def keys_of_staging(client: redis.Redis) -> list[bytes]:
    """Return what runs left where they put large keys together."""
    return list(client.scan_iter(f"{Keys.staging('analytics')}*"))
