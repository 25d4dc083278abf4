"""Reads all sources, each on its own: one that fails costs nothing but a line."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

import redis

from nova import videos
from nova.errors import InputError, SourceError
from nova.feeds import Item, Items, read_feed, read_json
from nova.fetching import Fetched, Fetcher
from nova.settings import Settings
from nova.sources import Source
from nova.videos import VideoSource


@dataclass(frozen=True)
class Reading:
    """What came of one source: either items, or an error.

    Attributes:
        source: which.
        items: its entries; None if there is an error.
        error: one line that says why there are none; None if there are.
        fetched_at: when the entries left their server, UTC; of a trending list its day.
        from_cache: the server said that they are the same as last time.
        latency_seconds: how long its server took; 0 for what was ingested.
    """

    source: Source
    items: Items | None = None
    error: str | None = None
    fetched_at: datetime | None = None
    from_cache: bool = False
    latency_seconds: float = 0.0


def read_sources(
    client: redis.Redis,
    settings: Settings,
    sources: Sequence[Source],
    fetcher: Fetcher | None = None,
) -> list[Reading]:
    """Read every source once, in the given order; hosts are asked at the same time.

    Args:
        client: Redis, for the HTTP cache and the ingested lists.
        settings: limits of fetching.
        sources: what to read.
        fetcher: fetches exactly these sources' targets, in place of one made here.

    Raises:
        redis.RedisError: the ingested lists cannot be read.
    """
    targets = [source.target for source in sources if source.target]
    pages = iter((fetcher or Fetcher(client, settings, targets)).fetch_all())
    return [
        _page_reading(source, next(pages)) if source.target else _list_reading(client, source)
        for source in sources
    ]


def _page_reading(source: Source, outcome: Fetched | SourceError) -> Reading:
    try:
        if isinstance(outcome, SourceError):
            raise outcome
        items = _read_page(source, outcome)
    except SourceError as error:
        return Reading(source, error=str(error))
    return Reading(
        source,
        items,
        fetched_at=outcome.fetched_at,
        from_cache=outcome.from_cache,
        latency_seconds=outcome.latency_seconds,
    )


def _read_page(source: Source, page: Fetched) -> Items:
    try:
        if source.fields is None:
            return read_feed(page.body, page.content_type)
        return read_json(page.body, source.fields.items, source.fields.paths())
    except InputError as error:
        raise SourceError(page.url, f"its answer {error}") from None


def _list_reading(client: redis.Redis, source: Source) -> Reading:
    day = videos.newest_day(client, VideoSource.TRENDING)
    if day is None:
        return Reading(source, error="no trending list was ingested; load one with nova ingest")
    found = videos.load_videos(client, day, VideoSource.TRENDING)
    items = [
        Item(video.title, video.channel, video.published_at, video.views)
        for video in found
        if video.title
    ]
    listed_at = datetime.combine(day, time(), UTC)
    return Reading(source, Items(items, len(found) - len(items)), fetched_at=listed_at)
