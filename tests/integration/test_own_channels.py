"""Which channels are ours: by the data, or by the setting."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest
import redis

from nova.own_channels import BY_DATA, BY_SETTING, LOOKED_THROUGH, Income, find_own_channels
from nova.settings import Settings
from nova.videos import Video, VideoSource
from tests.integration.trends.conftest import StoreMetrics, StoreVideos, store_metrics, store_videos

__all__ = ["store_metrics", "store_videos"]

DAY = date(2026, 3, 1)


def test_without_data_there_are_none(client: redis.Redis, settings: Settings) -> None:
    own = find_own_channels(client, settings)
    assert (own.names, own.income, own.earned, own.videos) == (frozenset(), {}, None, [])


def test_ours_are_those_with_a_studio_export_or_with_what_only_owners_see(
    client: redis.Redis,
    settings: Settings,
    store_metrics: StoreMetrics,
    store_videos: StoreVideos,
) -> None:
    """Views, likes and comments are public: a trending list has them of everybody."""
    store_metrics(DAY, "Public", views=1e6, likes=10, comments=3)
    store_metrics(DAY, "Watched", watch_hours=0)
    exported = Video("v1", VideoSource.STUDIO, "Ours", "Exported")
    store_videos(DAY, exported, Video("v2", VideoSource.TRENDING, "Theirs", "Listed"))
    own = find_own_channels(client, settings)
    assert own.names == {"Watched", "Exported"}
    assert own.basis == BY_DATA
    assert own.videos == [exported]
    assert own.income == {}, "nothing is known of what they earn"


def test_the_setting_has_the_last_word_and_names_are_compared_as_people_do(
    client: redis.Redis,
    make_settings: Callable[..., Settings],
    store_metrics: StoreMetrics,
    store_videos: StoreVideos,
) -> None:
    store_metrics(DAY, "Ann & Co, Ltd", revenue=5.0, views=1000)
    store_metrics(DAY, "Sold", revenue=7.0, views=1000)
    store_videos(DAY, Video("v1", VideoSource.STUDIO, "Old", "Sold"))
    settings = make_settings(NOVA_OWN_CHANNELS='bob , "ANN & Co, Ltd"')
    own = find_own_channels(client, settings)
    assert own.names == {"bob", "ANN & Co, Ltd"}
    assert own.basis == BY_SETTING
    assert own.income == {"Ann & Co, Ltd": Income(5.0, 1000.0)}
    assert own.videos == []
    assert " Bob" in own
    assert "Sold" not in own


def test_income_is_summed_over_the_days_with_revenue_or_rpm_and_views(
    client: redis.Redis, settings: Settings, store_metrics: StoreMetrics
) -> None:
    """Revenue counts; where it is missing, rpm x views; a day without views counts in neither."""
    store_metrics(DAY, "Us", views=1000, revenue=3.0, rpm=99.0)
    store_metrics(DAY + timedelta(days=1), "Us", views=2000, rpm=1.5)
    store_metrics(DAY + timedelta(days=2), "Us", revenue=100.0)
    own = find_own_channels(client, settings)
    assert own.income == {"Us": Income(6.0, 3000.0)}
    assert own.income["Us"].rpm == pytest.approx(2.0)
    assert own.earned == (DAY, DAY + timedelta(days=1))


def test_metrics_older_than_the_newest_days_do_not_count(
    client: redis.Redis, settings: Settings, store_metrics: StoreMetrics
) -> None:
    store_metrics(DAY - timedelta(days=1), "Old", views=1000, revenue=3.0)
    for ago in range(LOOKED_THROUGH):
        store_metrics(DAY + timedelta(days=ago), "Public", views=1)
    assert find_own_channels(client, settings).names == set()
