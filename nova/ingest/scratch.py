"""A table on disk in which the rows of a file come together before anything is stored.

It is SQLite's private temporary database: a file that is already deleted when it is opened, so
that nothing remains of it, however the process ends. Pages over the cache go to disk (TMPDIR).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from nova.channels import METRIC_NAMES, pack_row
from nova.errors import UnavailableError
from nova.ingest.formats import PLACE, VIDEO_COLUMNS, Record
from nova.ingest.models import BadValueError, Tally
from nova.videos import VideoSource, field
from nova.videos import pack_row as pack_video

CACHE_KIB = 48 * 1024
#: A ratio of several videos is their mean, weighted by what it is a ratio of.
WEIGHTS = {"ctr": "impressions", "rpm": "views"}

_CREATE = (
    "CREATE TABLE record (day INTEGER, channel TEXT, video TEXT, place INTEGER, "
    + ", ".join(f"{name} REAL" for name in METRIC_NAMES)
    + ", title TEXT, published INTEGER, category INTEGER, dislikes INTEGER"
    + ", PRIMARY KEY (day, channel, video)) WITHOUT ROWID"
)
_KEY_COLUMNS = ("day", "channel", "video", "place")
_FIND_PLACE = "SELECT place FROM record WHERE day = ? AND channel = ? AND video = ?"


def _together(metric: str) -> str:
    """Return the SQL that makes one number of a metric of all videos of a channel and day."""
    weight = WEIGHTS.get(metric)
    if not weight:
        return f"SUM({metric})"
    return (
        f"CASE COUNT(*) WHEN 1 THEN MAX({metric}) ELSE SUM({metric} * {weight}) "
        f"/ NULLIF(SUM({weight}) FILTER (WHERE {metric} IS NOT NULL), 0) END"
    )


_CHANNELS = (
    f"SELECT channel, {', '.join(map(_together, METRIC_NAMES))} "  # noqa: S608 - names in METRICS
    "FROM record WHERE day = ? GROUP BY channel"
)
#: A video that stands under two channels on one day is taken once, from the first by name, so
#: that the same file always gives the same.
_VIDEOS = (
    "SELECT video, title, MIN(channel), published, category, views, likes, dislikes, comments, "
    "revenue FROM record WHERE day = ? AND video <> '' GROUP BY video"
)


def _insert(width: int) -> str:
    """Return the SQL for records of a width: those of videos are wider."""
    columns = (*_KEY_COLUMNS, *METRIC_NAMES, *VIDEO_COLUMNS)[:width]
    marks = ", ".join("?" * width)
    return f"INSERT OR IGNORE INTO record ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


class Scratch:
    """The rows of one file, by day, channel and video."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def add(self, records: list[Record], tally: Tally) -> None:
        """Add records. One whose day, channel and video are there already is rejected."""
        # In the order of the table they go in faster; of two with one key the first one wins.
        records.sort(key=lambda record: record[: PLACE + 1])
        insert = _insert(len(records[0]))
        if self._database.executemany(insert, records).rowcount < len(records):
            self._reject_repeated(records, tally)

    def _reject_repeated(self, records: list[Record], tally: Tally) -> None:
        for record in sorted(records, key=lambda record: int(record[PLACE])):
            key, place = record[:PLACE], record[PLACE]
            (first,) = self._database.execute(_FIND_PLACE, key).fetchone()
            if first != place:
                what = "video, channel and day" if key[2] else "channel and day"
                reason = f"is a second row for the {what} of {tally.place} {first}"
                tally.reject(place, BadValueError("", reason))

    def days(self) -> list[date]:
        """Return the days that have rows, oldest first."""
        # One look-up per day; DISTINCT would read the whole table.
        days = []
        (found,) = self._database.execute("SELECT MIN(day) FROM record").fetchone()
        while found is not None:
            days.append(date.fromordinal(found))
            query = "SELECT MIN(day) FROM record WHERE day > ?"
            (found,) = self._database.execute(query, (found,)).fetchone()
        return days

    def channels(self, day: date, size: int) -> Iterator[dict[str, bytes]]:
        """Return the packed metrics of a day's channels, `size` channels at a time."""
        cursor = self._database.execute(_CHANNELS, (day.toordinal(),))
        while rows := cursor.fetchmany(size):
            yield {row[0]: pack_row(row[1:]) for row in rows}

    def videos(self, day: date, source: VideoSource, size: int) -> Iterator[dict[str, bytes]]:
        """Return the records of a day's videos by field, `size` videos at a time."""
        cursor = self._database.execute(_VIDEOS, (day.toordinal(),))
        while rows := cursor.fetchmany(size):
            yield {field(source, row[0]): pack_video(row[1:]) for row in rows}


@contextmanager
def open_scratch() -> Iterator[Scratch]:
    """Open an empty scratch table, and drop it at the end.

    Raises:
        UnavailableError: there is no room for it on disk.
    """
    database = sqlite3.connect("", isolation_level=None)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("BEGIN")
        database.execute(_CREATE)
        yield Scratch(database)
    except sqlite3.OperationalError as error:
        raise UnavailableError(
            f"cannot write the scratch table: {error}; "
            "set TMPDIR to a folder with room for about the size of the file"
        ) from error
    finally:
        database.close()
