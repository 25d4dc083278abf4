"""Brings the aggregates of spans up to date, by what has changed and no more."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import cast

import redis
from redis.client import Pipeline

from nova.analytics import aggregates, days
from nova.analytics.aggregates import Aggregate, plan, usable_state
from nova.analytics.days import Day
from nova.analytics.models import Part, Period, SpanState
from nova.analytics.spans import BEFORE, Span
from nova.channels import day_score
from nova.errors import ConfigurationError
from nova.reports import Omission
from nova.staging import Staging, staging
from nova.store import Keys

#: Commits one slice of a run under a name.
CommitSlice = Callable[[str, Pipeline], object]
#: Adds a part to an aggregate, and returns it in the version that it had.
AddPart = Callable[[Aggregate, Part], Part]


#: Most that a run holds for each channel of its largest span, on top of an idle worker: one span,
#: another that is added to it, and one of them packed. The benchmark compares it with what is
#: measured.
BYTES_PER_CHANNEL = 4000


def check_memory(channels: int, limit_mb: int) -> None:
    """Refuse a run that is too large, rather than let the host run out of memory.

    Raises:
        ConfigurationError: so many channels need more than the limit.
    """
    needed = channels * BYTES_PER_CHANNEL / 1e6
    if needed > limit_mb:
        raise ConfigurationError(
            f"analytics of {channels:,} channels needs about {needed:,.0f} MB, more than "
            f"NOVA_ANALYTICS_MEMORY_LIMIT_MB ({limit_mb:,}): raise it, if the host has as much"
        )


@dataclass
class Updater:
    """Brings spans up to date, and remembers what it wrote and what it could not count."""

    client: redis.Redis
    #: The days that have metrics, oldest first.
    parts: Mapping[date, Part]
    #: The day that is processed.
    today: Day
    #: Of days and weeks, which are many; months and all time stay.
    retention: timedelta
    memory_limit_mb: int
    written: set[str] = field(default_factory=set)
    left_out: list[Omission] = field(default_factory=list)
    #: The month that was made last, with its state: all time needs the newest again.
    _last_month: tuple[str, SpanState, Aggregate] | None = None

    def months(self, commit_slice: CommitSlice) -> dict[date, SpanState]:
        """Bring each month up to date, in a slice of its own; return all months, oldest first."""
        stored = cast(list[bytes], self.client.zrange(Keys.ANALYTICS_MONTHS, 0, -1))
        months = {date.fromisoformat(month.decode()) for month in stored}
        months.update(day.replace(day=1) for day in self.parts)
        spans = {month: Span.holding(Period.MONTH, month) for month in sorted(months)}
        return {
            month: self._month(span, commit_slice)
            for month, span in spans.items()
            # Somebody may have removed a month's keys when its days were gone too.
            if self._days_of(span) or usable_state(self.client, span.key)
        }

    def _month(self, span: Span, commit_slice: CommitSlice) -> SpanState:
        with staging(self.client, "analytics") as place:
            state, made = self._bring(place, span.key, self._days_of(span), self._add_day)
            if made is not None:
                effects = self.client.pipeline()
                effects.zadd(Keys.ANALYTICS_MONTHS, {span.start.isoformat(): day_score(span.start)})
                self._commit(place, span.key, effects, commit_slice)
                self._last_month = (span.key, state, made)
        return state

    def what_is_compared(self, commit_slice: CommitSlice) -> None:
        """Bring the day before the day, and the week before its week, up to date, in a slice."""
        yesterday, last_week = (
            Span.holding(period, self.today.day).previous for period in (Period.DAY, Period.WEEK)
        )
        with staging(self.client, "analytics") as place:
            effects = self.client.pipeline()
            before = len(self.written)
            parts = [] if last_week is None else self._days_of(last_week)
            if last_week is not None and parts:
                self._bring(place, last_week.key, parts, self._add_day, self.retention)
            part = None if yesterday is None else self.parts.get(yesterday.start)
            if part is not None and not aggregates.is_processed(self.client, part):
                self.day(place, effects, days.load(self.client, part.day))
            if len(self.written) > before:
                self._commit(place, f"before {self.today.day}", effects, commit_slice)

    def _commit(
        self, place: Staging, name: str, effects: Pipeline, commit_slice: CommitSlice
    ) -> None:
        place.rename(effects)
        # A name of this start's own: what an earlier start wrote may be another's by now, and to
        # write it again does no harm.
        commit_slice(f"{name} {uuid.uuid4().hex}", effects)

    def day(self, place: Staging, effects: Pipeline, day: Day) -> tuple[SpanState, Aggregate]:
        """Bring a day up to date; return its aggregates too."""
        span = Span.holding(Period.DAY, day.day)
        part = self.parts[day.day]
        aggregate = Aggregate()
        aggregate.add_day(day)
        effects.zadd(Keys.ANALYTICS_DAYS, {day.day.isoformat(): day_score(day.day)})
        stored = aggregates.read_state(self.client, span.key)
        if stored is not None and stored.parts == [part]:
            return stored, aggregate
        # The channels of a day lie in its metrics already.
        state = self._stage(place, span.key, aggregate, [part], self.retention)
        return state, aggregate

    def week(self, place: Staging) -> SpanState:
        """Bring the week that holds the day up to date."""
        span = Span.holding(Period.WEEK, self.today.day)
        wanted = self._days_of(span)
        return self._bring(place, span.key, wanted, self._add_day, self.retention)[0]

    def all_time(self, place: Staging, months: Mapping[date, SpanState]) -> SpanState:
        """Bring all time up to date: all months but the newest, and that one on top."""
        key = Span.holding(Period.ALL, date.max).key
        parts = [aggregates.month_part(month, state) for month, state in months.items()]
        made: Aggregate | None = None
        before: list[Part] = []
        if len(parts) > 1:
            state, made = self._bring(place, BEFORE, parts[:-1], self._add_month)
            before = state.parts
        stored = usable_state(self.client, key)
        if stored is not None and stored.parts == parts:
            return stored
        aggregate = made or Aggregate()
        if made is None and len(parts) > 1:
            state, aggregate = aggregates.load(self.client, BEFORE)
            before = state.parts
        newest = self._add_month(aggregate, parts[-1])
        return self._stage(place, key, aggregate, [*before, newest], None)

    def _bring(
        self,
        place: Staging,
        key: str,
        wanted: Sequence[Part],
        add: AddPart,
        expires: timedelta | None = None,
    ) -> tuple[SpanState, Aggregate | None]:
        """Return the state of a span, and its aggregates where they had to be made."""
        state = usable_state(self.client, key)
        todo = plan(state, wanted)
        if state is not None and todo.is_done:
            self._miss(key, todo.missed)
            return state, None
        aggregate, parts = Aggregate(), list[Part]()
        if todo.on_top and state is not None:
            check_memory(state.channels, self.memory_limit_mb)
            state, stored = aggregates.load(self.client, key)
            # Another run may have changed it since.
            todo = plan(state, wanted)
            if todo.on_top:
                aggregate, parts = stored, state.parts
        self._miss(key, todo.missed)
        parts = [*parts, *(add(aggregate, part) for part in todo.added)]
        return self._stage(place, key, aggregate, parts, expires), aggregate

    def _stage(
        self,
        place: Staging,
        key: str,
        aggregate: Aggregate,
        parts: Sequence[Part],
        expires: timedelta | None,
    ) -> SpanState:
        state = aggregate.state(parts)
        aggregates.stage(place, key, aggregate, state, expires)
        self.written.add(key)
        return state

    def _miss(self, key: str, missed: Iterable[date]) -> None:
        count = len(list(missed))
        if count:
            reason = f"changed after other days of {key} were past retention: it has old numbers"
            self.left_out.append(Omission(what="days", reason=reason, count=count))

    def _days_of(self, span: Span) -> list[Part]:
        return [part for day, part in self.parts.items() if span.start <= day <= span.end]

    def _add_day(self, aggregate: Aggregate, part: Part) -> Part:
        # Its version was read before: what changes meanwhile is noticed by the next run.
        is_today = part.day == self.today.day
        aggregate.add_day(self.today if is_today else days.load(self.client, part.day))
        check_memory(len(aggregate.channels.values), self.memory_limit_mb)
        return part

    def _add_month(self, aggregate: Aggregate, part: Part) -> Part:
        key = Span.holding(Period.MONTH, part.day).key
        if self._last_month is not None and self._last_month[0] == key:
            _, state, month = self._last_month
        else:
            state, month = aggregates.load(self.client, key)
        aggregate.add(month)
        check_memory(len(aggregate.channels.values), self.memory_limit_mb)
        return aggregates.month_part(part.day, state)
