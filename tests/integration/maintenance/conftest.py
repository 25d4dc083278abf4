"""Keys that nobody has used for long."""

from collections.abc import Callable
from datetime import date

import pytest
import redis

from nova.channels import day_score
from nova.maintenance.models import Amount, MaintenanceReport
from nova.store import Keys

LetIdle = Callable[..., None]
StorePage = Callable[..., None]
StoreDay = Callable[[date], None]


@pytest.fixture
def let_idle(client: redis.Redis) -> LetIdle:
    """Let keys look as if nobody had used them for some hours; how long they live stays."""

    def let_idle(*keys: str, hours: int = 48) -> None:
        for key in keys:
            lives_ms = max(client.pttl(key), 0)
            value = client.dump(key)
            assert value is not None, key
            client.restore(key, lives_ms, value, replace=True, idletime=hours * 3600)

    return let_idle


@pytest.fixture
def store_page(client: redis.Redis) -> StorePage:
    """Store a fetched page as the cache does, used some hours ago."""

    def store_page(name: str, hours_ago: float, size: int = 1000) -> None:
        seconds, _ = client.time()
        client.hset(Keys.cached_page(name), mapping={"url": name, "body": bytes(size)})
        client.expire(Keys.cached_page(name), 3600)
        client.zadd(Keys.HTTP_CACHE, {name: seconds - hours_ago * 3600})

    return store_page


@pytest.fixture
def store_day(client: redis.Redis) -> StoreDay:
    """Store a day of channels and of videos, as ingest does."""

    def store_day(day: date) -> None:
        client.hset(Keys.metric_day(day), "channel", bytes(80))
        client.hset(Keys.video_day(day), "trending:video", "[]")
        for index in (Keys.METRIC_DAYS, Keys.VIDEO_DAYS):
            client.zadd(index, {day.isoformat(): day_score(day)})

    return store_day


def removed(report: MaintenanceReport) -> dict[str, int]:
    """How many of each kind went, or would."""
    return {use.kind: use.removed.count for use in report.kinds if use.removed != NOTHING}


NOTHING = Amount(count=0, bytes=0)
