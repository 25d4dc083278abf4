"""What governance stores and shows; used by the service, the command line and the API."""

from datetime import date, datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


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


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Override(_Record):
    """An operator's word on one channel, which every run respects."""

    channel: str
    rule: Literal["ignore", "force"]
    #: The flag that `force` sets; None for `ignore`.
    flag: Flag | None = None
    reason: str
    by: str
    at: datetime


class AppliedOverride(_Record):
    """An override as one run met it."""

    channel: str
    rule: Literal["ignore", "force"]
    flag: Flag | None
    reason: str
    by: str
    #: What it did, for people.
    effect: str


class Verdict(_Record):
    """One channel of a report."""

    channel: str
    #: None when the channel was not judged and an operator forced its flag.
    score: float | None
    flag: Flag
    reasons: list[str] = []


class ScoredMetric(_Record):
    """One metric as the channels of a run had it."""

    name: str
    #: The policy's weight.
    weight: float
    #: Judged channels for which it was known.
    channels: int


class Window(_Record):
    """The days that a report looked at."""

    start: date
    end: date
    days_used: list[date]
    days_missing: list[date]


class PolicyNote(_Record):
    """Which policy judged."""

    source: str
    digest: str


class Counts(_Record):
    """Channels by flag; `not_judged` were seen on too few days or without any scored metric."""

    promote: int
    watch: int
    retire: int
    none: int
    not_judged: int
    ignored: int


class Action(_Record):
    """A change of one channel's status."""

    channel: str
    status: Status
    score: float | None


class Enforcement(_Record):
    """What a run did about its flags."""

    auto_actions: bool
    #: One line for people.
    note: str
    taken: list[Action]
    #: The first of those beyond the policy's limits; `deferred_total` counts all of them.
    deferred: list[Action]
    deferred_total: int


class Report(_Record):
    """Summary of one governance run; its id is the task's id."""

    id: str
    generated_at: datetime
    release: str
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


class ReportLine(_Record):
    """A report in a list of reports."""

    id: str
    generated_at: datetime
    window: Window
    channels_judged: int
    counts: Counts
    actions_taken: int


class ReportPage(_Record):
    """Some of the reports, newest first."""

    total: int
    reports: list[ReportLine]


class VerdictPage(_Record):
    """Some channels of a report."""

    total: int
    channels: list[Verdict]


class ChannelStatus(_Record):
    """What a run with auto actions made of a channel, and which report says why."""

    channel: str
    status: Status
    since: datetime
    report: str
