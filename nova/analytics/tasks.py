"""Analytics' task: a thin wrapper over the service."""

from datetime import date
from typing import Any

from celery import shared_task
from redis.client import Pipeline

from nova.analytics.models import AnalyticsReport
from nova.analytics.service import Commits, process_day
from nova.runtime.arguments import IsoDay
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import open_redis


@shared_task(  # type: ignore[untyped-decorator]  # celery ships no types
    name="nova.analytics.process_daily_metrics_task", bind=True, base=NovaTask
)
def process_daily_metrics_task(self: NovaTask, day: IsoDay | None = None) -> dict[str, Any]:
    """Bring the aggregates and leaderboards of a day, and of all that holds it, up to date.

    None is the newest day that has channel metrics. The result names the report, whose id is the
    task's; a day without any metrics has none.
    """
    settings = get_settings()
    wanted = None if day is None else date.fromisoformat(day)
    with open_redis(settings) as client:
        run = Run(self, client)

        def commit(effects: Pipeline, report: AnalyticsReport) -> None:
            run.commit(effects, _result(report))

        commits = Commits(run.commit_slice, commit)
        report = process_day(client, settings, run.task_id, wanted, commits)
    if report is None:
        of_day = "" if day is None else f" of {day}"
        message = f"no channel metrics{of_day}: nothing to process; load some with nova ingest"
        return {"report_id": None, "message": message}
    return _result(report)


def _result(report: AnalyticsReport) -> dict[str, Any]:
    return {"report_id": report.id, "day": str(report.day), "message": report.headline}
