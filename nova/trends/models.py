"""What a trend report holds."""

from datetime import date

from pydantic import Field

from nova.reports import BaseReport, ListedReport, Record


class SourceNote(Record):
    """A source as one scan met it."""

    name: str
    kind: str
    day: date | None = Field(
        description="Day of the titles that count as now; null if there are none."
    )
    titles: int = Field(description="Titles of that day.")
    past_days: int = Field(description="Earlier days of the window with titles.")
    past_titles: int = Field(description="Titles of those days, each day's counted.")
    not_counted: str | None = Field(description="Why it does not count; null where it does.")


class OwnNote(Record):
    """Our channels, as far as the scan knew them."""

    basis: str = Field(description="How they were found.")
    channels: list[str] = Field(description="The first of them by name.")
    total: int
    videos: int = Field(description="Their videos in Studio exports, of all days.")


class ProjectionNote(Record):
    """What projected earnings rest on."""

    formula: str
    rpm_usd: float = Field(description="Revenue per thousand views of all our channels, USD.")
    rpm_by_category: dict[int, float] = Field(
        description="The same of our channels in a category; YouTube's numbers of categories."
    )
    channels: int = Field(description="Our channels with revenue and views.")
    revenue_usd: float
    views: float
    first_day: date = Field(description="First day of channel metrics with revenue.")
    last_day: date
    typical_views: float = Field(
        description="Median of the views that the day's titles had when they were first listed."
    )
    typical_usd: float = Field(description="What a video with typical views would earn us.")


class Evidence(Record):
    """One title that carries a topic on the scanned day."""

    title: str
    channel: str = Field(description="The source's name where it names no channel.")
    source: str
    days: list[date] = Field(description="Days of the window on which the source showed it.")
    views: int | None


class DayCount(Record):
    """How many titles carried a topic on a day, all sources together."""

    day: date
    titles: int


class RisingTopic(Record):
    """A topic that rises, with its evidence."""

    name: str
    also: list[str] = Field(
        description="Rising topics with a lower score that only stand in the same titles."
    )
    score: float = Field(description="Growth x log2(1 + channels) x value.")
    growth: float = Field(description="log2((titles + 1) / (expected + 1)): 1 is doubled.")
    titles: int = Field(description="Titles that carry it on the scanned day.")
    expected: float = Field(description="Titles that its share of the earlier days promised.")
    channels: list[str] = Field(description="Those that carry it on that day, the first by name.")
    channels_total: int
    projected_usd: float | None = Field(
        description="What a video of ours on it would earn, see the projection; null without "
        "revenue of ours, or without views."
    )
    value: float = Field(description="log2(1 + projected / typical); 1 where that is not known.")
    covered_by: list[str] = Field(description="Our channels that have a title on it.")
    history: list[DayCount] = Field(description="Days of the window with titles, oldest first.")
    evidence: list[Evidence] = Field(description="Its titles of the scanned day, most seen first.")
    sources: list[str]


class TrendReport(BaseReport):
    """What rises on a day, and which of it we do not cover."""

    day: date = Field(description="The scanned day, UTC.")
    window_days: int
    sources: list[SourceNote]
    own: OwnNote
    projection: ProjectionNote | None = Field(description="Null without revenue of ours.")
    topics_seen: int = Field(description="Topics of the day's titles.")
    opportunities: list[RisingTopic] = Field(
        description="Rising topics that none of our channels covers, best score first."
    )
    opportunities_total: int
    covered: list[RisingTopic] = Field(
        description="Rising topics that our channels cover, best score first."
    )
    covered_total: int

    @property
    def rising_total(self) -> int:
        """Count the rising topics."""
        return self.opportunities_total + self.covered_total

    @property
    def headline(self) -> str:
        """What it found, in one short line."""
        first = ", ".join(topic.name for topic in self.opportunities[:3])
        return (
            f"{self.day}: {self.rising_total} rising topics, {self.opportunities_total} of them "
            f"not covered by us{': ' + first if first else ''}"
        )


class TrendLine(ListedReport):
    """A trend report in a list of reports."""

    day: date
    rising_total: int
    opportunities_total: int
