"""Runs analytics for a day: aggregates and leaderboards of all that holds it, and a report.

A run brings up to date what it needs, whatever happened before: every month that has new or
changed days, each in a slice of its own, and the day and week before, which it compares with; then
the day, its week and all time, which become visible together with the report. What is up to date
already is neither computed nor written.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import redis
from redis.client import Pipeline

import nova
from nova.analytics import aggregates, days
from nova.analytics.aggregates import Aggregate
from nova.analytics.boards import best, standings
from nova.analytics.comparison import VIEWS, Comparison
from nova.analytics.days import Day
from nova.analytics.models import AnalyticsReport, Period, SpanState, SpanSummary, Standing
from nova.analytics.reading import describe_categories
from nova.analytics.reports import STORE
from nova.analytics.spans import Span
from nova.analytics.update import CommitSlice, Updater, check_memory
from nova.arrays import Floats
from nova.channels import METRIC_NAMES, load_day, newest_days
from nova.reports import Basis, Omission
from nova.settings import Settings
from nova.staging import staging
from nova.store import Keys

logger = logging.getLogger(__name__)

#: Channels that a report names.
LEADERS = 10
OUTLIERS = 20
RUNNING_TOTALS = (
    "{:,} of the day's channels come from a trending list, whose numbers are running totals: over "
    "several days a total counts them once a day, while mean, low and high hold as they are"
)


@dataclass(frozen=True)
class Commits:
    """How the effects of a run become visible: those of a task go through the ledger."""

    slice: CommitSlice
    #: Commits the rest, and ends the run.
    end: Callable[[Pipeline, AnalyticsReport], object]


#: Channels and metrics of the day before the calendar's first.
NO_DAY: tuple[list[bytes], Floats] = ([], np.empty((0, len(METRIC_NAMES))))
#: For a run that is no task.
PLAINLY = Commits(
    slice=lambda _name, effects: effects.execute(),
    end=lambda effects, _report: effects.execute(),
)


def process_day(
    client: redis.Redis,
    settings: Settings,
    report_id: str,
    day: date | None = None,
    commits: Commits = PLAINLY,
) -> AnalyticsReport | None:
    """Bring a day, and all that holds it, up to date; None, and nothing stored, without its data.

    Run again it writes nothing but its report, unless metrics or videos have changed meanwhile.

    Args:
        client: Redis with the channel metrics.
        settings: How long reports, days and weeks are kept.
        report_id: Id of the task that runs.
        day: The day; the newest that has metrics if None.
        commits: Make the effects visible.

    Raises:
        ConfigurationError: there are more channels than the memory limit allows.
    """
    parts = {part.day: part for part in aggregates.day_parts(client, newest_days(client))}
    wanted = day or max(parts, default=None)
    if wanted is None or wanted not in parts:
        logger.warning("no channel metrics of %s: nothing to process", wanted or "any day")
        return None
    limit_mb = settings.analytics_memory_limit_mb
    check_memory(client.hlen(Keys.metric_day(wanted)), limit_mb)
    retention = timedelta(days=settings.report_retention_days)
    found = days.load(client, wanted)
    updater = Updater(client, parts, found, retention, limit_mb)
    months = updater.months(commits.slice)
    updater.what_is_compared(commits.slice)
    with staging(client, "analytics") as place:
        effects = client.pipeline()
        of_day, aggregate = updater.day(place, effects, found)
        spans = {
            Period.DAY: of_day,
            Period.WEEK: updater.week(place),
            Period.MONTH: months[wanted.replace(day=1)],
            Period.ALL: updater.all_time(place, months),
        }
        report = _Findings(client, updater, found, aggregate, spans).report(report_id)
        place.rename(effects)
        STORE.record(effects, report, retention)
        commits.end(effects, report)
    logger.info("analytics report %s: %s", report.id, report.headline)
    return report


@dataclass(frozen=True)
class _Findings:
    """What a run found, to be told."""

    client: redis.Redis
    updater: Updater
    day: Day
    aggregate: Aggregate
    spans: Mapping[Period, SpanState]

    def report(self, report_id: str) -> AnalyticsReport:
        """Return the report."""
        yesterday = self._of_day.previous
        channels, metrics = load_day(self.client, yesterday.start) if yesterday else NO_DAY
        comparison = Comparison.of(self.day, channels, metrics)
        rises, falls = comparison.movers()
        outliers, unjudged = comparison.outliers()
        return AnalyticsReport(
            id=report_id,
            generated_at=datetime.now(UTC),
            release=nova.__release__,
            basis=self._basis([*self._left_out(bool(channels)), *unjudged]),
            day=self.day.day,
            spans=[self._summary(period, state) for period, state in self.spans.items()],
            categories=describe_categories(dict(self.aggregate.categories.records())),
            leaders=self._leaders(),
            changes=list(comparison.changes()),
            rises=rises,
            falls=falls,
            outliers=outliers[:OUTLIERS],
            outliers_total=len(outliers),
            notes=list(self._notes()),
        )

    @property
    def _of_day(self) -> Span:
        return Span.holding(Period.DAY, self.day.day)

    def _summary(self, period: Period, state: SpanState) -> SpanSummary:
        span = Span.holding(period, self.day.day)
        return SpanSummary(
            period=period,
            start=state.first_day if period is Period.ALL else span.start,
            end=state.last_day if period is Period.ALL else span.end,
            days=state.days,
            channels=state.channels,
            rows=state.rows,
            written=span.key in self.updater.written,
            distributions=state.distributions,
        )

    def _leaders(self) -> list[Standing]:
        channels = self.aggregate.channels
        places = best(channels.names, channels.measured(VIEWS), LEADERS)
        return standings(self.client, METRIC_NAMES[VIEWS], places, self._of_day.previous_key)

    def _notes(self) -> Iterator[str]:
        trending = len(self.day.trending.intersection(self.day.channels))
        if trending:
            yield RUNNING_TOTALS.format(trending)

    def _around(self) -> list[date]:
        """Return the days of the day's week and month, up to the newest that has data."""
        spans = [Span.holding(period, self.day.day) for period in (Period.WEEK, Period.MONTH)]
        first = min(span.start for span in spans)
        last = min(max(span.end for span in spans), max(self.updater.parts))
        return [date.fromordinal(day) for day in range(first.toordinal(), last.toordinal() + 1)]

    def _basis(self, left_out: list[Omission]) -> Basis:
        around = self._around()
        used = [day for day in around if day in self.updater.parts]
        with self.client.pipeline(transaction=False) as pipe:
            for day in used:
                pipe.hlen(Keys.metric_day(day))
            rows = sum(pipe.execute())
        return Basis(
            days_used=used,
            days_missing=[day for day in around if day not in self.updater.parts],
            rows=rows,
            sources=["channel metrics", *(["videos"] if self.day.categories else [])],
            left_out=left_out,
        )

    def _left_out(self, has_yesterday: bool) -> Iterator[Omission]:
        if unknown := self.day.without_category:
            reason = "no category known on the day: in no category's aggregates"
            yield Omission(what="channels", reason=reason, count=unknown)
        if not has_yesterday:
            yield Omission(what="changes", reason="the day before has no channel metrics")
        if stale := [day for day in self._around() if self._is_stale(day)]:
            reason = (
                "of this week and month have no leaderboards of their own, or old ones; "
                f"run: nova analytics backfill --from {stale[0]} --to {stale[-1]}"
            )
            yield Omission(what="days", reason=reason, count=len(stale))
        yield from self.updater.left_out

    def _is_stale(self, day: date) -> bool:
        part = self.updater.parts.get(day)
        return (
            part is not None
            and day != self.day.day
            and not aggregates.is_processed(self.client, part)
        )
