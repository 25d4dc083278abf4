"""Which days go, for any days there may be."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from nova.maintenance.retention import days_past_retention

TODAY = date(2026, 3, 28)
DAYS = st.sets(st.dates(TODAY - timedelta(days=500), TODAY + timedelta(days=50)), max_size=60)
KEEP = st.integers(1, 600)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def test_the_count_begins_at_the_newest_day_with_data_not_today() -> None:
    days = [ago(400), ago(403), ago(402)]
    assert days_past_retention(days, TODAY, 2) == [ago(403), ago(402)]


def test_a_day_that_lies_ahead_neither_moves_the_count_nor_goes() -> None:
    days = [ago(-3000), ago(0), ago(1), ago(2)]
    assert days_past_retention(days, TODAY, 2) == [ago(2)]
    assert days_past_retention([ago(-1)], TODAY, 1) == []


def test_more_days_than_there_ever_were_may_be_kept() -> None:
    assert days_past_retention([date.min, date.max, TODAY], TODAY, 10**9) == []


@given(days=DAYS)
def test_without_a_retention_every_day_stays(days: set[date]) -> None:
    assert days_past_retention(days, TODAY, None) == []


@given(days=DAYS, keep=KEEP)
def test_of_any_days_the_newest_span_stays_and_all_before_it_goes(
    days: set[date], keep: int
) -> None:
    gone = days_past_retention(days, TODAY, keep)
    stays = days - set(gone)
    past = [day for day in days if day <= TODAY]
    assert gone == sorted(set(gone) & days)
    if past:
        newest = max(past)
        assert newest in stays
        assert all(newest - day < timedelta(days=keep) for day in stays)
        assert all(newest - day >= timedelta(days=keep) for day in gone)
    else:
        assert gone == []


@given(days=DAYS, keep=KEEP)
def test_a_second_run_finds_nothing_more(days: set[date], keep: int) -> None:
    left = days - set(days_past_retention(days, TODAY, keep))
    assert days_past_retention(left, TODAY, keep) == []


@given(days=DAYS, keep=KEEP, more=KEEP)
def test_a_longer_retention_removes_no_other_days(days: set[date], keep: int, more: int) -> None:
    shorter = set(days_past_retention(days, TODAY, keep))
    assert set(days_past_retention(days, TODAY, keep + more)) <= shorter
