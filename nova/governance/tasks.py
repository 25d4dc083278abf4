"""Governance's tasks: thin wrappers over the service."""

from typing import Any

from celery import shared_task
from redis.client import Pipeline

from nova.governance.models import Report
from nova.governance.service import run_governance
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import connect, redis_errors


@shared_task(  # type: ignore[untyped-decorator]  # celery ships no types
    name="nova.governance.run_governance_task", bind=True, base=NovaTask
)
def run_governance_task(self: NovaTask, auto_actions: bool | None = None) -> dict[str, Any]:
    """Score all channels, store a report whose id is the task's id, and enforce the policy.

    `auto_actions` decides for this run whether flags become actions; None leaves it to the
    policy. The result names the report; without any channel metrics there is none.
    """
    settings = get_settings()
    with redis_errors(settings), connect(settings) as client:
        run = Run(self, client)

        def commit(effects: Pipeline, report: Report, transaction: Pipeline) -> None:
            run.commit(effects, _result(report), transaction=transaction)

        report = run_governance(client, settings, run.task_id, auto_actions, commit)
    if report is None:
        return {"report_id": None, "message": "no channel metrics yet: nothing to judge"}
    return _result(report)


def _result(report: Report) -> dict[str, Any]:
    return {
        "report_id": report.id,
        "window": {"start": str(report.window.start), "end": str(report.window.end)},
        "channels_seen": report.channels_seen,
        "channels_judged": report.channels_judged,
        "counts": report.counts.model_dump(),
        "actions_taken": len(report.enforcement.taken),
        "message": report.enforcement.note,
    }
