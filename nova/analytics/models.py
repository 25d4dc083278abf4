"""What analytics stores and shows; used by the service, the command line and the API."""

from datetime import date
from enum import StrEnum
from typing import Literal

from pydantic import Field

from nova.reports import BaseReport, Record


class Period(StrEnum):
    """How much of the calendar one aggregate covers; a week is ISO's, Monday to Sunday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    ALL = "all"


#: What one number of a span is: the sum of its days, or their mean where a sum has no sense.
Measure = Literal["total", "mean"]


class Part(Record):
    """A piece of what a span rests on, and which state of it."""

    #: A day, or the first day of a month.
    day: date
    #: Changes whenever the data of the piece changes.
    version: str


class Distribution(Record):
    """How one metric is spread over the channels of a span for which it is known."""

    metric: str
    measure: Measure = Field(description="What was taken of each channel.")
    channels: int = Field(description="Channels for which it is known.")
    mean: float
    low: float = Field(description="Lowest value.")
    percentiles: dict[str, float] = Field(
        description="Percentile -> value, interpolated between neighbours.",
        examples=[{"p50": 312.0}],
    )
    high: float = Field(description="Highest value.")


class SpanState(Record):
    """What the stored aggregates of a span rest on, so that they need not be made again."""

    parts: list[Part]
    first_day: date
    last_day: date
    days: int
    channels: int
    #: Channel days.
    rows: int
    rows_without_category: int
    distributions: list[Distribution]


class SpanSummary(Record):
    """A span as a run left it."""

    period: Period
    start: date = Field(description="First day; of `all`, the first that has data.")
    end: date = Field(description="Last day; of `all`, the last that has data.")
    days: int = Field(description="Days with data that it counts.")
    channels: int
    rows: int = Field(description="Channel days.")
    written: bool = Field(description="False where the stored aggregates were right already.")
    distributions: list[Distribution]


class MetricAggregate(Record):
    """One metric of a channel or category over a span. Of a category, days are channel days."""

    metric: str
    days: int = Field(description="Days on which it is known.")
    total: float
    mean: float = Field(description="Mean of the days on which it is known.")
    low: float
    high: float


class CategoryAggregates(Record):
    """A category over a span."""

    category: int = Field(description="YouTube's number.", examples=[10])
    name: str = Field(examples=["Music"])
    metrics: list[MetricAggregate]


class CategoryPage(Record):
    """The categories of a span, by number."""

    period: Period
    start: date
    end: date
    rows: int = Field(description="Channel days of the span.")
    rows_without_category: int = Field(description="Those of them that no category counts.")
    categories: list[CategoryAggregates]


class ChannelMetric(MetricAggregate):
    """One metric of a channel over a span, with its place and its change."""

    measure: Measure = Field(description="Which of the numbers ranks and is compared.")
    rank: int | None = Field(description="Place in the leaderboard; null below what it keeps.")
    previous: float | None = Field(description="The same number of the span before, if known.")
    change_percent: float | None = Field(
        description="Change against it; null where that was not above 0."
    )


class ChannelSpan(Record):
    """A channel over one span."""

    period: Period
    start: date
    end: date
    metrics: list[ChannelMetric]


class ChannelAggregates(Record):
    """All that analytics knows of a channel, up to a day."""

    channel: str
    day: date = Field(description="Day whose day, week and month are shown.")
    spans: list[ChannelSpan]


class Standing(Record):
    """A channel's place in a leaderboard."""

    rank: int
    channel: str
    value: float
    previous_rank: int | None = Field(
        description="Place in the span before; null when it was below what that board keeps."
    )
    rank_change: int | None = Field(description="Places gained, below 0 lost.")


class Leaderboard(Record):
    """Some places of a leaderboard, best first; `total` counts all that are kept."""

    metric: str
    measure: Measure
    period: Period
    start: date
    end: date
    compared_with: str | None = Field(
        description="Span whose ranks are compared, `before` for all time without its newest "
        "month; null when it has no leaderboard.",
        examples=["day:2017-12-08"],
    )
    total: int = Field(description="Places that are kept.")
    ranked: int = Field(description="Channels for which the metric is known.")
    standings: list[Standing]


class Change(Record):
    """How a metric changed from the day before, over the channels that both days know."""

    metric: str
    channels: int
    before: float = Field(description="Sum of the day before; of a ratio, mean.")
    now: float = Field(description="Sum of the day; of a ratio, mean.")
    median_percent: float | None = Field(
        description="Middle one of the channels' changes; null where none was above 0 before."
    )


class Mover(Record):
    """A channel whose metric rose or fell most from the day before."""

    channel: str
    metric: str
    before: float
    now: float


class Outlier(Record):
    """A channel that stands far from the others."""

    channel: str
    metric: str
    kind: Literal["level", "change"] = Field(
        description="Its value of the day, or the change from the day before."
    )
    value: float
    before: float | None = Field(default=None, description="Of a change: the day before's value.")
    score: float = Field(description="Modified z-score; beyond +-3.5 is an outlier.")


class AnalyticsReport(BaseReport):
    """Summary of one processed day; its id is the task's id."""

    day: date
    spans: list[SpanSummary] = Field(description="The day, and the spans that hold it.")
    categories: list[CategoryAggregates] = Field(description="Of the day, by number.")
    leaders: list[Standing] = Field(description="Most views of the day.")
    changes: list[Change] = Field(description="Against the day before.")
    rises: list[Mover] = Field(description="Views that rose most.")
    falls: list[Mover] = Field(description="Views that fell most.")
    outliers: list[Outlier] = Field(description="The farthest first.")
    outliers_total: int
    notes: list[str] = Field(description="What a reader of the numbers has to know.")

    @property
    def headline(self) -> str:
        """What it found, in one short line."""
        day, whole = self.spans[0], self.spans[-1]
        return (
            f"{self.day}: {day.channels:,} channels, {self.outliers_total:,} outliers; "
            f"in all {whole.channels:,} channels on {whole.days:,} days"
        )
