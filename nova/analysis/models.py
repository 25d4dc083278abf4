"""What an analysis report holds."""

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from nova.reports import BaseReport, ListedReport, Record

#: Seeds that one run may be asked about.
MAX_SEEDS = 100
Seed = Annotated[str, Field(min_length=1, max_length=1000)]


class Origin(StrEnum):
    """Where the numbers of a channel come from; of several, the first that has any."""

    STUDIO = "studio export"
    FEED = "feed"
    LISTS = "trending lists"
    METRICS = "channel metrics"


class Outcome(StrEnum):
    """What became of a seed."""

    FOUND = "found"
    OURS = "ours"
    AMBIGUOUS = "ambiguous"
    NOT_FOUND = "not found"
    FAILED = "failed"


class Measure(StrEnum):
    """What channels are compared by; more is better in each."""

    VIEWS = "median_views"
    CADENCE = "videos_per_week"
    ENGAGEMENT = "engagement"
    GROWTH = "growth"
    LISTED = "days_listed"


class SeedNote(Record):
    """One competitor that was asked for, and what became of it."""

    seed: str = Field(description="As it was given; of a URL not the query, it may hold secrets.")
    outcome: Outcome
    channel: str | None = Field(description="The channel that it stands for, null if none.")
    reason: str | None = Field(description="Why it stands for none; null where it does.")
    near: list[str] = Field(
        description="Channels it may mean: all of its name if it is ambiguous, else similar names."
    )


class WindowNote(Record):
    """The days of one source that count."""

    origin: Origin
    first: date
    last: date = Field(description="Its newest day up to the analysed one.")
    days: int = Field(description="Days of the window with data.")
    rows: int = Field(description="Rows of those days, of all channels.")


class Spread(Record):
    """How numbers are spread. Quartiles are interpolated linearly."""

    lower: float = Field(description="Lower quartile.")
    median: float
    upper: float = Field(description="Upper quartile.")
    dispersion: float = Field(description="(upper - lower) / (upper + lower), 0 to 1.")


class Cadence(Record):
    """How often a channel publishes."""

    videos: int = Field(description="Videos of which the day is known and within `days`.")
    days: int = Field(description="Days of which it is known what was published.")
    videos_per_week: float = Field(description="7 x videos / days.")
    median_gap_days: float | None = Field(
        description="Median days between one and the next; null below two videos."
    )
    day_unknown: int = Field(description="Videos that are left out, for their day is not known.")
    by_list: int = Field(
        description="Videos that count on their first day on the trending list, for the list does "
        "not tell when they were published."
    )


class TopicNote(Record):
    """A topic of channels."""

    name: str
    also: list[str] = Field(description="Further topics that only stand in the same titles.")
    channels: list[str] = Field(description="Competitors that carry it.")
    videos: int = Field(description="Their videos on it.")
    median_views: float | None = Field(description="Of those videos.")
    covered_by: list[str] = Field(description="Our channels that carry it.")


class Change(Record):
    """A channel now, less the same channel in the report before; null where one is not known."""

    median_views: float | None
    videos_per_week: float | None
    engagement: float | None
    growth: float | None
    days_listed: float | None
    rank: int | None = Field(description="Places gained by median views; below 0: lost.")


class ChannelProfile(Record):
    """One channel in numbers."""

    channel: str
    ours: bool
    seeds: list[str] = Field(description="What was asked for that led to it.")
    origin: Origin = Field(description="Where the numbers below come from.")
    first: date = Field(description="First day of the window.")
    last: date
    unit: str = Field(description="What is counted: `video`; of channel metrics `day`.")
    count: int = Field(description="How many of them.")
    views: Spread | None = Field(description="Of those whose views are known; null if of none.")
    cadence: Cadence | None = Field(description="Null for channel metrics, which know no videos.")
    engagement: float | None = Field(
        description="Median of (likes + comments) / views; null where they are not known."
    )
    engagement_count: int = Field(description="Of how many.")
    growth: float | None = Field(
        description="(s - f) / (s + f), the medians of views of the window's second and first half."
    )
    days_listed: int | None = Field(
        description="Days of the window on which a trending list has it; null without any list."
    )
    ranks: dict[Measure, int] = Field(
        description="Place among all channels of the report, 1 is best; without those measures "
        "that are not known, and without channels of which only daily metrics are known."
    )
    shared_topics: list[str] = Field(description="Topics of its own that we carry too, the first.")
    shared_total: int
    missed_topics: list[str] = Field(description="Topics of its own that we do not carry.")
    missed_total: int
    change: Change | None = Field(description="Null where there is nothing to compare with.")

    def value(self, measure: Measure) -> float | None:
        """Return a measure of the channel; None where it is not known."""
        return {
            Measure.VIEWS: self.views.median if self.views else None,
            Measure.CADENCE: self.cadence.videos_per_week if self.cadence else None,
            Measure.ENGAGEMENT: self.engagement,
            Measure.GROWTH: self.growth,
            Measure.LISTED: self.days_listed,
        }[measure]


class Comparison(Record):
    """The report before, which changes refer to."""

    report_id: str
    day: date
    appeared: list[str] = Field(description="Channels that it did not have.")
    gone: list[str] = Field(description="Channels that it had, and this one has not.")


class AnalysisReport(BaseReport):
    """Competitors and our channels side by side."""

    day: date = Field(description="The last day that counts, UTC.")
    window_days: int
    by_setting: bool = Field(description="Whether the seeds are those of COMPETITOR_SEEDS.")
    seeds: list[SeedNote]
    windows: list[WindowNote]
    caveats: list[str] = Field(description="What to bear in mind when channels are compared.")
    own_basis: str = Field(description="How our channels were found.")
    own: list[ChannelProfile] = Field(description="Our channels, most median views first.")
    own_total: int = Field(description="Our channels, those without data included.")
    own_videos: int = Field(description="Our videos whose titles say what we cover.")
    competitors: list[ChannelProfile] = Field(description="Most median views first.")
    ranked: dict[Measure, int] = Field(description="How many channels each ranking has.")
    missed_topics: list[TopicNote] = Field(
        description="Topics of competitors that we do not carry: most channels first."
    )
    missed_total: int
    shared_topics: list[TopicNote] = Field(description="Topics that we carry too, the same way.")
    shared_total: int
    compared_with: Comparison | None = Field(description="Null for the first report of its kind.")

    @property
    def competitors_total(self) -> int:
        """Count the competitors that were measured."""
        return len(self.competitors)

    @property
    def not_found_total(self) -> int:
        """Count the seeds that stand for no channel."""
        return sum(seed.channel is None for seed in self.seeds)

    @property
    def headline(self) -> str:
        """What it found, in one short line."""
        parts = [f"{self.day}: competitors compared: {self.competitors_total}"]
        if self.not_found_total:
            parts.append(f"seeds that match no channel: {self.not_found_total}")
        best = self.own[0] if self.own else None
        if best and Measure.VIEWS in best.ranks:
            place, of = best.ranks[Measure.VIEWS], self.ranked[Measure.VIEWS]
            parts.append(f"{best.channel} is {place} of {of} by median views")
        else:
            parts.append("no channel of ours to rank")
        return ", ".join([*parts, f"topics that we miss: {self.missed_total}"])


class AnalysisLine(ListedReport):
    """An analysis report in a list of reports."""

    day: date
    by_setting: bool
    competitors_total: int
    not_found_total: int
