"""What stands out on a day: changes from the day before, and channels far from the others.

Outliers are sought in each metric twice: in the day's values (`level`), and in how they changed
from the day before (`change`). Both on a logarithmic scale, for a few channels have a thousand
times what the others have, and a plain scale would call each of those an outlier.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nova.analytics.days import Day
from nova.analytics.measures import OUTLIER_SCORE, modified_z_scores
from nova.analytics.models import Change, Mover, Outlier
from nova.arrays import Floats, signed_log
from nova.channels import METRIC_NAMES, METRICS
from nova.reports import Omission

#: Channels that a report names of each kind.
MOVERS = 5
OUTLIERS = 20
VIEWS = METRIC_NAMES.index("views")


@dataclass(frozen=True)
class Comparison:
    """A day beside the one before."""

    day: Day
    #: Metrics of the day before, in the rows of the day's channels; NaN where not known.
    before: Floats

    @classmethod
    def of(cls, day: Day, channels: Sequence[bytes], metrics: Floats) -> "Comparison":
        """Line the channels and metrics of the day before up with those of the day."""
        row_of = {channel: row for row, channel in enumerate(channels)}
        rows = np.array([row_of.get(channel, -1) for channel in day.channels], np.intp)
        before = np.full(day.metrics.shape, np.nan)
        before[rows >= 0] = metrics[rows[rows >= 0]]
        return cls(day, before)

    def changes(self) -> Iterator[Change]:
        """Yield the change of each metric that some channel has on both days."""
        for metric, name in enumerate(METRIC_NAMES):
            both, before, now = self._both(metric)
            if not len(both):
                continue
            grown = before > 0
            relative = (now[grown] - before[grown]) / before[grown] * 100
            summary = np.mean if METRICS[metric].is_ratio else np.sum
            yield Change(
                metric=name,
                channels=len(both),
                before=float(summary(before)),
                now=float(summary(now)),
                median_percent=float(np.median(relative)) if len(relative) else None,
            )

    def movers(self) -> tuple[list[Mover], list[Mover]]:
        """Return the channels whose views rose most, and those whose views fell most."""
        both, before, now = self._both(VIEWS)
        order = np.argsort(before - now, kind="stable")
        rises = [row for row in order[:MOVERS] if now[row] > before[row]]
        falls = [row for row in order[::-1][:MOVERS] if now[row] < before[row]]

        def mover(row: int) -> Mover:
            channel = self.day.channels[both[row]].decode()
            numbers = {"before": float(before[row]), "now": float(now[row])}
            return Mover(channel=channel, metric="views", **numbers)

        return [mover(row) for row in rises], [mover(row) for row in falls]

    def outliers(self) -> tuple[list[Outlier], list[Omission]]:
        """Return the outliers, the farthest first, and where none could be sought."""
        found: list[Outlier] = []
        omissions: list[Omission] = []
        for what, seek in (("levels", self._levels), ("changes", self._changes)):
            unjudged: list[str] = []
            for metric, name in enumerate(METRIC_NAMES):
                outliers = seek(metric)
                if outliers is None:
                    unjudged.append(name)
                else:
                    found += outliers
            if unjudged:
                omissions.append(_omission(what, unjudged))
        found.sort(key=lambda outlier: (-abs(outlier.score), outlier.channel, outlier.metric))
        return found, omissions

    def _levels(self, metric: int) -> list[Outlier] | None:
        """Return the outliers among a metric's values; None where they cannot be judged."""
        values = self.day.metrics[:, metric]
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            return []
        scores = modified_z_scores(signed_log(values[known]))
        if scores is None:
            return None
        return [
            Outlier(
                channel=self.day.channels[known[place]].decode(),
                metric=METRIC_NAMES[metric],
                kind="level",
                value=float(values[known[place]]),
                score=float(scores[place]),
            )
            for place in _beyond(scores)
        ]

    def _changes(self, metric: int) -> list[Outlier] | None:
        """Return the outliers among a metric's changes; None where they cannot be judged."""
        both, before, now = self._both(metric)
        if not len(both):
            return []
        scores = modified_z_scores(signed_log(now) - signed_log(before))
        if scores is None:
            return None
        return [
            Outlier(
                channel=self.day.channels[both[place]].decode(),
                metric=METRIC_NAMES[metric],
                kind="change",
                value=float(now[place]),
                before=float(before[place]),
                score=float(scores[place]),
            )
            for place in _beyond(scores)
        ]

    def _both(self, metric: int) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Return the rows that know a metric on both days, and its values on each."""
        before, now = self.before[:, metric], self.day.metrics[:, metric]
        both = np.flatnonzero(~np.isnan(before) & ~np.isnan(now))
        return both, before[both], now[both]


def _beyond(scores: Floats) -> list[int]:
    places: list[int] = np.flatnonzero(np.abs(scores) > OUTLIER_SCORE).tolist()
    return places


def _omission(what: str, metrics: Sequence[str]) -> Omission:
    return Omission(
        what=f"metrics' {what} ({', '.join(metrics)})",
        reason="no outliers sought: too few channels, or more than half of them are alike",
        count=len(metrics),
    )
