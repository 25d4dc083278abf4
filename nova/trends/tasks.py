"""Trends' task: a thin wrapper over the service."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from celery import shared_task

from nova.memory import Memory
from nova.runtime.arguments import IsoDay
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import open_redis
from nova.trends.listings import NAMESPACE
from nova.trends.models import TrendReport
from nova.trends.reports import STORE
from nova.trends.service import NOTHING, scan_trends


@shared_task(  # type: ignore[untyped-decorator]  # celery ships no types
    name="nova.trends.daily_trend_scan_task", bind=True, base=NovaTask
)
def daily_trend_scan_task(self: NovaTask, day: IsoDay | None = None) -> dict[str, Any]:
    """Scan a day for rising topics, and store a report whose id is the task's id.

    Without a day: today if sources are fetched, else the day of the newest trending list. What
    feeds showed is remembered together with the report.
    """
    settings = get_settings()
    wanted = None if day is None else date.fromisoformat(day)
    with open_redis(settings) as client:
        run = Run(self, client)
        scan = scan_trends(client, settings, run.task_id, now=datetime.now(UTC), day=wanted)
        effects = run.effects()
        result: dict[str, Any] = {"report_id": None, "message": NOTHING}
        if scan is not None:
            retention = timedelta(days=settings.report_retention_days)
            STORE.record(effects, scan.report, retention)
            Memory(client).record(effects, NAMESPACE, scan.remember)
            result = _result(scan.report)
        run.commit(effects, result)
        return result


def _result(report: TrendReport) -> dict[str, Any]:
    return {
        "report_id": report.id,
        "day": str(report.day),
        "rising": report.rising_total,
        "opportunities": report.opportunities_total,
        "message": report.headline,
    }
