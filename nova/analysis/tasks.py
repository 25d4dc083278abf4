"""Analysis' task: a thin wrapper over the service."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from celery import shared_task
from pydantic import Field

from nova.analysis.models import MAX_SEEDS, AnalysisReport, Seed
from nova.analysis.reports import STORE
from nova.analysis.service import NOTHING, analyse
from nova.runtime.arguments import IsoDay
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import open_redis


@shared_task(  # type: ignore[untyped-decorator]  # celery ships no types
    name="nova.analysis.competitor_analysis_task", bind=True, base=NovaTask
)
def competitor_analysis_task(
    self: NovaTask,
    day: IsoDay | None = None,
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS)] | None = None,
) -> dict[str, Any]:
    """Compare competitors with our channels, and store a report whose id is the task's id.

    Without a day: with all data up to today. Without seeds: the channels of COMPETITOR_SEEDS.
    """
    settings = get_settings()
    wanted = None if day is None else date.fromisoformat(day)
    with open_redis(settings) as client:
        run = Run(self, client)
        now = datetime.now(UTC)
        report = analyse(client, settings, run.task_id, now=now, day=wanted, seeds=seeds)
        effects = run.effects()
        result: dict[str, Any] = {"report_id": None, "message": NOTHING}
        if report is not None:
            STORE.record(effects, report, timedelta(days=settings.report_retention_days))
            result = _result(report)
        run.commit(effects, result)
        return result


def _result(report: AnalysisReport) -> dict[str, Any]:
    return {
        "report_id": report.id,
        "day": str(report.day),
        "competitors": report.competitors_total,
        "not_found": report.not_found_total,
        "message": report.headline,
    }
