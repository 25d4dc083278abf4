"""Spans of the calendar: which days belong together, also where the calendar ends."""

from datetime import date, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nova.analytics.models import Period
from nova.analytics.spans import BEFORE, Span

CALENDAR_PERIODS = st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH])


@pytest.mark.parametrize(
    ("period", "start", "end", "key"),
    [
        (Period.DAY, date(2017, 12, 3), date(2017, 12, 3), "day:2017-12-03"),
        # 3 December 2017 was a Sunday.
        (Period.WEEK, date(2017, 11, 27), date(2017, 12, 3), "week:2017-11-27"),
        (Period.MONTH, date(2017, 12, 1), date(2017, 12, 31), "month:2017-12-01"),
        (Period.ALL, date.min, date.max, "all"),
    ],
)
def test_the_span_that_holds_a_sunday(period: Period, start: date, end: date, key: str) -> None:
    span = Span.holding(period, date(2017, 12, 3))
    assert (span.start, span.end, span.key) == (start, end, key)


def test_what_a_span_is_compared_with() -> None:
    day = date(2018, 1, 1)
    keys = [Span.holding(period, day).previous_key for period in Period]
    assert keys == ["day:2017-12-31", "week:2017-12-25", "month:2017-12-01", BEFORE]


@given(CALENDAR_PERIODS, st.dates())
@example(Period.WEEK, date.max)
@example(Period.MONTH, date.max)
@example(Period.WEEK, date.min)
def test_spans_cover_the_calendar_without_gap_or_overlap(period: Period, day: date) -> None:
    """Each day of a span has the same span, and the day before its first belongs to `previous`."""
    span = Span.holding(period, day)
    assert span.start <= day <= span.end
    assert Span.holding(period, span.start) == Span.holding(period, span.end) == span
    if span.start == date.min:
        assert span.previous is None
        assert span.previous_key is None
    else:
        assert span.previous is not None
        assert span.previous.end == span.start - timedelta(days=1)
