"""The numbers of a channel; pure functions, whose formulas docs/analysis.md explains.

They are robust: medians and quartiles, so that one video that everybody saw does not decide. The
order in which values come makes no difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from statistics import median, quantiles

#: Videos that each half of a window must have for growth: one alone is chance.
GROWTH_VIDEOS = 2


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile of at least one value.

    Between two values they are interpolated linearly (type 7 of Hyndman and Fan, 1996, which numpy
    uses too).

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("there is no value")
    if len(values) == 1:
        return (values[0], values[0], values[0])
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return (lower, middle, upper)


def dispersion(lower: float, upper: float) -> float:
    """Return how far the middle half of values that are not below 0 is spread, 0 to 1.

    The quartile coefficient of dispersion, (upper - lower) / (upper + lower): 0 where all are
    alike, 1/3 where the upper quartile is twice the lower.
    """
    return (upper - lower) / (upper + lower) if upper > 0 else 0.0


def engagement(views: int | None, likes: int | None, comments: int | None) -> float | None:
    """Return (likes + comments) / views; None where one is not known, or nobody looked."""
    if not views or likes is None or comments is None:
        return None
    return (likes + comments) / views


def median_or_none(values: Iterable[float | None]) -> float | None:
    """Return the median of those values that are known, None if none is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def growth(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return (s - f) / (s + f), where f and s are the medians of the first and the second half.

    -1 to 1; 1/3 is twice as many. Governance measures growth by the same formula. None where a half
    has fewer than GROWTH_VIDEOS values, or both medians are 0.
    """
    if min(len(first), len(second)) < GROWTH_VIDEOS:
        return None
    before, after = median(first), median(second)
    return (after - before) / (after + before) if after + before > 0 else None


def median_gap_days(days: Iterable[date]) -> float | None:
    """Return the median of the days between one publication and the next, None below two."""
    gaps = [(later - earlier).days for earlier, later in pairwise(sorted(days))]
    return median(gaps) if gaps else None


def rank(values: Mapping[str, float | None]) -> dict[str, int]:
    """Return the place of each name whose value is known, the highest value first.

    Places are 1, 2, 3 ... without gaps; those of the same value are in the order of their names.
    """
    known = [(-value, name) for name, value in values.items() if value is not None]
    return {name: place for place, (_, name) in enumerate(sorted(known), start=1)}
