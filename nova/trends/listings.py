"""What sources showed on the days of a window: the titles that trends are found in.

A trending list has a past, for each day of it was ingested. A feed has none: it shows what is new.
So every scan keeps what a feed showed in agent memory, by source and day, and later scans find its
past there. What a source showed twice on one day counts once.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import redis
from pydantic import JsonValue, TypeAdapter, ValidationError

from nova import videos
from nova.errors import InputError
from nova.feeds import Item, Items
from nova.fetching import Fetcher
from nova.memory import MAX_VALUE_BYTES, Memory
from nova.reports import Omission
from nova.settings import Settings
from nova.source_reading import Reading, read_sources
from nova.sources import Source, load_sources
from nova.videos import VideoSource

NAMESPACE = "trends"
#: Where no file of sources is named.
INGESTED_LISTS = Source(name="trending", kind="trending")
#: A list that is this much older than the scanned day still counts as now: who ingests the list of
#: a day in the evening has it scanned in the next morning.
FRESH = timedelta(days=1)
#: What agent memory keeps of a source and a day: title, channel and views of each entry.
_ENTRIES = TypeAdapter(list[tuple[str, str | None, int | None]])


@dataclass(frozen=True, slots=True)
class Listed:
    """A title that a source showed on a day."""

    source: str
    day: date
    #: Names the video within its source: YouTube's id; of a feed's entries the channel.
    video: str
    title: str
    channel: str
    views: int | None = None
    category: int | None = None

    @property
    def key(self) -> str:
        """What names it among all titles, the same on each day; another title is another key."""
        return f"{self.source}\n{self.video}\n{self.title}"


@dataclass(frozen=True)
class Listing:
    """What one source showed in the window."""

    source: Source
    lists: Mapping[date, Sequence[Listed]] = field(default_factory=dict)
    #: The day whose titles count as now, None if there is none.
    now: date | None = None
    #: Why there is none, one line; None if there is one.
    error: str | None = None
    left_out: Sequence[Omission] = ()
    #: Values for agent memory, by key.
    remember: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def current(self) -> Sequence[Listed]:
        """The titles of now."""
        return self.lists[self.now] if self.now else ()

    @property
    def past_days(self) -> list[date]:
        """Days before now, oldest first."""
        return [day for day in sorted(self.lists) if self.now is None or day < self.now]

    @property
    def past_titles(self) -> int:
        """Titles of those days, a title once for each of them."""
        return sum(len(self.lists[day]) for day in self.past_days)

    @property
    def not_counted(self) -> str | None:
        """Why it does not count, one line; None if it does."""
        if self.now and not self.past_titles:
            return f"no title before {self.now} to compare with"
        return self.error


@dataclass(frozen=True)
class Window:
    """What all sources showed on some days."""

    #: Oldest first; the last one is scanned.
    days: Sequence[date]
    listings: Sequence[Listing]

    def days_with_titles(self) -> list[date]:
        """Return those of the days on which any source showed a title."""
        found = {day for listing in self.listings for day in listing.lists}
        return [day for day in self.days if day in found]


def sources_of_trends(settings: Settings) -> tuple[Source, ...]:
    """Return the configured sources; the ingested lists where no file is named.

    Raises:
        ConfigurationError: the file cannot be read or is wrong.
    """
    return (INGESTED_LISTS,) if settings.sources is None else load_sources(settings)


def read_window(
    client: redis.Redis,
    settings: Settings,
    sources: Sequence[Source],
    day: date,
    *,
    fetch: bool,
    fetcher: Fetcher | None = None,
) -> Window:
    """Return what the sources showed on the days up to and including one, in their order.

    Args:
        client: Redis.
        settings: the window's length, limits of fetching.
        sources: what to read.
        day: the last day of the window.
        fetch: whether feeds are asked now; else the day is one that has passed, and they count
            with what was remembered of it.
        fetcher: fetches exactly these sources' targets, in place of one made here.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    days = [day - timedelta(days=ago) for ago in reversed(range(settings.trends_window_days))]
    web = [source for source in sources if source.target]
    readings = read_sources(client, settings, web, fetcher) if fetch and web else []
    by_name = {reading.source.name: reading for reading in readings}
    memory = Memory(client)
    listings = [
        _fed(memory, source, days, by_name.get(source.name))
        if source.target
        else _ingested(client, source, days)
        for source in sources
    ]
    return Window(days, listings)


def _ingested(client: redis.Redis, source: Source, window: Sequence[date]) -> Listing:
    """Return the trending lists that were ingested."""
    untitled = 0
    lists: dict[date, Sequence[Listed]] = {}
    for day in videos.days_in_window(client, window[-1], len(window)):
        found = videos.load_videos(client, day, VideoSource.TRENDING)
        titled = [video for video in found if video.title]
        untitled += len(found) - len(titled)
        if titled:
            lists[day] = [
                Listed(source.name, day, v.id, v.title, v.channel, v.views, v.category)
                for v in titled
            ]
    now = max(lists, default=date.min)
    if now < window[-1] - FRESH:
        newest = videos.newest_day(client, VideoSource.TRENDING)
        error = f"no list of {window[-1]} or the day before; the newest is of {newest}"
        return Listing(source, lists, error=error if newest else "no trending list was ingested")
    return Listing(source, lists, now, left_out=_untitled(source, untitled))


def _fed(
    memory: Memory, source: Source, window: Sequence[date], reading: Reading | None
) -> Listing:
    """Return what a feed showed: now by its reading, if it was asked, before by agent memory."""
    try:
        lists = _remembered(memory, source, window)
    except InputError as error:
        return Listing(source, error=str(error))
    today = window[-1]
    if reading is None:
        unknown = None if today in lists else f"nothing is remembered of {today}"
        return Listing(source, lists, None if unknown else today, unknown)
    if reading.items is None:
        return Listing(source, lists, error=reading.error)
    return _read(source, lists, today, reading.items)


def _read(source: Source, past: Mapping[date, list[Listed]], today: date, items: Items) -> Listing:
    """Return what a feed shows now, and what is to be remembered of it."""
    kept = list(_that_fit(items.items))
    left_out = _untitled(source, items.left_out)
    if too_many := len(items.items) - len(kept):
        reason = f"beyond the first {MAX_VALUE_BYTES // 1024} KiB of titles, which are remembered"
        what = f"entries of {source.name}"
        left_out.append(Omission(what=what, reason=reason, count=too_many))
    if not kept:
        return Listing(source, past, error="it shows no title", left_out=left_out)
    lists = {**past, today: _recall(source, today, kept)}
    remember = {_memory_key(source, today): kept}
    return Listing(source, lists, today, left_out=left_out, remember=remember)


def _remembered(memory: Memory, source: Source, window: Sequence[date]) -> dict[date, list[Listed]]:
    """Return what agent memory has of a feed, by day."""
    keys = {_memory_key(source, day): day for day in window}
    stored = memory.get_many(NAMESPACE, keys)
    return {keys[key]: _recall(source, keys[key], entries) for key, entries in stored.items()}


def _memory_key(source: Source, day: date) -> str:
    return f"{source.name} {day.isoformat()}"


def _that_fit(items: Iterable[Item]) -> Iterator[JsonValue]:
    """Return the first entries as agent memory keeps them, as many as one value holds."""
    size = 2
    for item in items:
        entry: JsonValue = [item.title, item.channel, item.views]
        size += len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()) + 1
        if size > MAX_VALUE_BYTES:
            return
        yield entry


def _recall(source: Source, day: date, entries: object) -> list[Listed]:
    """Return a feed's titles of a day from agent memory, each once."""
    try:
        known = _ENTRIES.validate_python(entries)
    except ValidationError:
        key = _memory_key(source, day)
        raise InputError(
            f"agent memory {NAMESPACE}, {key!r}: is no list of title, channel and views; "
            f"remove it: nova memory forget {NAMESPACE} '{key}'"
        ) from None
    found: dict[str, Listed] = {}
    for title, channel, views in known:
        named = channel or source.name
        listed = Listed(source.name, day, named, title, named, views)
        found.setdefault(listed.key, listed)
    return list(found.values())


def _untitled(source: Source, count: int) -> list[Omission]:
    if not count:
        return []
    return [Omission(what=f"entries of {source.name}", reason="without a title", count=count)]
