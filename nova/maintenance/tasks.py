"""Maintenance's task: a thin wrapper over the service."""

from typing import Any

import redis
from celery import shared_task

from nova.maintenance.models import MaxAgeHours
from nova.maintenance.service import clean, record
from nova.runtime.ledger import Run
from nova.runtime.task import NovaTask
from nova.settings import get_settings
from nova.store import Keys, open_redis


@shared_task(  # type: ignore[untyped-decorator]  # celery ships no types
    name="nova.maintenance.memory_cleanup_task", bind=True, base=NovaTask
)
def memory_cleanup_task(
    self: NovaTask,
    max_age_hours: MaxAgeHours = 24,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Remove what nobody needs any more; store a report whose id is the task's id.

    What has no retention of its own goes when nobody used it for `max_age_hours`. With `dry_run`
    nothing is removed, and the report says what would be.
    """
    settings = get_settings()
    with open_redis(settings) as client:
        run = Run(self, client)
        report = clean(
            client,
            settings,
            run.task_id,
            max_age_hours,
            dry_run=dry_run,
            commit_slice=run.commit_slice,
            earlier_starts=_earlier_starts(client, run.task_id),
        )
        effects = run.effects()
        record(effects, report)
        result: dict[str, Any] = run.commit(
            effects,
            {
                "report_id": report.id,
                "dry_run": dry_run,
                "removed": report.removed.model_dump(),
                "message": report.headline,
            },
        )
    return result


def _earlier_starts(client: redis.Redis, task_id: str) -> int:
    """Return how often the run was started before this start, as its claims counted."""
    starts = client.hget(Keys.issued_task(task_id), "starts")
    return max(int(starts or 1) - 1, 0)
