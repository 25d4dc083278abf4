"""Aggregates add up: of days, of parts of them, whichever way they are grouped."""

from math import inf, isnan, nan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nova.analytics.totals import (
    NOTHING,
    Totals,
    describe,
    measure_of,
    measured,
    of_one_day,
    summed,
    unpack_many,
)
from nova.arrays import Floats
from nova.channels import METRIC_NAMES, METRICS

CTR = METRIC_NAMES.index("ctr")
NAMES = [b"a", b"b", b"\xc3\xa4", b"d"]
COUNTS = st.integers(-(2**40), 2**40).map(float)
#: Name -> its metrics on a day, of those that were seen.
DAY = st.dictionaries(
    st.sampled_from(NAMES),
    st.lists(COUNTS | st.just(nan), min_size=len(METRICS), max_size=len(METRICS)),
)
Days = list[dict[bytes, list[float]]]


def totals_of(days: Days) -> Totals:
    totals = Totals()
    for day in days:
        metrics = np.array(list(day.values()), np.float64).reshape(len(day), len(METRICS))
        totals.add(list(day), of_one_day(metrics))
    return totals


def by_hand(days: Days, name: bytes, metric: int) -> list[float]:
    """Aggregate a metric of a name with nothing but Python's own sum, min and max."""
    values = [day[name][metric] for day in days if name in day and not isnan(day[name][metric])]
    return [len(values), sum(values), min(values, default=inf), max(values, default=-inf)]


@given(st.lists(DAY, max_size=8))
def test_totals_are_what_python_counts(days: Days) -> None:
    totals = totals_of(days)
    assert set(totals.names) == {name for day in days for name in day}
    for name, aggregate in zip(totals.names, totals.values.tolist(), strict=True):
        assert aggregate == [by_hand(days, name, metric) for metric in range(len(METRICS))]


@given(st.lists(DAY, max_size=8), st.integers(0, 8))
def test_the_aggregate_of_aggregates_is_that_of_all_days(days: Days, cut: int) -> None:
    """Whether days are added one by one, or as two packed aggregates: the same to the last bit."""
    whole = Totals()
    for part in (days[:cut], days[cut:]):
        whole.add_records(dict(totals_of(part).records()))
    assert dict(whole.records()) == dict(totals_of(days).records())


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), max_size=8),
    st.integers(0, 8),
)
def test_adding_days_to_what_is_stored_gives_the_bytes_of_adding_all(
    rows: list[list[float]], cut: int
) -> None:
    """Also of fractions, whose sums depend on the order: days on top come last in both."""
    days: Days = [{b"a": [first, second, *[nan] * 8]} for first, second in rows]
    stored = Totals()
    stored.add_records(dict(totals_of(days[:cut]).records()))
    for day in days[cut:]:
        stored.add(list(day), of_one_day(np.array(list(day.values()))))
    assert dict(stored.records()) == dict(totals_of(days).records())


@given(DAY)
def test_the_sum_of_rows_is_that_of_one_name_that_has_them_all(
    day: dict[bytes, list[float]],
) -> None:
    metrics = np.array(list(day.values()), np.float64).reshape(len(day), len(METRICS))
    found = summed(of_one_day(metrics)).tolist()
    days: Days = [{b"all": row} for row in day.values()]
    assert found == [by_hand(days, b"all", metric) for metric in range(len(METRICS))]


def test_zeros_have_one_sign() -> None:
    """-0.0 is a number that a file may hold; its bytes must not depend on what it was added to."""
    aggregates = of_one_day(np.full((1, len(METRICS)), -0.0))
    assert not np.signbit(aggregates).any()


def test_a_record_of_an_older_release_knows_nothing_of_newer_metrics() -> None:
    totals = totals_of([{b"a": [1.0] * len(METRICS)}])
    [(_, record)] = totals.records()
    [padded] = unpack_many([record[:-32]])
    assert padded[:-1].tolist() == totals.values[0, :-1].tolist()
    assert padded[-1].tolist() == NOTHING.tolist()
    assert unpack_many([record + b"newer"]).tolist() == totals.values.tolist()


def test_a_ratio_is_measured_by_its_mean_and_a_count_by_its_total() -> None:
    aggregates: Floats = np.array([[2.0, 10.0, 4.0, 6.0], NOTHING])
    assert (measure_of(CTR), measured(CTR, aggregates)[0]) == ("mean", 5.0)
    assert (measure_of(0), measured(0, aggregates)[0]) == ("total", 10.0)
    assert np.isnan(measured(CTR, aggregates)[1])
    assert np.isnan(measured(0, aggregates)[1])


def test_only_known_metrics_are_described() -> None:
    totals = totals_of([{b"a": [3.0, *[nan] * 9]}, {b"a": [5.0, *[nan] * 9]}])
    [(number, found)] = describe(totals.values[0])
    assert number == 0
    assert found.model_dump() == {
        "metric": "views", "days": 2, "total": 8.0, "mean": 4.0, "low": 3.0, "high": 5.0,
    }  # fmt: skip


def test_a_sum_of_nothing_is_nothing() -> None:
    assert summed(np.empty((0, len(METRICS), 4))).tolist() == [NOTHING.tolist()] * len(METRICS)
