"""Trending lists, exports and channel metrics in a real Redis, and feeds on a small web server."""

from tests.integration.api.conftest import api, shared_api
from tests.integration.fetching.conftest import web
from tests.integration.trends.conftest import store_metrics, store_videos

__all__ = ["api", "shared_api", "store_metrics", "store_videos", "web"]
