"""The API's FastAPI app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from celery import Celery
from fastapi import FastAPI

import nova
from nova.api import problems
from nova.api.admission import Gate
from nova.api.middleware import BodyLimit, RequestMetrics
from nova.api.request_ids import RequestIds
from nova.api.routes import (
    analytics,
    celery,
    channels,
    deadletters,
    governance,
    metrics,
    process,
    reports,
    tokens,
    triggers,
)
from nova.api.security import TokenIssuer
from nova.metrics import REDIS_TIMEOUT_SECONDS
from nova.settings import Settings
from nova.store import connect

_MODULES = (
    celery,
    triggers,
    deadletters,
    reports,
    governance,
    analytics,
    channels,
    metrics,
    tokens,
    process,
)
ROUTERS = tuple(module.router for module in _MODULES)
DESCRIPTION = """
Management of Nova. Requests carry a token of `nova token create --role viewer|operator|admin` in
the header `Authorization: Bearer TOKEN`; each role may also do what the lower ones may. Every
error is a problem document (RFC 9457).
"""


def create_app(settings: Settings, celery_app: Celery) -> FastAPI:
    """Build the app, which publishes tasks through `celery_app`.

    Nothing is sent to Redis before the first request.

    Raises:
        ConfigurationError: JWT_SECRET_KEY is missing, too short or a placeholder.
    """
    app = FastAPI(
        title="Nova", version=nova.__release__, description=DESCRIPTION, lifespan=_lifespan
    )
    app.state.settings = settings
    app.state.celery = celery_app
    app.state.tokens = TokenIssuer(settings)
    app.state.redis = connect(settings)
    app.state.gate = Gate(settings, app.state.redis)
    # Probes and scrapers want an answer soon, also when Redis froze.
    app.state.probe_redis = connect(settings, timeout_seconds=REDIS_TIMEOUT_SECONDS)
    app.add_middleware(BodyLimit, limits_bytes={metrics.PATH: settings.ingest_max_bytes})
    app.add_middleware(RequestMetrics)
    app.add_middleware(RequestIds)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    _document_problems(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    if app.state.settings.scheduler == "celery":
        yield
    else:
        from nova.legacy import loops

        async with loops.running(app.state.settings, app.state.celery):
            yield
    app.state.redis.close()
    app.state.probe_redis.close()


def _document_problems(app: FastAPI) -> None:
    """Add to the OpenAPI document the schemas that `problems.responses` refers to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        template = "#/components/schemas/{model}"
        problem = problems.Problem.model_json_schema(ref_template=template)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= problem.pop("$defs") | {"Problem": problem}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
