"""THE table of domains: what the API and the command line know of each.

A domain is a package `nova/<name>/` whose task makes reports; its word is also its queue. What the
table names is imported when it is used: keep the modules it points at free of heavy libraries.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import orjson
import redis

from nova.errors import NotFoundError
from nova.reports import LATEST, BaseReport, ListedReport, ReportStore

if TYPE_CHECKING:
    # At run time it takes a second to import, which most commands can do without.
    from celery import Celery

#: Whose newest report is meant when nobody names a domain.
DEFAULT_DOMAIN = "governance"


@dataclass(frozen=True)
class Domain:
    """One row of the table."""

    #: Package, queue, word in paths, commands and keys.
    name: str
    #: Name of the task that makes a report. Its result is a dict with `report_id`, None if there
    #: was nothing to report, and `message`, one line for people.
    task: str
    #: `module:name` of the `ReportStore`.
    reports: str
    #: `module:name` of the function that prints a report for people: it takes the report, and how
    #: many lines its tables may have, None for as many as fit.
    printer: str

    @property
    def store(self) -> ReportStore[BaseReport]:
        """The domain's reports."""
        store: ReportStore[BaseReport] = resolve_name(self.reports)
        return store

    def print_report(self, report: BaseReport, limit: int | None = None) -> None:
        """Print a report of the domain for people."""
        resolve_name(self.printer)(report, limit)

    def publish(
        self,
        app: "Celery",
        arguments: Mapping[str, Any],
        task_id: str | None = None,
        *,
        is_repeatable: bool = False,
    ) -> Any:
        """Publish a run; return Celery's AsyncResult, whose `id` its report gets too.

        Args:
            app: Nova's app of Celery.
            arguments: keyword arguments of the task; None counts as a value.
            task_id: publish it under this id, such as that of a run that was not confirmed.
            is_repeatable: whether the same may be asked for again under this id, and publishes
                nothing more then.

        Raises:
            InputError: an argument is wrong; nothing was published.
            ConflictError: something else was asked for under this id; nothing was published.
            UnconfirmedPublishError: it may have been published, or not.
            UnavailableError: Redis does not take it; nothing was published.
        """
        from nova.runtime.publishing import ASKED_HEADER

        options: dict[str, Any] = {}
        if is_repeatable:
            options["headers"] = {ASKED_HEADER: _digest(self.task, arguments)}
        return app.send_task(self.task, kwargs=dict(arguments), task_id=task_id, **options)


def _digest(task: str, arguments: Mapping[str, Any]) -> str:
    """Return a short text that is the same for the same task and arguments."""
    text = orjson.dumps([task, dict(arguments)], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


_TABLE = (
    Domain(
        name="governance",
        task="nova.governance.run_governance_task",
        reports="nova.governance.reports:STORE",
        printer="nova.governance.commands:print_report",
    ),
    Domain(
        name="maintenance",
        task="nova.maintenance.memory_cleanup_task",
        reports="nova.maintenance.reports:STORE",
        printer="nova.maintenance.commands:print_report",
    ),
    Domain(
        name="analytics",
        task="nova.analytics.process_daily_metrics_task",
        reports="nova.analytics.reports:STORE",
        printer="nova.analytics.commands:print_report",
    ),
    Domain(
        name="analysis",
        task="nova.analysis.competitor_analysis_task",
        reports="nova.analysis.reports:STORE",
        printer="nova.analysis.commands:print_report",
    ),
    Domain(
        name="trends",
        task="nova.trends.daily_trend_scan_task",
        reports="nova.trends.reports:STORE",
        printer="nova.trends.commands:print_report",
    ),
)
DOMAINS: Mapping[str, Domain] = {domain.name: domain for domain in _TABLE}


def list_reports(
    client: redis.Redis, domains: Iterable[str], limit: int
) -> tuple[int, list[tuple[str, ListedReport]]]:
    """Return how many reports these domains have, and the newest of them, each with its domain.

    At most `limit` of each domain: one that runs every hour hides none that runs every week.
    """
    total, found = 0, []
    for name in domains:
        page = DOMAINS[name].store.list(client, limit=limit)
        total += page.total
        found += [(name, line) for line in page.reports]
    found.sort(key=lambda pair: pair[1].generated_at, reverse=True)
    return total, found


def find_report(
    client: redis.Redis, report_id: str, domain: str | None = None
) -> tuple[Domain, BaseReport]:
    """Return a report and its domain, which need not be named: ids are those of tasks.

    Without a domain the id `latest` means the newest governance report.

    Raises:
        NotFoundError: there is no such report.
    """
    if domain is None and report_id == LATEST:
        domain = DEFAULT_DOMAIN
    if domain is not None:
        return DOMAINS[domain], DOMAINS[domain].store.get(client, report_id)
    for candidate in DOMAINS.values():
        report = candidate.store.find(client, report_id)
        if report is not None:
            return candidate, report
    raise NotFoundError(f"there is no report {report_id}; see: nova report list")
