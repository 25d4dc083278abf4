"""Aggregates of many channels or categories, kept up by adding days or other aggregates.

An aggregate is four numbers for each metric of nova.channels: on how many days it is known, its
total, its lowest and its highest value. Adding aggregates up is the same as aggregating the days
of both together, whichever way the days are grouped. Totals are float64, so that holds to the last
bit for counts; of fractional metrics only for the same grouping and order.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import numpy as np

from nova.analytics.models import Measure, MetricAggregate
from nova.arrays import Floats, ratio
from nova.channels import METRIC_NAMES, METRICS

#: Places of the four numbers.
KNOWN, TOTAL, LOW, HIGH = range(4)
#: The aggregate of no day: adding it changes nothing.
NOTHING = np.array([0.0, 0.0, np.inf, -np.inf])

_RECORD_BYTES = len(METRICS) * len(NOTHING) * 8


def of_one_day(metrics: Floats) -> Floats:
    """Return the aggregates of one day's metrics, shape (n, metrics) -> (n, metrics, 4)."""
    # Without negative zeros, whose sums and extremes would depend on the order.
    metrics = metrics + 0.0
    known = ~np.isnan(metrics)
    columns = (
        known.astype(np.float64),
        np.where(known, metrics, 0.0),
        np.where(known, metrics, np.inf),
        np.where(known, metrics, -np.inf),
    )
    return np.stack(columns, axis=-1)


def summed(values: Floats) -> Floats:
    """Return the aggregate of all rows, shape (n, metrics, 4) -> (metrics, 4)."""
    return np.stack(
        (
            values[..., KNOWN].sum(axis=0),
            values[..., TOTAL].sum(axis=0),
            values[..., LOW].min(axis=0, initial=np.inf),
            values[..., HIGH].max(axis=0, initial=-np.inf),
        ),
        axis=-1,
    )


class Totals:
    """Aggregates by name."""

    def __init__(self) -> None:
        # Numbers a name when it is first met; as fast as a lookup, millions of which follow.
        self._row_of: defaultdict[bytes, int] = defaultdict(count().__next__)
        #: Shape (names, metrics, 4).
        self.values: Floats = _nothing(0)

    @property
    def names(self) -> list[bytes]:
        """Names in the order of the rows of `values`."""
        return list(self._row_of)

    def add(self, names: Sequence[bytes], values: Floats) -> None:
        """Add aggregates, shape (len(names), metrics, 4), to those of their names.

        No name may be there twice.
        """
        rows = np.fromiter(map(self._row_of.__getitem__, names), np.intp, len(names))
        new = len(self._row_of) - len(self.values)
        if new == len(names):
            self.values = np.concatenate((self.values, values))
            return
        if new:
            self.values = np.concatenate((self.values, _nothing(new)))
        # Column by column: a copy of all four would double the memory.
        for column, combine in (
            (KNOWN, np.add),
            (TOTAL, np.add),
            (LOW, np.minimum),
            (HIGH, np.maximum),
        ):
            self.values[rows, :, column] = combine(
                self.values[rows, :, column], values[..., column]
            )

    def add_records(self, records: Mapping[bytes, bytes]) -> None:
        """Add packed aggregates."""
        self.add(list(records), unpack_many(list(records.values())))

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Return each name with its packed aggregate."""
        rows = np.ascontiguousarray(self.values, "<f8").reshape(-1, _RECORD_BYTES // 8)
        # As opaque bytes, of which NumPy makes a list faster than Python could cut them.
        return zip(self._row_of, rows.view(f"V{_RECORD_BYTES}").ravel().tolist(), strict=True)

    def measured(self, metric: int) -> Floats:
        """Return each row's number of a metric, as `measured` says."""
        return measured(metric, self.values[:, metric])


def measure_of(metric: int) -> Measure:
    """Return which number of a metric ranks names and is compared."""
    return "mean" if METRICS[metric].is_ratio else "total"


def measured(metric: int, aggregates: Floats) -> Floats:
    """Return total or mean of one metric's aggregates, shape (n, 4) -> (n,); NaN if not known."""
    known, total = aggregates[:, KNOWN], aggregates[:, TOTAL]
    if METRICS[metric].is_ratio:
        return ratio(total, known)
    return np.where(known > 0, total, np.nan)


def unpack_many(records: Sequence[bytes]) -> Floats:
    """Return packed aggregates, shape (len(records), metrics, 4).

    A record of an older release is shorter, and knows nothing of newer metrics; one of a newer
    release is longer and cut.
    """
    if set(map(len, records)) - {_RECORD_BYTES}:
        missing = _nothing(1).astype("<f8").tobytes()
        records = [(record + missing[len(record) :])[:_RECORD_BYTES] for record in records]
    flat = np.frombuffer(b"".join(records), "<f8")
    return flat.reshape(len(records), len(METRICS), len(NOTHING))


def describe(aggregates: Floats) -> Iterator[tuple[int, MetricAggregate]]:
    """Yield each metric that is known in one name's aggregates, shape (metrics, 4)."""
    for metric, (known, total, low, high) in enumerate(aggregates.tolist()):
        if known:
            yield (
                metric,
                MetricAggregate(
                    metric=METRIC_NAMES[metric],
                    days=int(known),
                    total=total,
                    mean=total / known,
                    low=low,
                    high=high,
                ),
            )


def _nothing(rows: int) -> Floats:
    return np.tile(NOTHING, (rows, len(METRICS), 1))
