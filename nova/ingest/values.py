"""Values as they stand in files: numbers, days, channel names."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

from nova.channels import METRICS, Metric
from nova.ingest.models import BadValueError

#: Whole numbers are exact in a float64 up to here, and no count of a channel comes near it.
LARGEST = 1e15
_EPOCH = date(1970, 1, 1).toordinal()
#: Days before this one are slips of the pen.
FIRST_DAY = date(2000, 1, 1)
#: A channel name that is longer, in bytes of UTF-8, is no name.
MAX_NAME_BYTES = 256
#: Characters of a title that are kept; YouTube takes no more than 100.
MAX_TITLE = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TWO_NUMBERS_AND_YEAR = re.compile(r"([0-9]{1,2})[-/]([0-9]{1,2})[-/]([0-9]{4})")
_MONTH_DAY_YEAR = re.compile(r"([A-Za-z]{3,9})\.? ([0-9]{1,2}),? ([0-9]{4})")
_DAY_MONTH_YEAR = re.compile(r"([0-9]{1,2}) ([A-Za-z]{3,9})\.?,? ([0-9]{4})")
_MONTHS = {
    word: place
    for place, names in enumerate(
        (
            ("jan", "january"),
            ("feb", "february"),
            ("mar", "march"),
            ("apr", "april"),
            ("may",),
            ("jun", "june"),
            ("jul", "july"),
            ("aug", "august"),
            ("sep", "sept", "september"),
            ("oct", "october"),
            ("nov", "november"),
            ("dec", "december"),
        ),
        start=1,
    )
    for word in names
}


class Bounds(NamedTuple):
    """A metric, its place in METRICS, and the least and largest number it can be."""

    metric: str
    place: int
    low: float
    high: float


def _bounds(place: int, metric: Metric) -> Bounds:
    low = -LARGEST if metric.signed else 0.0
    high = 100.0 if metric.unit == "percent" else LARGEST
    return Bounds(metric.name, place, low, high)


BOUNDS: dict[str, Bounds] = {metric.name: _bounds(i, metric) for i, metric in enumerate(METRICS)}


def shown(value: object) -> str:
    """Return a value for a message: quoted, on one line, not too long."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def out_of_bounds(
    value: float, given: object, column: str, low: float, high: float
) -> BadValueError:
    """Return the problem of a number that is outside of low..high, or not finite."""
    if not isfinite(value):
        return BadValueError(column, f"{shown(given)} is not a finite number")
    if value < low == 0:
        return BadValueError(column, f"{shown(given)} is below 0")
    return BadValueError(column, f"{shown(given)} is not within {low:g} and {high:g}")


@lru_cache(maxsize=1 << 16)
def name(text: str, column: str) -> str:
    """Return the name of a channel, or the id of a video, without blanks around it.

    Raises:
        BadValueError: it is missing, too long, not UTF-8, or holds control characters.
    """
    name = text.strip()
    if not name:
        raise BadValueError(column, "is missing")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadValueError(column, f"{shown(name)} is not valid UTF-8") from None
    if size > MAX_NAME_BYTES:
        raise BadValueError(column, f"is {size} bytes long, more than {MAX_NAME_BYTES}")
    # Not everything unprintable is wrong: emoji are joined by invisible characters.
    if not name.isprintable() and any(c < " " or c == "\x7f" for c in name):
        raise BadValueError(column, f"{shown(name)} holds a control character")
    return name


def title(text: str) -> str:
    """Return a title on one line; it is mended and never refused, for it is no key.

    Bytes that are not UTF-8 become U+FFFD. Control characters and runs of blanks become one
    blank, those at the ends go. What is longer than MAX_TITLE characters is cut.
    """
    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(_CONTROL.sub(" ", valid).split())[:MAX_TITLE].rstrip()


def moment(text: str) -> int | None:
    """Return the seconds since 1970 of an ISO time, UTC unless it says otherwise.

    None when the text is anything else, such as a time of day without its day.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def midnight(day: int) -> int:
    """Return the seconds since 1970 of 00:00 UTC on a day given as an ordinal."""
    return (day - _EPOCH) * 86_400


def count(text: str) -> int | None:
    """Return a number of no less than 0 as a whole one, None when the text is no such number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if 0 <= value <= LARGEST else None


def last_day() -> date:
    """Return the last day that a file can hold: tomorrow, for who lives east of UTC."""
    return datetime.now(UTC).date() + timedelta(days=1)


def _checked(day: date, text: str, column: str, last: date) -> int:
    if day < FIRST_DAY:
        raise BadValueError(column, f"{shown(text)} is before {FIRST_DAY}")
    if day > last:
        raise BadValueError(column, f"{shown(text)} is in the future")
    return day.toordinal()


@lru_cache(maxsize=4096)
def iso_day(text: str, column: str, last: date) -> int:
    """Return the ordinal of a day written YYYY-MM-DD.

    Raises:
        BadValueError: it is no such day, or outside of what `last` and FIRST_DAY allow.
    """
    stripped = text.strip()
    if not stripped:
        raise BadValueError(column, "is missing")
    try:
        # fromisoformat takes other ISO notations too, such as weeks.
        if len(stripped) != 10 or stripped[4] + stripped[7] != "--":
            raise ValueError
        day = date.fromisoformat(stripped)
    except ValueError:
        raise BadValueError(column, f"{shown(text)} is not a day written YYYY-MM-DD") from None
    return _checked(day, text, column, last)


@lru_cache(maxsize=4096)
def trending_day(text: str, column: str, last: date) -> int:
    """Return the ordinal of a day written YY.DD.MM, as the trending list does.

    Raises:
        BadValueError: it is no such day, or outside of what `last` and FIRST_DAY allow.
    """
    try:
        year, day, month = (int(part) for part in text.split("."))
        if not 0 <= year <= 99:
            raise ValueError
        found = date(2000 + year, month, day)
    except ValueError:
        raise BadValueError(column, f"{shown(text)} is not a day written YY.DD.MM") from None
    return _checked(found, text, column, last)


class DateOrder(NamedTuple):
    """Whether 08-05-2020 is 5 August or 8 May in one file, and how that was found out."""

    day_first: bool = False
    note: str = ""


def find_date_order(texts: Iterable[str]) -> DateOrder:
    """Find out from all dates of a file in which order day and month stand.

    Dates like 7-16-2020 can be read in one way only. Spreadsheets of a day-first country take
    the dates they can, those with a day up to 12, turn them round and write them with leading
    zeros, and leave the rest as it was. So where dates that are certainly month-first have no
    leading zero, those with leading zeros are day-first.
    """
    day_first = month_first = month_first_padded = unpadded_month_first = 0
    doubtful: list[str] = []
    doubtful_unpadded = 0
    for text in texts:
        match = _TWO_NUMBERS_AND_YEAR.fullmatch(text.strip())
        if not match:
            continue
        first, second = match[1], match[2]
        if int(first) > 12:
            day_first += 1
        elif int(second) > 12:
            month_first += 1
            month_first_padded += first.startswith("0")
            unpadded_month_first += len(first) == 1
        elif first != second:
            doubtful = doubtful or [text.strip()]
            doubtful_unpadded += len(first) == 1 or len(second) == 1
    if not doubtful:
        return DateOrder()
    example = f"dates such as {doubtful[0]} are read as"
    if day_first and not month_first:
        return DateOrder(True, f"{example} day-month-year, like the file's other dates")
    if unpadded_month_first and not (month_first_padded or doubtful_unpadded or day_first):
        return DateOrder(
            True,
            f"{example} day-month-year: the file's month-day-year dates have no leading zero, "
            "so these were turned round by a spreadsheet",
        )
    return DateOrder(False, f"{example} month-day-year")


@lru_cache(maxsize=4096)
def studio_day(text: str, column: str, last: date, day_first: bool) -> int:
    """Return the ordinal of a day in any of the ways that Studio exports come with.

    Raises:
        BadValueError: it is no day, or outside of what `last` and FIRST_DAY allow.
    """
    stripped = text.strip()
    if not stripped:
        raise BadValueError(column, "is missing")
    try:
        day = _any_date(stripped, day_first)
    except ValueError:
        raise BadValueError(column, f"{shown(text)} is not a date") from None
    return _checked(day, text, column, last)


def _any_date(text: str, day_first: bool) -> date:
    if match := _TWO_NUMBERS_AND_YEAR.fullmatch(text):
        first, second, year = (int(part) for part in match.groups())
        # Whatever the order of the file, 16 is no month.
        first_is_day = first > 12 or (day_first and second <= 12)
        day, month = (first, second) if first_is_day else (second, first)
        return date(year, month, day)
    if match := _MONTH_DAY_YEAR.fullmatch(text):
        return date(int(match[3]), _month(match[1]), int(match[2]))
    if match := _DAY_MONTH_YEAR.fullmatch(text):
        return date(int(match[3]), _month(match[2]), int(match[1]))
    return datetime.fromisoformat(text).date()


def _month(word: str) -> int:
    """Return the number of a month from its English name, in full or short."""
    try:
        return _MONTHS[word.lower()]
    except KeyError:
        raise ValueError(word) from None
