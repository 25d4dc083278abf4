"""The aggregates of spans in Redis: loaded, kept up, and put together for the commit.

Beside the aggregates of a span lies its state: which parts they rest on, days or months, and which
version of each. As long as those are the first of the parts that there are now, the others are
added on top; if not, the span is made anew from its parts. Both add the same parts in the same
order, and so give the same bytes.

What metric days past their retention left in a span stays in it. Such a span cannot be made anew:
when another of its days changes, it keeps the old numbers of that day, and the report says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import blake2b
from typing import cast

import numpy as np
import redis

from nova.analytics.boards import best
from nova.analytics.days import Day
from nova.analytics.measures import percentiles
from nova.analytics.models import Distribution, Part, Period, SpanState
from nova.analytics.spans import Span
from nova.analytics.totals import Totals, measure_of
from nova.channels import METRIC_NAMES
from nova.staging import Staging
from nova.store import Keys


@dataclass
class Aggregate:
    """The aggregates of a span's channels and categories."""

    channels: Totals = field(default_factory=Totals)
    categories: Totals = field(default_factory=Totals)
    first_day: date = date.max
    last_day: date = date.min
    days: int = 0
    rows: int = 0
    rows_without_category: int = 0

    def add_day(self, day: Day) -> None:
        """Add a day."""
        self.channels.add(day.channels, day.aggregates)
        for number, aggregate in day.by_category():
            self.categories.add([number], aggregate[np.newaxis])
        self._count(day.day, day.day, 1, len(day.channels), day.without_category)

    def add(self, other: "Aggregate") -> None:
        """Add another aggregate."""
        self.channels.add(other.channels.names, other.channels.values)
        self.categories.add(other.categories.names, other.categories.values)
        unknown = other.rows_without_category
        self._count(other.first_day, other.last_day, other.days, other.rows, unknown)

    def _count(self, first: date, last: date, days: int, rows: int, unknown: int) -> None:
        self.first_day = min(self.first_day, first)
        self.last_day = max(self.last_day, last)
        self.days += days
        self.rows += rows
        self.rows_without_category += unknown

    def distributions(self) -> Iterator[Distribution]:
        """Yield how each metric that any channel has is spread over the channels."""
        for metric, name in enumerate(METRIC_NAMES):
            values = self.channels.measured(metric)
            # Sorted, or the mean would depend on the order of the channels in its last bit.
            values = np.sort(values[~np.isnan(values)])
            if len(values):
                yield Distribution(
                    metric=name,
                    measure=measure_of(metric),
                    channels=len(values),
                    mean=float(values.mean()),
                    low=float(values.min()),
                    percentiles=dict(percentiles(values)),
                    high=float(values.max()),
                )

    def state(self, parts: Sequence[Part]) -> SpanState:
        """Return what lies beside the aggregates."""
        return SpanState(
            parts=list(parts),
            first_day=self.first_day,
            last_day=self.last_day,
            days=self.days,
            channels=len(self.channels.values),
            rows=self.rows,
            rows_without_category=self.rows_without_category,
            distributions=list(self.distributions()),
        )


def read_state(client: redis.Redis, key: str) -> SpanState | None:
    """Return the state of a span, None if there is none."""
    stored = cast(bytes | None, client.get(Keys.analytics_state(key)))
    return None if stored is None else SpanState.model_validate_json(stored)


def usable_state(client: redis.Redis, key: str) -> SpanState | None:
    """Return the state of a span whose channels are there too, all of them; None without."""
    state = read_state(client, key)
    if state is None or client.hlen(Keys.analytics_channels(key)) != state.channels:
        return None
    return state


def load(client: redis.Redis, key: str) -> tuple[SpanState, Aggregate]:
    """Return a span that is there, all of it as one commit wrote it."""
    with client.pipeline(transaction=True) as pipe:
        pipe.get(Keys.analytics_state(key))
        pipe.hgetall(Keys.analytics_channels(key))
        pipe.hgetall(Keys.analytics_categories(key))
        text, channels, categories = pipe.execute()
    state = SpanState.model_validate_json(text)
    aggregate = Aggregate(
        first_day=state.first_day,
        last_day=state.last_day,
        days=state.days,
        rows=state.rows,
        rows_without_category=state.rows_without_category,
    )
    aggregate.channels.add_records(channels)
    aggregate.categories.add_records(categories)
    return state, aggregate


def day_parts(client: redis.Redis, days: Sequence[date]) -> list[Part]:
    """Return these days as parts. Read before the days: what changes later is noticed next time."""
    keys = [name(day) for day in days for name in (Keys.metric_day, Keys.video_day)]
    writes = cast(list[bytes | None], client.hmget(Keys.DAY_WRITES, keys)) if keys else []
    counts = [(count or b"0").decode() for count in writes]
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return [Part(day=day, version=".".join(pair)) for day, pair in zip(days, pairs, strict=True)]


def month_part(month: date, state: SpanState) -> Part:
    """Return a month as a part: its version is the digest of the days that it counts."""
    return Part(day=month, version=digest(state.parts))


def digest(parts: Sequence[Part]) -> str:
    """Return a short text that is the same for the same parts."""
    text = "\n".join(f"{part.day} {part.version}" for part in parts)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def is_processed(client: redis.Redis, part: Part) -> bool:
    """Tell whether a day has leaderboards of its own, from its data as it is now."""
    state = read_state(client, Span.holding(Period.DAY, part.day).key)
    return state is not None and state.parts == [part]


@dataclass(frozen=True)
class Plan:
    """How to bring a span up to date."""

    #: Whether what is stored counts.
    on_top: bool
    #: What to add.
    added: list[Part]
    #: Parts that have changed, which cannot be counted any more.
    missed: list[date]

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        return self.on_top and not self.added


def plan(stored: SpanState | None, wanted: Sequence[Part]) -> Plan:
    """Compare what is stored with the parts there are now, in their order."""
    if stored is None:
        return Plan(on_top=False, added=list(wanted), missed=[])
    there = {part.day for part in wanted}
    kept = [part for part in stored.parts if part.day in there]
    later = [part for part in wanted if part.day > stored.parts[-1].day]
    if kept + later == list(wanted):
        return Plan(on_top=True, added=later, missed=[])
    if len(kept) == len(stored.parts):
        return Plan(on_top=False, added=list(wanted), missed=[])
    missed = [part.day for part in wanted if part not in kept and part not in later]
    return Plan(on_top=True, added=later, missed=missed)


def stage(
    place: Staging, key: str, aggregate: Aggregate, state: SpanState, expires: timedelta | None
) -> None:
    """Put a span together: its state, its aggregates and its leaderboards."""
    # The channels of a day lie in its metrics already.
    is_day = key.startswith(f"{Period.DAY}:")
    records = iter(()) if is_day else aggregate.channels.records()
    place.write_hash(Keys.analytics_channels(key), records, expires)
    place.write_hash(Keys.analytics_categories(key), aggregate.categories.records(), expires)
    names = aggregate.channels.names
    for metric, name in enumerate(METRIC_NAMES):
        board = best(names, aggregate.channels.measured(metric))
        place.write_scores(Keys.analytics_board(key, name), board, expires)
    place.write_text(Keys.analytics_state(key), state.model_dump_json(), expires)
