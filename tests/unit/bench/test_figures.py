"""The arithmetic of the benchmarks."""

import pytest

from bench.figures import percentile, ratios, slope, spread


def test_a_spread_is_the_median_between_lowest_and_highest() -> None:
    found = spread([30, 10, 20, 1000, 15])
    assert (found.median, found.low, found.high) == (20, 10, 1000)


def test_a_spread_is_shown_with_its_ends_and_one_round_without() -> None:
    assert spread([1.256, 1.0, 2.0]).show(2) == "1.26 (1.00 to 2.00)"
    assert spread([1234.4]).show() == "1,234"


def test_ratios_compare_the_rounds_with_each_other_not_the_medians() -> None:
    """The second round was disturbed; both sides of it were, so the ratio stays."""
    found = ratios([1200, 120, 1300], [1000, 100, 1000])
    assert (found.median, found.low, found.high) == pytest.approx((1.2, 1.2, 1.3))


def test_ratios_of_different_numbers_of_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        (range(1, 101), 50, 50),
        (range(1, 101), 99, 99),
        (range(100, 0, -1), 99, 99),
        ([1, 2, 3], 50, 2),
        ([1, 2], 50, 1),
        ([1, 2], 99, 2),
        ([7], 0, 7),
        ([7], 100, 7),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(list(values), percent) == expected


def test_a_slope_is_what_each_more_adds() -> None:
    assert slope([(1, 12.0), (3, 16.0), (6, 22.0)]) == pytest.approx(2.0)


def test_one_point_has_no_slope() -> None:
    assert slope([(3, 12.0), (3, 14.0)]) is None
    assert slope([]) is None
