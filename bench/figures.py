"""The arithmetic of the benchmarks: medians, percentiles, ratios between interleaved rounds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and the lowest and highest."""

    median: float
    low: float
    high: float

    def show(self, digits: int = 0) -> str:
        """Return `median (low to high)`; of a single round only the number."""
        middle, low, high = (f"{v:,.{digits}f}" for v in (self.median, self.low, self.high))
        return middle if low == high else f"{middle} ({low} to {high})"


def spread(values: Sequence[float]) -> Spread:
    """Return median, lowest and highest of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(values: Sequence[float], base: Sequence[float]) -> Spread:
    """Return the spread of the quotients round by round.

    What disturbed a round disturbed both sides of it, so a quotient of one round says more than
    one of two medians.
    """
    return spread([value / against for value, against in zip(values, base, strict=True)])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return by how much y grows with each x, by least squares; None of fewer than two x."""
    if len({x for x, _ in points}) < 2:
        return None
    return statistics.linear_regression(*zip(*points, strict=True)).slope
