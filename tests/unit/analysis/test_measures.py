"""The numbers of a channel: against numpy where it has them, against counted examples elsewhere."""

from datetime import date, timedelta
from math import isclose
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.analysis.measures import (
    dispersion,
    engagement,
    growth,
    median_gap_days,
    median_or_none,
    quartiles,
    rank,
)

COUNTS = st.integers(0, 10**12)
MANY = st.lists(COUNTS, min_size=1, max_size=40)
VALUES = st.dictionaries(
    st.text(max_size=5), st.none() | st.integers(-5, 5).map(float), max_size=20
)


@given(MANY)
def test_quartiles_are_those_of_numpy(values: list[int]) -> None:
    """And the median is the middle one of them."""
    expected = np.quantile(np.array(values, dtype=float), [0.25, 0.5, 0.75])
    assert np.allclose(quartiles(values), expected)
    assert median_or_none(values) == quartiles(values)[1]


def test_quartiles_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        quartiles([])


@given(MANY)
def test_dispersion_is_between_none_and_all(values: list[int]) -> None:
    lower, _, upper = quartiles(values)
    assert 0 <= dispersion(lower, upper) <= 1
    assert dispersion(upper, upper) == 0


def test_dispersion_of_twice_as_much_is_a_third() -> None:
    assert isclose(dispersion(50, 100), 1 / 3)


def test_engagement_is_likes_and_comments_by_views() -> None:
    assert engagement(200, 3, 1) == 0.02


@pytest.mark.parametrize("counts", [(None, 1, 1), (0, 1, 1), (9, None, 1), (9, 1, None)])
def test_engagement_needs_all_three_and_somebody_who_looked(
    counts: tuple[int | None, int | None, int | None],
) -> None:
    assert engagement(*counts) is None


def test_unknown_numbers_have_no_part_in_a_median() -> None:
    assert median_or_none([None, 3.0, None, 5.0]) == 4.0
    assert median_or_none([None]) is None


@given(MANY, MANY)
def test_growth_has_bounds_and_turns_its_sign_with_the_halves(
    first: list[int], second: list[int]
) -> None:
    found = growth(first, second)
    if min(len(first), len(second)) < 2 or not (median_or_none(first) or median_or_none(second)):
        assert found is None
    else:
        assert found is not None
        assert -1 <= found <= 1
        assert growth(second, first) == -found


def test_growth_of_the_double_is_a_third_whatever_one_video_did() -> None:
    assert growth([100, 100, 9_999_999], [200, 200, 0]) == pytest.approx(1 / 3)


def test_one_video_in_a_half_is_no_growth() -> None:
    assert growth([100], [200, 200]) is None
    assert growth([100, 100], [200]) is None


def test_the_gap_is_the_median_of_days_between_one_video_and_the_next() -> None:
    monday = date(2026, 3, 2)
    days = [monday + timedelta(days=days) for days in (9, 0, 2, 3)]
    assert median_gap_days(days) == 2  # of 2, 1 and 6
    assert median_gap_days([monday, monday]) == 0
    assert median_gap_days([monday]) is None


@given(VALUES, st.randoms(use_true_random=False))
def test_ranks_are_a_permutation_in_which_nobody_is_below_a_lower_value(
    values: dict[str, float | None], random: Random
) -> None:
    places = rank(values)
    known = {name: value for name, value in values.items() if value is not None}
    assert sorted(places.values()) == list(range(1, len(known) + 1))
    assert places.keys() == known.keys()
    in_order = [known[name] for name in sorted(places, key=places.__getitem__)]
    assert in_order == sorted(in_order, reverse=True)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert rank({name: values[name] for name in shuffled}) == places
