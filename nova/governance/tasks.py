"""Governance's tasks: thin wrappers over the service."""

from typing import Annotated, Any

from celery import shared_task
from pydantic import Field
from redis.client import Pipeline

from nova.governance.models import Report
from nova.governance.notifications import SEND_TASK, send_notification
from nova.governance.sending import TargetAwayError
from nova.governance.service import run_governance
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import open_redis

#: Seconds that a target may ask to be left alone for; who asks for more is asked after these.
LONGEST_RETRY_AFTER_SECONDS = 3600.0


@shared_task(  # type: ignore[untyped-decorator]  # celery ships no types
    name="nova.governance.run_governance_task", bind=True, base=NovaTask
)
def run_governance_task(self: NovaTask, auto_actions: bool | None = None) -> dict[str, Any]:
    """Score all channels, store a report whose id is the task's id, and enforce the policy.

    `auto_actions` decides for this run whether flags become actions; None leaves it to the
    policy. The result names the report; without any channel metrics there is none.
    """
    settings = get_settings()
    with open_redis(settings) as client:
        run = Run(self, client)

        def commit(effects: Pipeline, report: Report, transaction: Pipeline) -> None:
            run.commit(effects, _result(report), transaction=transaction)

        def publish_notification(effects: Pipeline, target: str, report_id: str) -> str:
            arguments = {"target": target, "report_id": report_id}
            return run.publish(effects, SEND_TASK, kwargs=arguments, key=f"notification {target}")

        report = run_governance(
            client, settings, run.task_id, auto_actions, commit, outbox=publish_notification
        )
    if report is None:
        return {"report_id": None, "message": "no channel metrics yet: nothing to judge"}
    return _result(report)


@shared_task(  # type: ignore[untyped-decorator]
    # Ten more attempts, over 20 minutes on average: a target may be restarted meanwhile.
    name=SEND_TASK,
    bind=True,
    base=NovaTask,
    max_retries=10,
    retry_backoff=5,
)
def send_notification_task(
    self: NovaTask,
    target: Annotated[str, Field(min_length=1, max_length=64)],
    report_id: Annotated[str, Field(min_length=1, max_length=200)],
) -> dict[str, Any]:
    """Notify a target of the watch file about a report; the task's id is the idempotency key.

    Published by the governance run, and sent at least once. A target that is away is tried again,
    with growing pauses; one that refuses ends the task.
    """
    settings = get_settings()
    with open_redis(settings) as client:
        run = Run(self, client)
        try:
            sent = send_notification(client, settings, target, report_id, key=run.task_id)
        except TargetAwayError as error:
            if error.retry_after_seconds is None:
                raise
            countdown = min(error.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS)
            raise self.retry(exc=error, countdown=countdown) from None
        result = {"target": target, "report_id": report_id, "message": sent}
        return dict(run.commit(run.effects(), result))


def _result(report: Report) -> dict[str, Any]:
    return {
        "report_id": report.id,
        "window": {"start": str(report.window.start), "end": str(report.window.end)},
        "channels_seen": report.channels_seen,
        "channels_judged": report.channels_judged,
        "counts": report.counts.model_dump(),
        "actions_taken": len(report.enforcement.taken),
        "notifications": [notification.task_id for notification in report.notifications],
        "message": report.enforcement.note,
    }
