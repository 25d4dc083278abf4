"""The records of channel metrics survive packing, and older and newer releases' records too."""

import struct
from datetime import date
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.channels import METRIC_NAMES, METRICS, day_score, pack, pack_row, unpack_many
from nova.errors import InputError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def test_the_first_ten_metrics_keep_their_places() -> None:
    """Records in Redis are read by position, so the order may never change."""
    assert METRIC_NAMES[:10] == (
        "views",
        "likes",
        "comments",
        "shares",
        "subscribers",
        "watch_hours",
        "impressions",
        "ctr",
        "rpm",
        "revenue",
    )


@given(st.lists(st.dictionaries(st.sampled_from(METRIC_NAMES), NUMBERS), max_size=8))
def test_unpack_gives_back_what_was_packed(records: list[dict[str, float]]) -> None:
    """Known metrics come back bit for bit, unknown ones as NaN, in the order given."""
    table = unpack_many([pack(record) for record in records])
    assert table.shape == (len(records), len(METRICS))
    for row, record in zip(table, records, strict=True):
        for name, value in zip(METRIC_NAMES, row, strict=True):
            assert value == record[name] if name in record else isnan(value)


def test_pack_row_equals_pack() -> None:
    """Both ways to pack give the same bytes, so that equal data compares equal in Redis."""
    row = [1.0, None, 3.5, None, -2.0, None, None, 4.2, None, None]
    named = {n: v for n, v in zip(METRIC_NAMES, row, strict=True) if v is not None}
    assert pack_row(row) == pack(named)


def test_pack_refuses_an_unknown_metric() -> None:
    """A misspelt metric is an error that names it, not a number that vanishes."""
    with pytest.raises(InputError, match="unknown metric view; known are views, likes"):
        pack({"view": 1.0})


def test_a_shorter_record_is_padded_and_a_longer_one_cut() -> None:
    """Records of an older and of a newer release are readable side by side."""
    short = struct.pack("<2d", 7.0, 8.0)
    long = struct.pack(f"<{len(METRICS) + 2}d", *range(len(METRICS) + 2))
    table = unpack_many([short, pack({"views": 1.0}), long])
    np.testing.assert_array_equal(table[0], [7.0, 8.0] + [nan] * (len(METRICS) - 2))
    assert table[1, 0] == 1.0
    np.testing.assert_array_equal(table[2], np.arange(len(METRICS), dtype=float))


def test_no_records_give_an_empty_table() -> None:
    """A day without channels still has the right number of columns."""
    assert unpack_many([]).shape == (0, len(METRICS))


@given(st.dates(), st.dates())
def test_day_scores_sort_like_days(one: date, other: date) -> None:
    """Redis orders days by score; the score of 1 March 2026 is 20260301."""
    assert (day_score(one) < day_score(other)) == (one < other)
    assert day_score(date(2026, 3, 1)) == 20260301
