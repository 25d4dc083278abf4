"""Percentiles and outliers, checked against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.analytics.measures import (
    LEAST_VALUES,
    OUTLIER_SCORE,
    modified_z_scores,
    percentiles,
)


def test_percentiles_interpolate_between_neighbours() -> None:
    """Of 0, 10, ..., 100 the p-th percentile is p; of 10 and 20 the median is 15."""
    found = percentiles(np.arange(0.0, 101.0, 10.0))
    assert found == pytest.approx(
        {"p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90, "p99": 99}
    )
    assert percentiles(np.array([10.0, 20.0]))["p50"] == 15.0


def test_the_modified_z_score_by_hand() -> None:
    """Median 5, absolute deviations 5 4 3 2 1 0 1 2 3 4 95, their median 3: 0.6745 * 95 / 3."""
    scores = modified_z_scores(np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100]))
    assert scores is not None
    assert scores[-1] == pytest.approx(21.35917, abs=1e-5)
    assert np.flatnonzero(np.abs(scores) > OUTLIER_SCORE).tolist() == [10]


def test_outliers_do_not_hide_one_another() -> None:
    """Four of 24 values: the plain z-score of each is below 2.3, for they stretch its scale."""
    values = np.array([*range(20), 1000.0, 1000, 1000, 1000])
    plain = (values - values.mean()) / values.std()
    assert plain.max() < 2.3
    scores = modified_z_scores(values)
    assert scores is not None
    assert (np.abs(scores) > OUTLIER_SCORE).tolist() == [False] * 20 + [True] * 4


@pytest.mark.parametrize("values", [[], [1.0] * (LEAST_VALUES - 1), [7.0] * 11 + [1.0, 900.0]])
def test_of_few_values_or_mostly_equal_ones_nothing_is_said(values: list[float]) -> None:
    assert modified_z_scores(np.array(values)) is None


@given(
    st.lists(st.integers(-1000, 1000).map(float), min_size=LEAST_VALUES, max_size=40),
    st.integers(-1000, 1000),
    st.sampled_from([0.5, 2.0, 1024.0]),
)
def test_scores_do_not_depend_on_the_unit(values: list[float], shift: int, unit: float) -> None:
    """Adding a number, or multiplying by a power of two, changes no score."""
    array = np.array(values)
    scores, moved = modified_z_scores(array), modified_z_scores(array * unit + shift)
    if scores is None or moved is None:
        assert scores is moved is None
    else:
        assert moved == pytest.approx(scores, rel=1e-9, abs=1e-9)
