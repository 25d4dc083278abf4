"""The fleet, its schedule and its tasks."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from nova.api import problems
from nova.api.deps import AppSettings, RedisClient, Viewer
from nova.api.parameters import Limit, Offset
from nova.runtime.fleet import Fleet, QueueStatus, read_fleet, read_queues
from nova.runtime.heartbeat import WorkerHeartbeat, read_workers
from nova.runtime.issued import TaskState
from nova.runtime.schedule_status import ScheduleStatus, read_schedule
from nova.runtime.task_status import TaskPage, TaskStatus, find_task, list_tasks
from nova.store import redis_errors

router = APIRouter(prefix="/api/celery", tags=["celery"])

TaskId = Annotated[str, Path(max_length=200, examples=["8c6e2a52-64a5-5b0c-9c37-2f1a0b7d4e11"])]


class QueueTable(BaseModel):
    """All queues, in the order of the queue table."""

    queues: list[QueueStatus]


class WorkerPage(BaseModel):
    """Some of the workers that are online, by name."""

    total: int
    workers: list[WorkerHeartbeat]


@router.get("/status", responses=problems.responses(401, 403, 503))
def show_status(_caller: Viewer, settings: AppSettings, client: RedisClient) -> Fleet:
    """Show the workers that are online, what waits and what was given up, and which beat leads."""
    with redis_errors(settings):
        return read_fleet(client)


@router.get("/queues", responses=problems.responses(401, 403, 503))
def show_queues(_caller: Viewer, settings: AppSettings, client: RedisClient) -> QueueTable:
    """Show every queue: what waits in it and how long, who serves it, and its limits."""
    with redis_errors(settings):
        return QueueTable(queues=read_queues(client))


@router.get("/workers", responses=problems.responses(401, 403, 422, 503))
def show_workers(
    _caller: Viewer,
    settings: AppSettings,
    client: RedisClient,
    offset: Offset = 0,
    limit: Limit = 100,
) -> WorkerPage:
    """List the workers that are online, as they described themselves some seconds ago."""
    with redis_errors(settings):
        workers = read_workers(client)
    return WorkerPage(total=len(workers), workers=workers[offset : offset + limit])


@router.get("/schedule", responses=problems.responses(401, 403, 503))
def show_schedule(_caller: Viewer, settings: AppSettings, client: RedisClient) -> ScheduleStatus:
    """Show each entry of the beat table: its last and next slot, how late, and what it missed."""
    with redis_errors(settings):
        return read_schedule(client)


@router.get("/tasks", responses=problems.responses(401, 403, 422, 503))
def show_tasks(
    _caller: Viewer,
    settings: AppSettings,
    client: RedisClient,
    *,
    state: Annotated[TaskState | None, Query(description="Only tasks in this state.")] = None,
    queue: Annotated[
        str | None, Query(max_length=200, description="Only tasks of this queue.")
    ] = None,
    name: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Only tasks of this name.",
            examples=["nova.governance.run_governance_task"],
        ),
    ] = None,
    after: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{1,15}-[0-9]{1,15}$", description="Go on here: `next` of a page."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many to return at most.")] = 20,
) -> TaskPage:
    """List tasks that were published last, newest first, as long as their results are kept."""
    with redis_errors(settings):
        return list_tasks(client, state=state, queue=queue, name=name, limit=limit, after=after)


@router.get("/task/{task_id}", responses=problems.responses(401, 403, 404, 422, 503))
def show_task(
    _caller: Viewer, task_id: TaskId, settings: AppSettings, client: RedisClient
) -> TaskStatus:
    """Show one task. An id that was never issued, or whose result has expired, is 404."""
    with redis_errors(settings):
        return find_task(client, task_id, settings.result_expires_hours)
