"""Trending lists and our channels in a real Redis, and feeds on a small web server."""

from collections.abc import Callable
from datetime import date

import pytest
import redis

from nova.channels import day_score, pack
from nova.store import Keys
from nova.videos import Video, field
from nova.videos import pack as pack_video
from tests.integration.fetching.conftest import web

__all__ = ["web"]

StoreVideos = Callable[..., None]
StoreMetrics = Callable[..., None]


@pytest.fixture
def store_videos(client: redis.Redis) -> StoreVideos:
    """Put videos under a day where ingest puts them."""

    def store(day: date, *videos: Video) -> None:
        for video in videos:
            client.hset(Keys.video_day(day), field(video.source, video.id), pack_video(video))
        client.zadd(Keys.VIDEO_DAYS, {day.isoformat(): day_score(day)})

    return store


@pytest.fixture
def store_metrics(client: redis.Redis) -> StoreMetrics:
    """Put metrics of a channel under a day where ingest puts them."""

    def store(day: date, channel: str, **metrics: float) -> None:
        client.hset(Keys.metric_day(day), channel, pack(metrics))
        client.zadd(Keys.METRIC_DAYS, {day.isoformat(): day_score(day)})

    return store
