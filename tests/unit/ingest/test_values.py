"""Numbers, days and names are taken or refused as docs/formats.md says."""

from datetime import UTC, date, datetime, timedelta

import pytest

from nova.ingest.models import BadValueError
from nova.ingest.values import (
    BOUNDS,
    LARGEST,
    MAX_NAME_BYTES,
    find_date_order,
    iso_day,
    last_day,
    name,
    out_of_bounds,
    studio_day,
    trending_day,
)

LAST = date(2026, 1, 2)


def reason(error: pytest.ExceptionInfo[BadValueError]) -> str:
    return error.value.reason


def test_bounds_follow_the_metrics() -> None:
    """A percentage ends at 100, and only what is signed may be below zero."""
    assert (BOUNDS["ctr"].low, BOUNDS["ctr"].high) == (0.0, 100.0)
    assert (BOUNDS["views"].low, BOUNDS["views"].high) == (0.0, LARGEST)
    assert {metric for metric, bounds in BOUNDS.items() if bounds.low < 0} == {
        "subscribers",
        "rpm",
        "revenue",
    }


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (float("nan"), 0.0, LARGEST, "'x' is not a finite number"),
        (float("inf"), 0.0, LARGEST, "'x' is not a finite number"),
        (-1.0, 0.0, LARGEST, "'x' is below 0"),
        (101.0, 0.0, 100.0, "'x' is not within 0 and 100"),
        (-2e15, -LARGEST, LARGEST, "'x' is not within -1e+15 and 1e+15"),
    ],
)
def test_a_number_out_of_bounds_says_which_bound(
    value: float, low: float, high: float, expected: str
) -> None:
    """The reason fits the number: not finite, below zero, or outside of the bounds."""
    assert out_of_bounds(value, "x", "views", low, high).reason == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is missing"),
        (" \t", "is missing"),
        ("x" * (MAX_NAME_BYTES + 1), "is 257 bytes long, more than 256"),
        ("a\udcffb", r"'a\udcffb' is not valid UTF-8"),
        ("a\x1b[31mb", r"'a\x1b[31mb' holds a control character"),
    ],
)
def test_a_bad_name_is_refused(text: str, expected: str) -> None:
    """What would not be seen, not be stored, or harm a terminal is no name."""
    with pytest.raises(BadValueError) as error:
        name(text, "channel")
    assert reason(error) == expected


def test_a_name_is_trimmed_and_may_hold_any_script() -> None:
    """Blanks around a name go; joined emoji, accents and quotes stay."""
    assert name(" Müller's 👩‍🔬 \u200b科学 ", "channel") == "Müller's 👩‍🔬 \u200b科学"


@pytest.mark.parametrize("text", ["2025-1-2", "20250102", "2025-W01-1", "2025-02-30", "today"])
def test_an_iso_day_is_taken_in_one_notation_only(text: str) -> None:
    """Weeks, short forms and impossible days are refused."""
    with pytest.raises(BadValueError, match="is not a day written YYYY-MM-DD"):
        iso_day(text, "day", LAST)


def test_days_have_a_first_and_a_last() -> None:
    """A day outside of what can be is refused; both ends are in."""
    assert iso_day("2000-01-01", "day", LAST) == date(2000, 1, 1).toordinal()
    assert iso_day(" 2026-01-02 ", "day", LAST) == LAST.toordinal()
    with pytest.raises(BadValueError, match="is before 2000-01-01"):
        iso_day("1999-12-31", "day", LAST)
    with pytest.raises(BadValueError, match="'2026-01-03' is in the future"):
        iso_day("2026-01-03", "day", LAST)


def test_tomorrow_is_the_last_day() -> None:
    """East of UTC it may be tomorrow already."""
    before = datetime.now(UTC).date()
    assert before + timedelta(days=1) <= last_day() <= datetime.now(UTC).date() + timedelta(days=1)


def test_a_trending_day_is_year_day_month() -> None:
    """17.14.11 is 14 November 2017."""
    assert trending_day("17.14.11", "trending_date", LAST) == date(2017, 11, 14).toordinal()
    for text in ("17.11.14", "2017.14.11", "17.14", "17.a.11", ""):
        with pytest.raises(BadValueError, match=r"is not a day written YY\.DD\.MM"):
            trending_day(text, "trending_date", LAST)


@pytest.mark.parametrize(
    "text",
    [
        "5-8-2020",
        "05-08-2020",
        "5/8/2020",
        "2020-05-08",
        "2020-05-08T12:30:00",
        "May 8, 2020",
        "may 8, 2020",
        "8 May 2020",
    ],
)
def test_a_studio_day_comes_in_many_ways(text: str) -> None:
    """All of these are 8 May 2020 in a month-first file."""
    assert studio_day(text, "published", LAST, False) == date(2020, 5, 8).toordinal()


def test_a_studio_day_in_a_day_first_file() -> None:
    """05-08 is then 5 August, while 7-16 can only be 16 July; 16-07 is so in any file."""
    assert studio_day("05-08-2020", "published", LAST, True) == date(2020, 8, 5).toordinal()
    assert studio_day("7-16-2020", "published", LAST, True) == date(2020, 7, 16).toordinal()
    assert studio_day("16-07-2020", "published", LAST, False) == date(2020, 7, 16).toordinal()


@pytest.mark.parametrize("text", ["13-13-2020", "Smarch 8, 2020", "0-1-2020", "2020", "5-8-20"])
def test_no_studio_day(text: str) -> None:
    """What is no date is refused with its text."""
    with pytest.raises(BadValueError, match=f"'{text}' is not a date"):
        studio_day(text, "published", LAST, False)


@pytest.mark.parametrize(
    ("texts", "day_first", "note"),
    [
        (["2020-05-08", "May 8, 2020", "", "8-8-2020"], False, ""),
        (["7-16-2020", "05-08-2020"], True, "turned round by a spreadsheet"),
        (["07-16-2020", "05-08-2020"], False, "read as month-day-year"),
        (["7-16-2020", "5-8-2020"], False, "read as month-day-year"),
        (["16-07-2020", "05-08-2020"], True, "like the file's other dates"),
        (["05-08-2020"], False, "read as month-day-year"),
    ],
)
def test_the_order_of_day_and_month_comes_from_the_whole_file(
    texts: list[str], day_first: bool, note: str
) -> None:
    """Dates that can be read in one way only decide about those that can be read in two."""
    order = find_date_order(texts)
    assert order.day_first == day_first
    assert order.note.endswith(note)
    assert bool(order.note) == bool(note)
