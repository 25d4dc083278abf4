"""A day beside the one before: changes, movers and outliers."""

from datetime import date

import numpy as np
import pytest

from nova.analytics.comparison import Comparison
from nova.analytics.days import Day
from nova.arrays import Floats
from nova.channels import METRIC_NAMES

TODAY = date(2026, 3, 28)


def metrics(**columns: list[float]) -> Floats:
    """Metrics of channels: metric -> one value for each; the others are not known."""
    rows = len(next(iter(columns.values())))
    found = np.full((rows, len(METRIC_NAMES)), np.nan)
    for name, values in columns.items():
        found[:, METRIC_NAMES.index(name)] = values
    return found


def day(channels: list[bytes], values: Floats) -> Day:
    return Day(TODAY, channels, values, {}, set())


def test_changes_are_those_of_channels_seen_on_both_days() -> None:
    """`a` 100 -> 150 and `b` 10 -> 5: +50 % and -50 %, middle 0; `c` is new and `z` is gone."""
    today = day([b"a", b"b", b"c"], metrics(views=[150, 5, 7], ctr=[4, np.nan, 8]))
    yesterday = metrics(views=[1000, 10, 100], ctr=[1, 2, 2])
    found = Comparison.of(today, [b"z", b"b", b"a"], yesterday)
    views, ctr = found.changes()
    assert (views.metric, views.channels, views.before, views.now) == ("views", 2, 110, 155)
    assert views.median_percent == pytest.approx(0)
    assert (ctr.metric, ctr.channels, ctr.before, ctr.now) == ("ctr", 1, 2, 4)
    rises, falls = found.movers()
    assert [(mover.channel, mover.before, mover.now) for mover in rises] == [("a", 100, 150)]
    assert [(mover.channel, mover.before, mover.now) for mover in falls] == [("b", 10, 5)]


def test_growth_from_nothing_has_no_percent() -> None:
    [change] = Comparison.of(day([b"a"], metrics(views=[9])), [b"a"], metrics(views=[0])).changes()
    assert (change.now, change.median_percent) == (9, None)


def test_a_channel_that_jumps_is_an_outlier_of_change_and_not_of_level() -> None:
    """Twenty channels over three powers of ten gain some percent; one of the middle ten times."""
    channels = [f"c{number:02}".encode() for number in range(20)]
    before = np.logspace(3, 6, 20)
    now = before * np.linspace(1.01, 1.1, 20)
    now[10] = before[10] * 10
    found, unjudged = Comparison.of(
        day(channels, metrics(views=now.tolist())), channels, metrics(views=before.tolist())
    ).outliers()
    assert [(outlier.channel, outlier.kind) for outlier in found] == [("c10", "change")]
    assert (found[0].before, found[0].value) == (before[10], now[10])
    assert unjudged == []


def test_a_channel_far_above_all_others_is_an_outlier_of_level() -> None:
    channels = [f"c{number:02}".encode() for number in range(12)]
    today = day(channels, metrics(views=[*range(100, 111), 1e9]))
    found, _ = Comparison.of(today, [], metrics(views=[])).outliers()
    assert [(outlier.channel, outlier.kind) for outlier in found] == [("c11", "level")]
    assert found[0].score > 100


def test_where_no_outlier_can_be_sought_the_report_says_so() -> None:
    """Three channels are too few, and their changes too; what nobody has is not mentioned."""
    channels = [b"a", b"b", b"c"]
    today = day(channels, metrics(views=[4, 5, 6], likes=[1, 2, 3]))
    found, unjudged = Comparison.of(today, channels, metrics(likes=[1, 1, 1])).outliers()
    assert found == []
    assert [(left.what, left.count) for left in unjudged] == [
        ("metrics' levels (views, likes)", 2),
        ("metrics' changes (likes)", 1),
    ]
