"""What governance stores and shows; used by the service, the command line and the API."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, model_validator

from nova import reports
from nova.reports import Page, Record


class Flag(StrEnum):
    """What the policy says about a channel."""

    PROMOTE = "promote"
    WATCH = "watch"
    RETIRE = "retire"
    NONE = "none"


class Status(StrEnum):
    """What a run with auto actions made of a channel."""

    PROMOTED = "promoted"
    RETIRED = "retired"


class Override(Record):
    """An operator's word on one channel, which every run respects."""

    channel: str
    rule: Literal["ignore", "force"]
    #: The flag that `force` sets; None for `ignore`.
    flag: Flag | None = None
    reason: str
    by: str
    at: datetime


class AppliedOverride(Record):
    """An override as one run met it."""

    channel: str
    rule: Literal["ignore", "force"]
    flag: Flag | None
    reason: str
    by: str
    #: What it did, for people.
    effect: str


class Verdict(Record):
    """One channel of a report."""

    channel: str
    #: None when the channel was not judged and an operator forced its flag.
    score: float | None
    flag: Flag
    reasons: list[str] = Field(default_factory=list)


class ScoredMetric(Record):
    """One metric as the channels of a run had it."""

    name: str
    #: The policy's weight.
    weight: float
    #: Judged channels for which it was known.
    channels: int


class Window(Record):
    """The days that a report looked at."""

    start: date
    end: date
    days_used: list[date]
    days_missing: list[date]


class PolicyNote(Record):
    """Which policy judged."""

    source: str
    digest: str


class Counts(Record):
    """Channels by flag; `not_judged` were seen on too few days or without any scored metric."""

    promote: int
    watch: int
    retire: int
    none: int
    not_judged: int
    ignored: int


class Action(Record):
    """A change of one channel's status."""

    channel: str
    status: Status
    score: float | None


class Enforcement(Record):
    """What a run did about its flags."""

    auto_actions: bool
    #: One line for people.
    note: str
    taken: list[Action]
    #: The first of those beyond the policy's limits; `deferred_total` counts all of them.
    deferred: list[Action]
    deferred_total: int


#: What a notification may be about.
Topic = Literal["flags", "tools", "versions"]


class ToolCheck(Record):
    """One tool that is watched, as a run found it."""

    name: str
    url: str = Field(description="Where it was asked, without the query.")
    status: Literal["ok", "exceeded", "failed"] = Field(
        description="exceeded: slower or dearer than it may be; failed: gave no answer."
    )
    latency_ms: float | None = Field(description="Milliseconds to its answer; null without one.")
    expected_latency_ms: float
    usual_latency_ms: float | None = Field(
        description="Median of the checks before; null if there are none."
    )
    past_checks: int = Field(description="Checks before that the median is of.")
    monthly_cost_usd: float | None = Field(description="By the configuration; null if unknown.")
    cost_limit_usd: float | None
    problems: list[str] = Field(
        default_factory=list, description="What is wrong, one line each, for people."
    )


class VersionCheck(Record):
    """One version that is watched, as a run found it."""

    name: str
    url: str = Field(description="Where it was asked, without the query.")
    status: Literal["unchanged", "changed", "new", "failed"] = Field(
        description="new: seen for the first time; failed: could not be read."
    )
    version: str | None = Field(description="What it is; null if it could not be read.")
    previous: str | None = Field(
        description="What it was before this run, if it has changed or could not be read."
    )
    since: datetime | None = Field(description="When `version` was first seen, UTC.")
    problem: str | None = Field(default=None, description="Why it could not be read.")


class PublishedNotification(Record):
    """A notification as the run published it; its task's state tells what became of it."""

    target: str = Field(description="Who is notified, by the name in the watch file.")
    kind: Literal["webhook", "slack", "smtp"]
    task_id: str = Field(
        description="The task that sends it, and the Idempotency-Key that it is sent with."
    )
    about: list[Topic]


class Report(reports.BaseReport):
    """Summary of one governance run; its id is the task's id."""

    window: Window
    policy: PolicyNote
    channels_seen: int
    channels_judged: int
    metrics: list[ScoredMetric]
    counts: Counts
    top: list[Verdict]
    bottom: list[Verdict]
    enforcement: Enforcement
    overrides: list[AppliedOverride]
    tools: list[ToolCheck] = Field(default_factory=list)
    versions: list[VersionCheck] = Field(default_factory=list)
    notifications: list[PublishedNotification] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _derive_basis(cls, values: Any) -> Any:
        """Read reports that were stored before there was a basis; their rows were not counted."""
        if isinstance(values, dict) and "basis" not in values:
            window = Window.model_validate(values.get("window"))
            days = {"days_used": window.days_used, "days_missing": window.days_missing}
            return values | {"basis": days}
        return values

    @property
    def headline(self) -> str:
        """What it found, in one short line."""
        counts = self.counts
        return (
            f"judged {self.channels_judged:,} channels: promote {counts.promote:,}, "
            f"watch {counts.watch:,}, retire {counts.retire:,}"
        )

    @property
    def actions_taken(self) -> int:
        """Count the changes of status that it made."""
        return len(self.enforcement.taken)


class ReportLine(reports.ListedReport):
    """A governance report in a list of reports."""

    window: Window
    channels_judged: int
    counts: Counts
    actions_taken: int


class ReportPage(Page[ReportLine]):
    """Some of the reports, newest first."""


class VerdictPage(Record):
    """Some channels of a report."""

    total: int
    channels: list[Verdict]


class ChannelStatus(Record):
    """What a run with auto actions made of a channel, and which report says why."""

    channel: str
    status: Status
    since: datetime
    report: str
