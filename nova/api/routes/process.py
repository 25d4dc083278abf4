"""How this process is: for probes and scrapers, without a token."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

import nova
from nova import metrics
from nova.api import problems
from nova.api.deps import AppSettings
from nova.store import redis_errors

router = APIRouter(tags=["process"])


class Health(BaseModel):
    """That the process works."""

    status: Literal["ok"] = "ok"
    release: str = nova.__release__


@router.get("/healthz")
async def is_alive() -> Health:
    """Answer, whatever the state of other servers: the process lives."""
    # On the event loop on purpose: busy threads do not make the process look dead.
    return Health()


@router.get("/readyz", responses=problems.responses(503))
def is_ready(request: Request, settings: AppSettings) -> Health:
    """Answer 200 when Redis answers, so that requests can be served; 503 else."""
    with redis_errors(settings):
        request.app.state.probe_redis.ping()
    return Health()


@router.get("/metrics", response_class=Response)
def show_metrics(request: Request) -> Response:
    """Metrics of this process and of the fleet, in the text format of Prometheus."""
    text = metrics.render(request.app.state.probe_redis)
    return Response(text, media_type=metrics.CONTENT_TYPE)
