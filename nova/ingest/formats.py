"""The formats: how each is recognised, and how a row of it becomes a record.

A record is a tuple for the scratch table: ordinal of the day, channel, video (empty in a format
that has one row per channel and day), place in the file, then one number or None per metric. A
format that has one row per video adds what is known of it, as VIDEO_COLUMNS says.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import ijson
import orjson

from nova.channels import METRIC_NAMES
from nova.errors import InputError
from nova.ingest.models import BadValueError, Tally
from nova.ingest.source import Source
from nova.ingest.values import (
    BOUNDS,
    DateOrder,
    count,
    find_date_order,
    iso_day,
    last_day,
    midnight,
    moment,
    name,
    out_of_bounds,
    shown,
    studio_day,
    title,
    trending_day,
)
from nova.videos import VideoSource

Record = tuple[Any, ...]
#: Where a record holds its place in the file.
PLACE = 3
#: What the record of a video holds beside its metrics. `published` is seconds since 1970.
VIDEO_COLUMNS = ("title", "published", "category", "dislikes")

TRENDING = "trending list"
STUDIO = "YouTube Studio export"
NOVA_CSV = "Nova CSV"
NOVA_JSON_LINES = "Nova JSON Lines"
NOVA_JSON_ARRAY = "Nova JSON array"

TRENDING_COLUMNS = {
    "video_id",
    "trending_date",
    "channel_title",
    "views",
    "likes",
    "comment_count",
}
STUDIO_COLUMNS = {"video", "video publish time", "video views"}
NOVA_COLUMNS = {"day", "channel"}

#: Studio's column -> metric.
STUDIO_METRICS = {
    "video views": "views",
    "likes": "likes",
    "comments added": "comments",
    "shares": "shares",
    "subscribers": "subscribers",
    "watch time (hours)": "watch_hours",
    "impressions": "impressions",
    "impressions click-through rate (%)": "ctr",
    "rpm (usd)": "rpm",
    "your estimated revenue (usd)": "revenue",
}
#: What Studio called a column at other times -> the name used here.
STUDIO_ALIASES = {
    "content": "video",
    "views": "video views",
    "estimated revenue (usd)": "your estimated revenue (usd)",
    "thumbnail impressions": "impressions",
    "thumbnail click-through rate (%)": "impressions click-through rate (%)",
}
TOTAL_ROW = "row of totals"
RUNNING_TOTALS = (
    "views, likes and comments are what a channel's listed videos had gathered by that day, "
    "not what the day added"
)

KNOWN_FORMATS = (
    "known are the YouTube trending list (video_id,trending_date,channel_title,...), "
    "YouTube Studio exports (Video or Content,Video title,Video publish time,...), "
    "Nova CSV (day,channel,views,...) and Nova JSON (objects with day, channel, views, ...)"
)


class Format(Protocol):
    """One format, ready to read one file."""

    name: str
    #: Where its videos belong, None when it has none.
    videos: VideoSource | None

    def records(self) -> Iterator[Record]:
        """Read the file; bad rows go to the tally."""
        ...


def recognise(source: Source, tally: Tally, channel: str | None) -> Format:
    """Return the reader for a file, chosen by its beginning.

    Args:
        source: The file.
        tally: Where the reader counts rows and problems.
        channel: Channel of a file that names none, None when nobody gave one.

    Raises:
        InputError: no format fits, or `channel` is missing, wrong or out of place.
    """
    beginning = source.first_character()
    if beginning in (b"{", b"["):
        _refuse_channel(source, channel)
        return JsonLines(source, tally) if beginning == b"{" else JsonArray(source, tally)
    _, header = next(source.csv_rows(Tally()), (0, []))
    columns = [column.strip().lower() for column in header]
    known = set(columns)
    studio_columns = [STUDIO_ALIASES.get(column, column) for column in columns]
    if STUDIO_COLUMNS.issubset(studio_columns):
        return StudioExport(source, tally, studio_columns, _require_channel(source, channel))
    if known >= TRENDING_COLUMNS:
        _refuse_channel(source, channel)
        return TrendingList(source, tally, columns)
    if known >= NOVA_COLUMNS:
        _refuse_channel(source, channel)
        return NovaCsv(source, tally, columns)
    found = shown(",".join(header))
    raise InputError(
        f"{source.name} begins with {found}, which is no known header; {KNOWN_FORMATS}"
    )


def _require_channel(source: Source, channel: str | None) -> str:
    if channel is None:
        raise InputError(
            f"{source.name} is a {STUDIO}, which does not name its channel; "
            "add --channel NAME (in the API: ?channel=NAME)"
        )
    try:
        return name(channel, "channel")
    except BadValueError as problem:
        raise InputError(f"the channel given for {source.name} {problem.reason}") from None


def _refuse_channel(source: Source, channel: str | None) -> None:
    if channel is not None:
        raise InputError(
            f"{source.name} names its channels itself; leave the channel option away "
            f"(it is for a {STUDIO})"
        )


class _CsvFormat(ABC):
    """What the CSV formats have in common: rows of a fixed width under a header."""

    name = ""
    videos: VideoSource | None = None

    def __init__(self, source: Source, tally: Tally, columns: Sequence[str]) -> None:
        self._source = source
        self._tally = tally
        self._width = len(columns)
        #: First column of each name; csv.DictReader would take the last.
        self._index = {name: i for i, name in reversed(list(enumerate(columns)))}
        self._last = last_day()

    def records(self) -> Iterator[Record]:
        """Read the rows under the header."""
        tally, width, convert = self._tally, self._width, self._convert
        rows = self._source.csv_rows(tally)
        next(rows)
        for line, row in rows:
            tally.rows_read += 1
            try:
                if len(row) != width:
                    raise BadValueError("", f"has {len(row)} columns, the header has {width}")
                record = convert(line, row)
            except BadValueError as problem:
                tally.reject(line, problem)
            else:
                if record:
                    yield record

    @abstractmethod
    def _convert(self, line: int, row: list[str]) -> Record | None:
        """Return the record of a row, None for one that is left out on purpose."""

    def _text(self, row: list[str], column: str) -> str:
        """Return the text of a column that describes a video, "" when the file lacks it."""
        index = self._index.get(column)
        return "" if index is None else row[index]

    def _readers(self, columns: Mapping[str, str]) -> list[tuple[int, str, int, float, float]]:
        """Return for each metric column: index in row, column, place in METRICS, bounds."""
        found = []
        for column, metric in columns.items():
            if column in self._index:
                bounds = BOUNDS[metric]
                found.append((self._index[column], column, bounds.place, bounds.low, bounds.high))
        return found


_NOTHING_KNOWN: list[float | None] = [None] * len(METRIC_NAMES)


def _numbers(
    row: list[str], readers: list[tuple[int, str, int, float, float]]
) -> list[float | None]:
    """Return all metrics of a row. Most of an ingest is spent here: one loop, no calls."""
    values = _NOTHING_KNOWN.copy()
    column = text = ""
    try:
        for index, column, place, low, high in readers:
            text = row[index]
            if text:
                value = float(text)
                if not low <= value <= high:
                    raise out_of_bounds(value, text, column, low, high)
                values[place] = value
    except ValueError:
        raise BadValueError(column, f"{shown(text)} is not a number") from None
    return values


class NovaCsv(_CsvFormat):
    """Header `day,channel` and any metrics, in any order; one row per channel and day."""

    name = NOVA_CSV

    def __init__(self, source: Source, tally: Tally, columns: Sequence[str]) -> None:
        super().__init__(source, tally, columns)
        unknown = [c for c in columns if c not in NOVA_COLUMNS and c not in BOUNDS]
        twice = sorted({c for c in columns if columns.count(c) > 1})
        if unknown or twice:
            what = f"an unknown column {shown(unknown[0])}" if unknown else f"{twice[0]} twice"
            raise InputError(
                f"the header of {source.name} has {what}; beside day and channel "
                f"it may have {', '.join(METRIC_NAMES)}"
            )
        self._metrics = self._readers({metric: metric for metric in METRIC_NAMES})

    def _convert(self, line: int, row: list[str]) -> Record:
        day = iso_day(row[self._index["day"]], "day", self._last)
        channel = name(row[self._index["channel"]], "channel")
        return (day, channel, "", line, *_numbers(row, self._metrics))


class TrendingList(_CsvFormat):
    """YouTube's daily trending list: one row per video and day, summed per channel and day."""

    name = TRENDING
    videos: VideoSource | None = VideoSource.TRENDING

    def __init__(self, source: Source, tally: Tally, columns: Sequence[str]) -> None:
        super().__init__(source, tally, columns)
        tally.notes.append(RUNNING_TOTALS)
        self._metrics = self._readers(
            {"views": "views", "likes": "likes", "comment_count": "comments"}
        )
        # Where people may not rate or comment, the list says 0; nothing is known, rather.
        self._switches = [
            (self._index[column], BOUNDS[metric].place)
            for column, metric in (("comments_disabled", "comments"), ("ratings_disabled", "likes"))
            if column in self._index
        ]

    def _convert(self, line: int, row: list[str]) -> Record:
        index = self._index
        day = trending_day(row[index["trending_date"]], "trending_date", self._last)
        channel = name(row[index["channel_title"]], "channel_title")
        video = name(row[index["video_id"]], "video_id")
        values = _numbers(row, self._metrics)
        for switch, place in self._switches:
            if row[switch].lower() == "true":
                values[place] = None
        return (day, channel, video, line, *values, *self._about(row))

    def _about(self, row: list[str]) -> tuple[str, int | None, int | None, int | None]:
        """Return VIDEO_COLUMNS. What cannot be read of these is not known; the row is good."""
        rated = self._text(row, "ratings_disabled").lower() != "true"
        return (
            title(self._text(row, "title")),
            moment(self._text(row, "publish_time")),
            count(self._text(row, "category_id")),
            count(self._text(row, "dislikes")) if rated else None,
        )


class StudioExport(_CsvFormat):
    """One creator's export: a video's lifetime numbers count on the day it was published."""

    name = STUDIO
    videos: VideoSource | None = VideoSource.STUDIO

    def __init__(self, source: Source, tally: Tally, columns: Sequence[str], channel: str) -> None:
        super().__init__(source, tally, columns)
        self._channel = channel
        self._metrics = self._readers(STUDIO_METRICS)
        self._order = self._find_date_order()
        if self._order.note:
            tally.notes.append(self._order.note)

    def _find_date_order(self) -> DateOrder:
        published = self._index["video publish time"]
        rows = self._source.csv_rows(Tally())
        return find_date_order(row[published] for _, row in rows if len(row) > published)

    def _convert(self, line: int, row: list[str]) -> Record | None:
        video = name(row[self._index["video"]], "video")
        if video == "Total":
            self._tally.skip(TOTAL_ROW)
            return None
        text = row[self._index["video publish time"]]
        day = studio_day(text, "video publish time", self._last, self._order.day_first)
        numbers = _numbers(row, self._metrics)
        dislikes = count(self._text(row, "dislikes"))
        about = (title(self._text(row, "video title")), midnight(day), None, dislikes)
        return (day, self._channel, video, line, *numbers, *about)


class _JsonFormat(ABC):
    """What the JSON formats have in common: objects with the field names of Nova's CSV."""

    name = ""
    videos: VideoSource | None = None

    def __init__(self, source: Source, tally: Tally) -> None:
        self._source = source
        self._tally = tally
        self._last = last_day()

    def records(self) -> Iterator[Record]:
        """Read the objects."""
        for place, raw in self._items():
            self._tally.rows_read += 1
            try:
                record = self._convert(place, self._load(raw))
            except BadValueError as problem:
                self._tally.reject(place, problem)
            else:
                yield record

    @abstractmethod
    def _items(self) -> Iterator[tuple[int, Any]]:
        """Return the objects, parsed or not, each with its place in the file."""

    def _load(self, raw: Any) -> object:
        return raw

    def _convert(self, place: int, item: object) -> Record:
        if not isinstance(item, dict):
            raise BadValueError("", f"{shown(item)} is not an object")
        item = cast(dict[str, object], item)
        day = iso_day(_text(item, "day"), "day", self._last)
        channel = name(_text(item, "channel"), "channel")
        values = _NOTHING_KNOWN.copy()
        for field, value in item.items():
            if field in BOUNDS:
                values[BOUNDS[field].place] = _json_number(field, value)
            elif field not in NOVA_COLUMNS:
                raise BadValueError(
                    field if field.isprintable() else ascii(field),
                    f"is no metric; known are {', '.join(METRIC_NAMES)}",
                )
        return (day, channel, "", place, *values)


def _text(item: dict[str, object], field: str) -> str:
    value = item.get(field)
    if value is None:
        raise BadValueError(field, "is missing")
    if not isinstance(value, str):
        raise BadValueError(field, f"{shown(value)} is not a string")
    return value


def _json_number(field: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValueError(field, f"{shown(value)} is not a number")
    _, _, low, high = BOUNDS[field]
    if low <= value <= high:
        return float(value)
    raise out_of_bounds(value, value, field, low, high)


class JsonLines(_JsonFormat):
    """One JSON object a line."""

    name = NOVA_JSON_LINES

    def _items(self) -> Iterator[tuple[int, Any]]:
        for place, line in enumerate(self._source.byte_lines(), start=1):
            if not line.isspace():
                yield place, line

    def _load(self, raw: Any) -> object:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise BadValueError("", f"is no JSON: {error}") from None


def _flat_items(events: Iterable[tuple[str, Any]]) -> Iterator[object]:
    """Return the items of an array; what is nested inside of an item's value is left out.

    ijson.items would build all of it, and needs time and memory by the square of the depth.
    """
    depth = 0
    item: dict[str, object] | list[object] = {}
    key = ""
    for event, value in events:
        if event in ("start_map", "start_array"):
            depth += 1
            if depth == 2:
                item = {} if event == "start_map" else []
            elif depth == 3 and isinstance(item, dict):
                item[key] = []
        elif event in ("end_map", "end_array"):
            depth -= 1
            if depth == 1:
                yield item
        elif event == "map_key":
            key = value if depth == 2 else key
        elif depth == 1:
            yield value
        elif depth == 2 and isinstance(item, dict):
            item[key] = value


class JsonArray(_JsonFormat):
    """One JSON array of objects, read item by item; a fault in the JSON ends the reading."""

    name = NOVA_JSON_ARRAY

    def __init__(self, source: Source, tally: Tally) -> None:
        super().__init__(source, tally)
        tally.place = "item"

    def _items(self) -> Iterator[tuple[int, Any]]:
        place = 0
        try:
            events = ijson.basic_parse(self._source.rewind(), use_float=True)
            for place, item in enumerate(_flat_items(events), start=1):
                yield place, item
        except (ijson.JSONError, UnicodeDecodeError) as error:
            # The lines below the first one show the place, in whatever bytes stand there.
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{self._source.name} is no JSON after item {place}: {reason}"
            ) from None
