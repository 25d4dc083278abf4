"""The best of a metric: everybody once, in the order that Redis has."""

from math import inf, isnan, nan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nova.analytics.boards import best

#: Few different values, so that many are equal.
VALUES = st.lists(st.integers(-3, 3).map(float) | st.floats(-inf, inf) | st.just(nan), max_size=40)


@given(VALUES)
def test_ranks_are_a_permutation_of_the_known_channels(values: list[float]) -> None:
    names = [f"channel-{number}".encode() for number in range(len(values))]
    found = best(names, np.array(values))
    known = {name: value for name, value in zip(names, values, strict=True) if not isnan(value)}
    assert dict(found) == known
    assert len(found) == len(known)
    assert found == sorted(found, key=lambda pair: (pair[1], pair[0]), reverse=True)


@given(VALUES, st.integers(1, 12))
def test_a_short_board_is_the_beginning_of_the_whole(values: list[float], size: int) -> None:
    """Also where the last place is shared by many."""
    names = [f"channel-{number}".encode() for number in range(len(values))]
    array = np.array(values)
    assert best(names, array, size) == best(names, array)[:size]


def test_of_equal_values_the_later_name_comes_first() -> None:
    assert best([b"a", b"b", b"c"], np.array([1.0, 1.0, 2.0])) == [
        (b"c", 2.0),
        (b"b", 1.0),
        (b"a", 1.0),
    ]
