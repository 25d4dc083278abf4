"""What the reports of all domains share: who made them, what they rest on, and where they are.

A domain derives its report from `BaseReport` and names its store once, `STORE`, beside it:

    class TrendReport(BaseReport):
        topics: list[Topic]

        @property
        def headline(self) -> str:
            return f"{len(self.topics)} topics"

    STORE = ReportStore("trends", TrendReport)

Its task records the report among its effects: `STORE.record(effects, report, retention)`. The
table `nova/domains.py` brings it to the API and the command line.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

import redis
from pydantic import BaseModel, ConfigDict, Field
from redis.client import Pipeline

from nova.errors import NotFoundError
from nova.store import Keys

#: In place of an id: the newest report.
LATEST = "latest"


class Record(BaseModel):
    """Base of what a report is made of: it does not change."""

    model_config = ConfigDict(frozen=True)


class Omission(Record):
    """Data that a report left out."""

    what: str = Field(description="What was left out.", examples=["channels", "source heise"])
    reason: str = Field(description="Why.", examples=["seen on fewer than 3 days"])
    count: int | None = Field(
        default=None, description="How many of them; null where that cannot be said.", examples=[4]
    )


class Basis(Record):
    """Which data a report rests on, and which it left out."""

    days_used: list[date] = Field(default=[], description="Days with data, oldest first.")
    days_missing: list[date] = Field(
        default=[], description="Days that it asked for and that have no data, oldest first."
    )
    rows: int | None = Field(
        default=None,
        description="Rows read: channel days, entries of feeds, keys; null where not counted.",
    )
    sources: list[str] = Field(
        default=[], description="Where the rows come from.", examples=[["channel metrics"]]
    )
    left_out: list[Omission] = []


class ListedReport(Record):
    """A report in a list of reports; a domain may add fields, which are attributes of its report.

    Where it has one, it names it to its `ReportStore`.
    """

    model_config = ConfigDict(from_attributes=True)

    id: str
    generated_at: datetime
    headline: str


class BaseReport(Record):
    """What is in every report. Its id is that of the task that made it."""

    id: str
    generated_at: datetime = Field(description="When, in UTC.")
    release: str = Field(description="Release of the worker that made it.")
    basis: Basis

    @property
    @abstractmethod
    def headline(self) -> str:
        """What it found in one short line, for people: lists show it."""


R_co = TypeVar("R_co", bound=BaseReport, covariant=True)
LineT = TypeVar("LineT", bound=ListedReport)


class Page(Record, Generic[LineT]):
    """Some of the reports, newest first; `total` counts all."""

    total: int
    reports: list[LineT]


@dataclass(frozen=True)
class ReportStore(Generic[R_co]):
    """The reports of one domain in Redis: each a JSON text that expires, and an index by time."""

    domain: str
    model: type[R_co]
    #: What lists show.
    line: type[ListedReport] = field(default=ListedReport)

    @property
    def page(self) -> type[Page[Any]]:
        """The model of a list of reports."""
        return Page[self.line]  # type: ignore[name-defined]  # a type that is made at run time

    def record(self, effects: Pipeline, report: BaseReport, retention: timedelta) -> None:
        """Record the commands that store a report, and forget older ones, among a run's effects.

        A report of the same id is replaced: a run that is started again makes the same report.
        """
        oldest = (report.generated_at - retention).timestamp()
        index = Keys.reports(self.domain)
        effects.set(Keys.report(self.domain, report.id), report.model_dump_json(), ex=retention)
        effects.zadd(index, {report.id: report.generated_at.timestamp()})
        effects.zremrangebyscore(index, "-inf", oldest)

    def list(self, client: redis.Redis, offset: int = 0, limit: int = 20) -> Page[Any]:
        """Return the lines of reports, newest first, `limit` of them after the first `offset`."""
        if limit < 1:
            return self.page(total=client.zcard(Keys.reports(self.domain)), reports=[])
        ids = cast(
            "list[bytes]",
            client.zrevrange(Keys.reports(self.domain), offset, offset + limit - 1),
        )
        stored = client.mget([Keys.report(self.domain, id_.decode()) for id_ in ids]) if ids else []
        # A report may have expired before the next run removes its index entry.
        reports = [self.model.model_validate_json(text) for text in stored if text is not None]
        lines = [self.line.model_validate(report) for report in reports]
        return self.page(total=client.zcard(Keys.reports(self.domain)), reports=lines)

    def find(self, client: redis.Redis, report_id: str) -> R_co | None:
        """Return a report by its id, or the newest by the id `latest`; None if there is none."""
        index = Keys.reports(self.domain)
        if report_id == LATEST:
            newest = cast("list[bytes]", client.zrevrange(index, 0, 0))
            report_id = newest[0].decode() if newest else ""
        # An id that is not in the index may still be the end of a key's name, of another type.
        if client.zscore(index, report_id) is None:
            return None
        stored = client.get(Keys.report(self.domain, report_id))
        return None if stored is None else self.model.model_validate_json(stored)

    def get(self, client: redis.Redis, report_id: str = LATEST) -> R_co:
        """Return a report by its id, or the newest by the id `latest`.

        Raises:
            NotFoundError: there is none.
        """
        report = self.find(client, report_id)
        if report is not None:
            return report
        if report_id == LATEST:
            raise NotFoundError(
                f"there is no {self.domain} report yet; run: nova trigger {self.domain}"
            )
        raise NotFoundError(f"there is no {self.domain} report {report_id}; see: nova report list")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 channel` or `2,000 channels`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
