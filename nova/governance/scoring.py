"""Scores channels. Plain NumPy on arrays: no Redis, no files, no clock.

A window is a mapping of metric name -> array of shape (days, channels), NaN where a metric is
not known. Day 0 is the oldest. One array per metric keeps each in one piece of memory, which is
what the sums over days read.

For every channel c:

    feature   one number per scored metric, over the days of the window (see FEATURES)
    z         (scale(feature) - mean) / standard deviation, over the judged channels that have
              the feature; 0 where they are all alike; clipped to +-z_score_limit
    score     sum(weight * z) / sum(weight), over the features the channel has
              + consistency_bonus * consistency
    consistency   presence * steadiness, 0 to 1: the share of the window's days with data on
              which the channel was seen, times 1 / (1 + std / mean) of its daily views

The work grows linearly with days * channels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nova.arrays import Bools, Floats, ratio, signed_log
from nova.governance.models import Flag
from nova.governance.policy import Policy, Thresholds

#: Metric name -> (days, channels).
WindowArrays = Mapping[str, Floats]

#: Metrics of nova.channels that scoring reads.
INPUT_METRICS = (
    "views",
    "likes",
    "comments",
    "shares",
    "subscribers",
    "watch_hours",
    "ctr",
    "rpm",
)
FLAGS = (Flag.PROMOTE, Flag.RETIRE, Flag.WATCH, Flag.NONE)
INTERACTIONS = ("likes", "comments", "shares")


@dataclass(frozen=True)
class Feature:
    """One scored metric: how it is measured, compared, and told to people."""

    #: Also the name of its weight in the policy.
    name: str
    #: Window -> one number per channel in the unit people know, NaN where it is not known.
    measure: Callable[[WindowArrays], Floats]
    #: Puts the numbers on the axis on which channels are compared.
    scale: Callable[[Floats], Floats]
    describe: Callable[[float], str]


def mean_over_days(values: Floats) -> Floats:
    """Return each channel's mean over the days on which the value is known, else NaN.

    `values` has the shape (days, channels).
    """
    known = ~np.isnan(values)
    return ratio(np.sum(values, axis=0, where=known), known.sum(axis=0, dtype=np.float64))


def growth(views: Floats) -> Floats:
    """Return (second - first) / (second + first) of the mean daily views of the window's halves.

    Lies between -1 and 1 whatever the numbers are, so one channel that starts from nothing
    cannot stretch the scale for all others: 1/3 means twice the views, -1/3 half of them. 0
    when there were no views at all, NaN when the channel was seen in one half only. Of an odd
    number of days the middle one belongs to the second half.
    """
    middle = len(views) // 2
    first, second = mean_over_days(views[:middle]), mean_over_days(views[middle:])
    change = ratio(second - first, second + first)
    return np.where((first == 0) & (second == 0), 0.0, change)


def engagement(window: WindowArrays) -> Floats:
    """Return likes, comments and shares per view, over the days with known views.

    Those of the three that are not known count nothing; NaN when none of them is known on any
    such day, or there were no views.
    """
    views = window["views"]
    interactions = np.zeros(views.shape[1])
    views_with_any = np.zeros(views.shape)
    for name in INTERACTIONS:
        known = ~(np.isnan(window[name]) | np.isnan(views))
        interactions += np.sum(window[name], axis=0, where=known)
        np.copyto(views_with_any, views, where=known)
    return ratio(interactions, views_with_any.sum(axis=0))


def _same(values: Floats) -> Floats:
    return values


def _describe_growth(value: float) -> str:
    if value >= 1:
        return "growth from no views at all"
    return f"growth {2 * value / (1 - value):+,.0%} from the first to the second half"


FEATURES: tuple[Feature, ...] = (
    Feature(
        "views",
        lambda window: mean_over_days(window["views"]),
        signed_log,
        "views {:,.0f} a day".format,
    ),
    Feature("growth", lambda window: growth(window["views"]), _same, _describe_growth),
    Feature("engagement", engagement, _same, "engagement {:.2%} (interactions per view)".format),
    Feature("rpm", lambda window: mean_over_days(window["rpm"]), _same, "RPM {:,.2f} USD".format),
    Feature(
        "click_through",
        lambda window: mean_over_days(window["ctr"]),
        _same,
        "click-through {:.2f} %".format,
    ),
    Feature(
        "watch_time",
        lambda window: mean_over_days(window["watch_hours"]),
        signed_log,
        "watch time {:,.1f} hours a day".format,
    ),
    Feature(
        "subscribers",
        lambda window: mean_over_days(window["subscribers"]),
        signed_log,
        "subscribers {:+,.1f} a day".format,
    ),
)


@dataclass(frozen=True)
class FeatureScores:
    """One scored metric for all channels; arrays of shape (channels,)."""

    feature: Feature
    weight: float
    #: In the unit people know; NaN where not known.
    values: Floats
    #: Standard deviations from the average before clipping; NaN where not known or not judged.
    z: Floats
    #: Judged channels that have it.
    population: int


@dataclass(frozen=True)
class Scores:
    """What scoring found; arrays of shape (channels,)."""

    policy: Policy
    #: Days of the window on which anything is known of any channel.
    days_with_data: int
    days_seen: NDArray[np.int64]
    features: tuple[FeatureScores, ...]
    #: Sum of the weights of the metrics that the channel has.
    weight: Floats
    consistency: Floats
    #: NaN where the channel is not judged.
    score: Floats
    judged: Bools
    #: Best first, ties in the order of the channels; indexes of the judged channels.
    ranking: NDArray[np.intp]
    #: Index into FLAGS; that of `none` where the channel is not judged.
    flag_codes: NDArray[np.int64]

    def flag(self, channel: int) -> Flag:
        """Return the flag of one channel."""
        return FLAGS[self.flag_codes[channel]]

    def reasons(self, channel: int) -> list[str]:
        """Return why a channel has its flag, in lines whose numbers add up to its score."""
        if not self.judged[channel]:
            return [self._why_not_judged(channel)]
        lines = list(self._metric_reasons(channel))
        lines.append(self._consistency_reason(channel))
        lines.append(self._threshold_reason(channel))
        return lines

    def _why_not_judged(self, channel: int) -> str:
        seen, least = int(self.days_seen[channel]), self.policy.min_days
        if seen < least:
            window = self.policy.window_days
            return f"seen on {seen} of {window} days, fewer than {least}: not judged"
        return "none of the scored metrics is known: not judged"

    def _metric_reasons(self, channel: int) -> Iterator[str]:
        """Yield the metrics that the channel has, the one that moves the score most first."""
        limit = self.policy.z_score_limit
        known = [f for f in self.features if f.weight > 0 and not np.isnan(f.z[channel])]
        known.sort(key=lambda f: -f.weight * min(abs(f.z[channel]), limit))
        for found in known:
            share = found.weight / self.weight[channel]
            place = _describe_z(float(found.z[channel]), limit)
            what = found.feature.describe(float(found.values[channel]))
            yield f"{what}: {place} (weight {share:.2f})"

    def _consistency_reason(self, channel: int) -> str:
        part, most = float(self.consistency[channel]), self.policy.consistency_bonus
        seen = f"seen on {self.days_seen[channel]} of {self.days_with_data} days with data"
        return f"consistency {part:.2f}, {seen}: bonus {part * most:.2f} of at most {most:.2f}"

    def _threshold_reason(self, channel: int) -> str:
        flag, thresholds = self.flag(channel), self.policy.thresholds
        said = f"score {self.score[channel]:.3f}"
        if flag is Flag.NONE:
            return (
                f"{said} lies between the watch threshold {thresholds.watch:.3f} "
                f"and the promote threshold {thresholds.promote:.3f}"
            )
        limit = getattr(thresholds, flag.value)
        verb = "reaches" if flag is Flag.PROMOTE else "is at or below"
        return f"{said} {verb} the {flag.value} threshold {limit:.3f}"


def score_channels(window: WindowArrays, policy: Policy, ignored: Bools | None = None) -> Scores:
    """Score the channels of a window.

    Args:
        window: metric name -> array of shape (policy.window_days, channels); all of
            INPUT_METRICS, NaN where not known.
        policy: weights, limits and thresholds.
        ignored: shape (channels,); True leaves a channel out, of the averages too.
    """
    present = _present(window)
    days_seen = present.sum(axis=0)
    days_with_data = int(present.any(axis=1).sum())
    candidates = days_seen >= policy.min_days
    if ignored is not None:
        candidates &= ~ignored
    features = tuple(
        _score_feature(feature, getattr(policy.weights, feature.name), window, candidates)
        for feature in FEATURES
    )
    weighted, weight = _weighted_sum(features, policy.z_score_limit)
    consistency = _consistency(window["views"], days_seen, days_with_data)
    score = ratio(weighted, weight) + policy.consistency_bonus * consistency
    score[~candidates] = np.nan
    judged = ~np.isnan(score)
    indexes = np.flatnonzero(judged)
    return Scores(
        policy=policy,
        days_with_data=days_with_data,
        days_seen=days_seen,
        features=features,
        weight=weight,
        consistency=consistency,
        score=score,
        judged=judged,
        # A stable sort keeps ties in the order of the channels.
        ranking=indexes[np.argsort(-score[indexes], kind="stable")],
        flag_codes=_flag_codes(score, policy.thresholds),
    )


def z_scores(values: Floats, population: Bools) -> Floats:
    """Return standard deviations from the average of the population's known values.

    NaN outside the population and where the value is not known; 0 where all are alike.
    """
    known = population & np.isfinite(values)
    result = np.full(values.shape, np.nan)
    if not known.any():
        return result
    chosen = values[known]
    mean, deviation = chosen.mean(), chosen.std()
    # Equal numbers differ from their rounded mean by an ulp; that is no deviation.
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        result[known] = 0.0
    else:
        result[known] = (chosen - mean) / deviation
    return result


def _present(window: WindowArrays) -> Bools:
    """Return on which days anything is known of a channel, shape (days, channels)."""
    present = np.zeros(window["views"].shape, dtype=np.bool_)
    for values in window.values():
        present |= ~np.isnan(values)
    return present


def _score_feature(
    feature: Feature, weight: float, window: WindowArrays, candidates: Bools
) -> FeatureScores:
    values = feature.measure(window)
    z = z_scores(feature.scale(values), candidates)
    return FeatureScores(feature, weight, values, z, int((~np.isnan(z)).sum()))


def _weighted_sum(features: tuple[FeatureScores, ...], limit: float) -> tuple[Floats, Floats]:
    """Return sum(weight * clipped z) and sum(weight) over the features each channel has."""
    total = np.zeros(features[0].z.shape)
    weight = np.zeros_like(total)
    for found in features:
        known = ~np.isnan(found.z)
        total[known] += found.weight * np.clip(found.z[known], -limit, limit)
        weight[known] += found.weight
    return total, weight


def _consistency(views: Floats, days_seen: NDArray[np.int64], days_with_data: int) -> Floats:
    """Return presence * steadiness, 0 to 1; 0 for a channel without views."""
    mean = mean_over_days(views)
    variance = mean_over_days((views - mean) ** 2)
    variation = ratio(np.sqrt(variance), mean)
    steadiness = np.where(np.isnan(variation), 0.0, 1.0 / (1.0 + variation))
    return steadiness * days_seen / max(days_with_data, 1)


def _flag_codes(score: Floats, thresholds: Thresholds) -> NDArray[np.int64]:
    reached = [
        score >= thresholds.promote,
        score <= thresholds.retire,
        score <= thresholds.watch,
    ]
    return np.select(reached, [0, 1, 2], default=3)


def _describe_z(z: float, limit: float) -> str:
    if abs(z) < 0.005:
        return "average"
    counted = f", counted as {limit:.2f}" if abs(z) > limit else ""
    return f"{abs(z):.2f} standard deviations {'above' if z > 0 else 'below'} average{counted}"
