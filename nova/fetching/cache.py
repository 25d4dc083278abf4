"""The HTTP cache: pages with what a server needs to say that they have not changed.

One hash per page expires by itself; `nova:cache:http` orders the pages by their last use, so that
maintenance can free the oldest first. A Redis that does not answer, or is full, costs a line in
the log and never a fetch.
"""

import hashlib
import logging
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, cast

import redis
from redis.exceptions import RedisError

from nova.fetching.hosts import Target, shown_url
from nova.runtime.scripts import load
from nova.store import Keys

logger = logging.getLogger(__name__)

#: Seconds that a page is kept after its last use: a week's task still finds it.
EXPIRES_SECONDS = 14 * 24 * 60 * 60

T = TypeVar("T")


@dataclass(frozen=True)
class CachedPage:
    """An answer that may be used again when the server says so."""

    body: bytes
    content_type: str
    etag: str
    last_modified: str
    fetched_at: datetime

    @property
    def validators(self) -> dict[str, str]:
        """Headers that ask for the page only if it has changed."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        # Servers may send what no request can hold; such a page is fetched anew each time.
        return {name: value for name, value in headers.items() if _fits_a_header(value)}


def page_id(target: Target) -> str:
    """Return what a page is kept under: the same URL with other credentials is another page."""
    parts = [target.url, *(f"{name}={target.credentials[name]}" for name in target.credentials)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class PageCache:
    """The pages in Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def read(self, target: Target) -> CachedPage | None:
        """Return the page of a target; None if there is none, or Redis does not say."""
        key = Keys.cached_page(page_id(target))
        fields = self._tolerantly("read", lambda: self._client.hgetall(key))
        try:
            return _parse(cast(dict[bytes, bytes], fields)) if fields else None
        except (KeyError, ValueError, zlib.error):
            logger.warning("HTTP cache: %s cannot be read and is fetched anew", key)
            return None

    def write(self, target: Target, page: CachedPage) -> None:
        """Keep a page in place of what was there."""
        fields: dict[str, str | bytes] = {
            "url": shown_url(target.url),
            "etag": page.etag,
            "last_modified": page.last_modified,
            "content_type": page.content_type,
            "fetched_at": page.fetched_at.isoformat(),
            "body": zlib.compress(page.body),
        }
        self._tolerantly("written", lambda: self._store(page_id(target), fields))

    def touch(self, target: Target) -> None:
        """Note that a page was used."""
        self._tolerantly("written", lambda: self._store(page_id(target), {}))

    def oldest(self, offset: int, count: int) -> dict[str, int]:
        """Return ids of pages, those that were not used for longest first, and their bytes.

        At most `count` after the first `offset`; a page that has expired has 0 bytes.
        """
        members = self._client.zrange(Keys.HTTP_CACHE, offset, offset + count - 1)
        ids = [member.decode() for member in cast(list[bytes], members)]
        pipeline = self._client.pipeline(transaction=False)
        for page in ids:
            pipeline.memory_usage(Keys.cached_page(page))
        return {page: size or 0 for page, size in zip(ids, pipeline.execute(), strict=True)}

    def free(self, ids: Iterable[str]) -> None:
        """Remove pages.

        Redis frees their bodies beside the thread that answers its clients.
        """
        ids = list(ids)
        if ids:
            # No transaction: a full Redis refuses it, and is what pages are removed for. A page
            # that is written in between goes, and its place in the index later.
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zrem(Keys.HTTP_CACHE, *ids)
            pipeline.unlink(*(Keys.cached_page(page) for page in ids))
            pipeline.execute()

    def drop_expired(self, limit: int = 500) -> int:
        """Remove at most `limit` expired pages from the index, and return how many.

        One short step in Redis; call it until it removes nothing.
        """
        last = self._now() - EXPIRES_SECONDS
        dropped: int = load(self._client, "trim")(keys=[Keys.HTTP_CACHE], args=[last, limit])
        return dropped

    def _store(self, page: str, fields: dict[str, str | bytes]) -> None:
        key, now = Keys.cached_page(page), self._now()
        pipeline = self._client.pipeline()
        if fields:
            pipeline.delete(key)
        for name, value in {**fields, "last_used": str(now)}.items():
            pipeline.hset(key, name, value)
        pipeline.expire(key, EXPIRES_SECONDS)
        pipeline.zadd(Keys.HTTP_CACHE, {page: now})
        pipeline.execute()

    def _now(self) -> float:
        seconds, microseconds = self._client.time()
        return seconds + microseconds / 1e6

    def _tolerantly(self, what: str, command: Callable[[], T]) -> T | None:
        try:
            return command()
        except RedisError as error:
            logger.warning("HTTP cache was not %s, going on without it: %s", what, error)
            return None


def _fits_a_header(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable()


def _parse(fields: dict[bytes, bytes]) -> CachedPage:
    return CachedPage(
        body=zlib.decompress(fields[b"body"]),
        content_type=fields[b"content_type"].decode(),
        etag=fields[b"etag"].decode(),
        last_modified=fields[b"last_modified"].decode(),
        fetched_at=datetime.fromisoformat(fields[b"fetched_at"].decode()).astimezone(UTC),
    )
