"""Fetching: polite HTTP requests to the hosts that somebody configured, and to no others.

    fetcher = Fetcher(client, settings, [Target(url="https://example.org/feed.xml")])
    for outcome in fetcher.fetch_all():
        if isinstance(outcome, SourceError):
            report.left_out.append(str(outcome))
        else:
            read(outcome.body)

`Fetcher.fetch` raises the SourceError instead. docs/sources.md says what is promised.
"""

from nova.errors import SourceError
from nova.fetching.cache import PageCache
from nova.fetching.fetcher import Fetched, Fetcher, PassingError
from nova.fetching.hosts import AllowedHosts, Target, shown_url

__all__ = [
    "AllowedHosts",
    "Fetched",
    "Fetcher",
    "PageCache",
    "PassingError",
    "SourceError",
    "Target",
    "shown_url",
]
