"""Reads the bodies that sources answer with: RSS and Atom feeds, and JSON.

Both become `Item`s. Entries without a title are left out and counted; other fields that are
missing or cannot be read are None.
"""

import calendar
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import feedparser
import orjson

from nova.errors import InputError

#: Characters of a title or a channel that are kept; whoever writes more writes no title.
LONGEST_TEXT = 500
#: Views above this are slips: it is the largest whole number that a float64 holds exactly.
MOST_VIEWS = 2**53


@dataclass(frozen=True)
class Item:
    """One entry of a source. Times are UTC; None is what the source does not say."""

    title: str
    channel: str | None = None
    published: datetime | None = None
    views: int | None = None


@dataclass(frozen=True)
class Items:
    """What one body holds, in its order."""

    items: Sequence[Item]
    #: Entries without a title.
    left_out: int


def read_feed(body: bytes, content_type: str = "") -> Items:
    """Read an RSS or Atom feed of any version that feedparser knows.

    The channel is the entry's author, or else the feed's title. YouTube's feeds tell views.

    Args:
        body: the feed.
        content_type: as its server said; its charset counts where the feed names none.

    Raises:
        InputError: it is no feed.
    """
    headers = {"content-type": content_type} if content_type else {}
    # As a file object: feedparser would take some texts for the name of a file or a URL.
    feed = feedparser.parse(io.BytesIO(body), response_headers=headers, sanitize_html=False)
    if not feed.get("version"):
        raise InputError("is neither an RSS nor an Atom feed")
    # An entry's own `get` would warn of an `updated` that it takes from `published`.
    feed_title = _text(feed.feed.get("title"))
    return _collected(
        Item(
            title=_text(entry.get("title")) or "",
            channel=_text(entry.get("author")) or feed_title,
            published=_moment(entry.get("published_parsed") or dict.get(entry, "updated_parsed")),
            views=_count((entry.get("media_statistics") or {}).get("views")),
        )
        for entry in feed.entries
    )


def read_json(body: bytes, items_path: str, fields: Mapping[str, str]) -> Items:
    """Read a JSON document.

    Args:
        body: the document.
        items_path: dotted path to its list of entries, such as `data.items`; "" is the document
            itself. A number is a place in a list.
        fields: title, channel, published and views, as far as there are such: dotted path within
            an entry. `published` is ISO 8601 (UTC if it names no zone) or seconds since 1970.

    Raises:
        InputError: it is no JSON, or has no list there.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error}") from None
    entries = at_path(document, items_path)
    if not isinstance(entries, list):
        raise InputError(f"has no list at {items_path or 'its top'!r}")
    return _collected(
        Item(
            title=_text(_field(entry, fields, "title")) or "",
            channel=_text(_field(entry, fields, "channel")),
            published=_moment(_field(entry, fields, "published")),
            views=_count(_field(entry, fields, "views")),
        )
        for entry in entries
    )


def at_path(value: Any, path: str) -> Any:
    """Return what stands at a dotted path, None if nothing does."""
    for part in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _field(entry: Any, fields: Mapping[str, str], name: str) -> Any:
    return at_path(entry, fields[name]) if name in fields else None


def _collected(entries: Iterable[Item]) -> Items:
    found = list(entries)
    items = [item for item in found if item.title]
    return Items(items, left_out=len(found) - len(items))


def _text(value: Any) -> str | None:
    """Return a text on one line, None if there is none."""
    if not isinstance(value, str):
        return None
    # What is not UTF-8 would fail wherever it is stored.
    text = value.encode("utf-8", "replace").decode()
    return " ".join(text.split())[:LONGEST_TEXT] or None


def _count(value: Any) -> int | None:
    """Return a whole number of at least 0, None if it is none."""
    try:
        number = int(value) if not isinstance(value, bool) else -1
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= MOST_VIEWS else None


def _moment(value: Any) -> datetime | None:
    """Return a time: of feedparser's nine numbers in UTC, ISO 8601, or seconds since 1970."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        return datetime.fromtimestamp(calendar.timegm(value), UTC) if value else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None
