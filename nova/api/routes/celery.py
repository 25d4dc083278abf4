"""The fleet and its tasks."""

from datetime import datetime
from typing import Annotated, Any

from celery import states as celery_states
from fastapi import APIRouter, Path
from pydantic import Field

from nova.api import problems
from nova.api.deps import AppSettings, CeleryApp, RedisClient, Viewer
from nova.errors import NotFoundError
from nova.runtime.fleet import Fleet, read_fleet
from nova.runtime.issued import IssuedTask, find_issued
from nova.store import redis_errors

router = APIRouter(prefix="/api/celery", tags=["celery"])


class TaskStatus(IssuedTask):
    """A task: what was published, and what became of it."""

    state: str = Field(
        description="PENDING (waits in its queue), STARTED, RETRY, SUCCESS, FAILURE or REVOKED."
    )
    finished_at: datetime | None = None
    result: Any = Field(default=None, description="What the task returned, once it succeeded.")
    error: str | None = Field(
        default=None, description="Why it failed, or why it will be tried again."
    )


@router.get("/status", responses=problems.responses(401, 403, 503))
def show_status(_caller: Viewer, settings: AppSettings, client: RedisClient) -> Fleet:
    """Show the workers that are online, and how many tasks wait in each queue."""
    with redis_errors(settings):
        return read_fleet(client)


@router.get("/task/{task_id}", responses=problems.responses(401, 403, 404, 422, 503))
def show_task(
    _caller: Viewer,
    task_id: Annotated[str, Path(max_length=200)],
    settings: AppSettings,
    client: RedisClient,
    celery: CeleryApp,
) -> TaskStatus:
    """Show one task. An id that was never issued, or whose result has expired, is 404."""
    with redis_errors(settings):
        issued = find_issued(client, task_id)
        if issued is None:
            raise NotFoundError(f"no task {task_id}: the id was never issued, or long ago")
        outcome = celery.backend.get_task_meta(task_id)
    state, result = outcome["status"], outcome["result"]
    if issued.is_done and state not in celery_states.READY_STATES:
        raise NotFoundError(
            f"task {task_id} has ended, and its result is kept for "
            f"{settings.result_expires_hours} hours only"
        )
    if issued.worker is not None and state not in celery_states.READY_STATES:
        state = celery_states.STARTED
    failed = isinstance(result, BaseException)
    return TaskStatus(
        **issued.model_dump(),
        state=state,
        finished_at=outcome.get("date_done") if state in celery_states.READY_STATES else None,
        result=result if state == celery_states.SUCCESS else None,
        error=f"{type(result).__name__}: {result}" if failed else None,
    )
