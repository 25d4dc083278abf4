"""Trending lists, exports and channel metrics in a real Redis, and feeds on a small web server."""

from tests.integration.fetching.conftest import web
from tests.integration.trends.conftest import store_metrics, store_videos

__all__ = ["store_metrics", "store_videos", "web"]
