"""Scoring: the same numbers as a slow reference, and the rules that hold for any numbers."""

from math import copysign, isnan, log, nan, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nova.arrays import Floats
from nova.governance.models import Flag
from nova.governance.policy import PACKAGED, Policy, parse_policy
from nova.governance.scoring import (
    FEATURES,
    INPUT_METRICS,
    Scores,
    growth,
    score_channels,
    z_scores,
)

Window = dict[str, Floats]
DAYS = 8


def policy(**changes: Any) -> Policy:
    """Return the packaged policy for a window of eight days, with changes."""
    base = parse_policy(PACKAGED.read_text(), "packaged").model_dump()
    return Policy.model_validate(base | {"window_days": DAYS, "min_days": 2} | changes)


def empty(channels: int) -> Window:
    return {name: np.full((DAYS, channels), nan) for name in INPUT_METRICS}


def window_of(**metrics: Any) -> Window:
    """Return a window with the given metrics, each a list of days of lists of channels."""
    arrays = {name: np.array(values, dtype=np.float64) for name, values in metrics.items()}
    channels = next(iter(arrays.values())).shape[1]
    return empty(channels) | arrays


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Windows of 1 to 6 channels in which any number may be missing."""
    channels = draw(st.integers(1, 6))

    def metric(low: float, high: float) -> Floats:
        numbers = st.just(nan) | st.floats(low, high, allow_subnormal=False)
        array: Floats = draw(hnp.arrays(np.float64, (DAYS, channels), elements=numbers))
        return array

    return {
        name: metric(-1e4 if name == "subscribers" else 0, 100 if name == "ctr" else 1e6).round(3)
        for name in INPUT_METRICS
    }


# --- The slow reference: one channel at a time, one number at a time.


def known(values: Any) -> list[float]:
    return [float(value) for value in values if not isnan(value)]


def average(values: list[float]) -> float:
    return sum(values) / len(values) if values else nan


def reference_features(window: Window, channel: int) -> dict[str, float]:
    column = {name: [float(v) for v in window[name][:, channel]] for name in INPUT_METRICS}
    first = average(known(column["views"][: DAYS // 2]))
    second = average(known(column["views"][DAYS // 2 :]))
    if isnan(first) or isnan(second):
        change = nan
    else:
        change = (second - first) / (second + first) if first + second > 0 else 0.0
    interactions, views = 0.0, 0.0
    for day in range(DAYS):
        given = known([column[name][day] for name in ("likes", "comments", "shares")])
        if given and not isnan(column["views"][day]):
            interactions += sum(given)
            views += column["views"][day]
    return {
        "views": average(known(column["views"])),
        "growth": change,
        "engagement": interactions / views if views > 0 else nan,
        "rpm": average(known(column["rpm"])),
        "click_through": average(known(column["ctr"])),
        "watch_time": average(known(column["watch_hours"])),
        "subscribers": average(known(column["subscribers"])),
    }


def reference_scores(window: Window, rules: Policy) -> list[float]:
    channels = window["views"].shape[1]
    seen = [
        [any(not isnan(window[name][day, c]) for name in INPUT_METRICS) for day in range(DAYS)]
        for c in range(channels)
    ]
    days_with_data = sum(any(seen[c][day] for c in range(channels)) for day in range(DAYS))
    judged = [c for c in range(channels) if sum(seen[c]) >= rules.min_days]
    features = {c: reference_features(window, c) for c in judged}
    total, weight = dict.fromkeys(judged, 0.0), dict.fromkeys(judged, 0.0)
    for name, share in rules.weights:
        scaled = {}
        for c in judged:
            value = features[c][name]
            if name in ("views", "watch_time", "subscribers"):
                value = copysign(log(1 + abs(value)), value)
            if not isnan(value):
                scaled[c] = value
        mean = average(list(scaled.values()))
        deviation = sqrt(average([(value - mean) ** 2 for value in scaled.values()] or [0.0]))
        for c, value in scaled.items():
            alike = deviation <= 1e-12 * max(1.0, abs(mean))
            z = 0.0 if alike else (value - mean) / deviation
            total[c] += share * max(-rules.z_score_limit, min(rules.z_score_limit, z))
            weight[c] += share
    scores = [nan] * channels
    for c in judged:
        if weight[c] == 0:
            continue
        views = known(window["views"][:, c])
        steadiness = 0.0
        if views and sum(views) > 0:
            mean = average(views)
            deviation = sqrt(average([(value - mean) ** 2 for value in views]))
            steadiness = 1 / (1 + deviation / mean)
        presence = sum(seen[c]) / days_with_data
        scores[c] = total[c] / weight[c] + rules.consistency_bonus * presence * steadiness
    return scores


def random_window(seed: int, channels: int = 60) -> Window:
    """Return a window like real ones: heavy tails, missing days, missing metrics."""
    random = np.random.default_rng(seed)
    shape = (DAYS, channels)
    window = {name: random.lognormal(6, 2, shape) for name in INPUT_METRICS}
    window["subscribers"] = random.normal(0, 100, shape)
    window["ctr"] = random.uniform(0, 20, shape)
    absent = random.random(shape) < 0.3
    for name, values in window.items():
        values[absent] = nan
        if name != "views":
            values[:, random.random(channels) < 0.3] = nan
    return window


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_a_slow_plain_python_reference(seed: int) -> None:
    window = random_window(seed)
    rules = policy()
    expected = reference_scores(window, rules)
    assert sum(not isnan(score) for score in expected) > 40, "most channels must be judged"
    np.testing.assert_allclose(score_channels(window, rules).score, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(windows())
def test_any_window_gives_no_warning_and_scores_only_channels_with_something_known(
    window: Window,
) -> None:
    """NaN never leaks: a judged channel has a finite score, and no other channel has one."""
    rules = policy()
    scores = score_channels(window, rules)
    for channel in range(window["views"].shape[1]):
        has_feature = any(not isnan(f.z[channel]) for f in scores.features)
        enough_days = scores.days_seen[channel] >= rules.min_days
        assert bool(np.isfinite(scores.score[channel])) == (has_feature and enough_days)
    assert sorted(scores.ranking) == list(np.flatnonzero(scores.judged))


@settings(max_examples=60, deadline=None)
@given(windows(), st.randoms(use_true_random=False))
def test_the_order_of_the_channels_does_not_matter(window: Window, random: Any) -> None:
    channels = window["views"].shape[1]
    order = list(range(channels))
    random.shuffle(order)
    mixed = {name: values[:, order] for name, values in window.items()}
    before, after = score_channels(window, policy()), score_channels(mixed, policy())
    np.testing.assert_allclose(after.score, before.score[order], rtol=1e-7, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 19), st.floats(1.0, 100.0))
def test_more_of_everything_never_lowers_a_score(seed: int, channel: int, factor: float) -> None:
    """A channel whose views and interactions grow alike keeps its ratios and gains views."""
    window = random_window(seed, channels=20)
    more = {name: values.copy() for name, values in window.items()}
    for name in ("views", "likes", "comments", "shares"):
        more[name][:, channel] *= factor
    before = score_channels(window, policy()).score[channel]
    after = score_channels(more, policy()).score[channel]
    assert isnan(before) == isnan(after)
    assert isnan(before) or after >= before - 1e-9


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int64, st.integers(2, 20), elements=st.integers(-1000, 1000)),
    st.floats(-1e3, 1e3),
    st.floats(0.01, 100.0),
)
def test_z_scores_do_not_change_with_the_unit(integers: Any, shift: float, factor: float) -> None:
    values = integers.astype(np.float64)
    everyone = np.ones(len(values), dtype=np.bool_)
    moved = z_scores(values * factor + shift, everyone)
    np.testing.assert_allclose(moved, z_scores(values, everyone), atol=1e-5)


def test_z_scores_of_equal_values_are_zero_even_if_their_mean_is_rounded() -> None:
    values = np.full(3, 0.1)  # the sum of three 0.1, divided by 3, is not 0.1
    assert values.mean() != 0.1, "otherwise this proves nothing"
    assert z_scores(values, np.ones(3, dtype=np.bool_)).tolist() == [0.0, 0.0, 0.0]


def test_an_unjudged_channel_does_not_move_the_average_of_the_others() -> None:
    views = [[100.0, 200.0, nan]] * DAYS
    alone = score_channels(window_of(views=views), policy())
    views[0] = [100.0, 200.0, 1e9]
    with_newcomer = score_channels(window_of(views=views), policy())
    assert with_newcomer.score[:2].tolist() == alone.score[:2].tolist()
    assert isnan(with_newcomer.score[2])
    assert with_newcomer.reasons(2) == ["seen on 1 of 8 days, fewer than 2: not judged"]


def test_an_ignored_channel_is_left_out_of_the_averages_too() -> None:
    three = window_of(views=[[100.0, 200.0, 1e9]] * DAYS)
    two = window_of(views=[[100.0, 200.0]] * DAYS)
    ignored = np.array([False, False, True])
    scores = score_channels(three, policy(), ignored)
    assert scores.score[:2].tolist() == score_channels(two, policy()).score.tolist()
    assert not scores.judged[2]


def test_a_metric_that_a_channel_lacks_gives_its_weight_to_the_others() -> None:
    """Without RPM the score is the mean of views alone, not pulled towards 0."""
    rpm = [[1.0, 2.0, nan]] * DAYS
    weights = dict.fromkeys((feature.name for feature in FEATURES), 0.0)
    rules = policy(weights=weights | {"views": 1.0, "rpm": 1.0}, consistency_bonus=0.0)
    scores = score_channels(window_of(views=[[1.0, 10.0, 100.0]] * DAYS, rpm=rpm), rules)
    assert scores.score[2] == scores.features[0].z[2]


def test_a_z_score_beyond_the_limit_counts_as_the_limit() -> None:
    views = [[10.0] * 19 + [1e6]] * DAYS
    rules = policy(consistency_bonus=0.0, z_score_limit=2.0)
    scores = score_channels(window_of(views=views), rules)
    found = scores.features[0]
    assert found.z[19] > 4
    # Growth is known too, 0 for all; of the score only the views' part remains.
    weights = rules.weights
    assert scores.score[19] == pytest.approx(2 * weights.views / (weights.views + weights.growth))
    assert "counted as 2.00" in scores.reasons(19)[0]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(100, 100, 0), (100, 200, 1 / 3), (200, 100, -1 / 3), (0, 50, 1), (50, 0, -1), (0, 0, 0)],
)
def test_growth_compares_the_halves_and_stays_within_one(
    first: float, second: float, expected: float
) -> None:
    views = np.array([[first], [first], [second], [second]], dtype=np.float64)
    assert growth(views) == pytest.approx(expected)


def test_growth_is_not_known_from_one_half() -> None:
    assert isnan(growth(np.array([[nan], [nan], [5.0], [5.0]]))[0])


def test_steady_views_earn_the_whole_bonus_and_gaps_a_part() -> None:
    views = np.full((DAYS, 3), 100.0)
    views[::2, 1] = nan
    views[::2, 2] = 300.0
    consistency = score_channels(window_of(views=views.tolist()), policy()).consistency
    assert consistency.tolist() == pytest.approx([1.0, 0.5, 1 / 1.5])


def test_a_channel_without_views_earns_no_bonus() -> None:
    consistency = score_channels(window_of(views=[[0.0, 5.0]] * DAYS), policy()).consistency
    assert consistency.tolist() == [0.0, 1.0]


def test_a_score_on_a_threshold_has_its_flag_and_one_between_has_none() -> None:
    weights = dict.fromkeys((feature.name for feature in FEATURES), 0.0) | {"rpm": 1.0}
    window = window_of(rpm=[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] * DAYS)
    scores = score_channels(window, policy(weights=weights)).score.tolist()
    thresholds = {"promote": scores[4], "watch": scores[2], "retire": scores[1]}
    found = score_channels(window, policy(weights=weights, thresholds=thresholds))
    assert [found.flag(channel) for channel in range(6)] == [
        Flag.RETIRE,
        Flag.RETIRE,
        Flag.WATCH,
        Flag.NONE,
        Flag.PROMOTE,
        Flag.PROMOTE,
    ]


def test_ties_are_ranked_in_the_order_of_the_channels() -> None:
    scores = score_channels(window_of(views=[[5.0, 9.0] * 50] * DAYS), policy())
    assert scores.ranking.tolist() == [*range(1, 100, 2), *range(0, 100, 2)]


def add_up(scores: Scores, channel: int) -> float:
    """Compute a channel's score from the numbers in its reasons, as a reader would."""
    total = 0.0
    for line in scores.reasons(channel):
        if "(weight " in line:
            weight = float(line.rpartition("(weight ")[2].rstrip(")"))
            place = line.rpartition(": ")[2]
            if place.startswith("average"):
                continue
            counted = place.rpartition("counted as ")[2] if "counted as" in place else place
            size = float(counted.split()[0])
            total += weight * (size if " above " in place else -size)
        elif "bonus " in line:
            total += float(line.partition("bonus ")[2].split()[0])
    return total


def test_the_numbers_in_the_reasons_add_up_to_the_score() -> None:
    scores = score_channels(random_window(3), policy())
    for channel in scores.ranking.tolist():
        assert add_up(scores, channel) == pytest.approx(scores.score[channel], abs=0.06)
        assert f"score {scores.score[channel]:.3f}" in scores.reasons(channel)[-1]


def test_reasons_say_what_how_far_from_whom_and_with_what_weight() -> None:
    views = [[1_000.0, 84_120.0, 2_000.0]] * DAYS
    reasons = score_channels(window_of(views=views), policy()).reasons(1)
    assert reasons == [
        "views 84,120 a day: 1.40 standard deviations above average (weight 0.60)",
        "growth +0% from the first to the second half: average (weight 0.40)",
        "consistency 1.00, seen on 8 of 8 days with data: bonus 0.20 of at most 0.20",
        "score 1.040 reaches the promote threshold 1.000",
    ]


def test_a_window_without_channels_gives_no_scores() -> None:
    scores = score_channels(empty(0), policy())
    assert scores.ranking.tolist() == []
