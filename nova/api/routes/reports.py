"""The reports of every domain, each with its own model."""

from typing import Any

from fastapi import APIRouter

from nova.api import problems
from nova.api.deps import AppSettings, RedisClient, Viewer
from nova.api.parameters import Limit, Offset, ReportId
from nova.domains import DOMAINS, Domain
from nova.store import redis_errors

router = APIRouter(prefix="/api/reports", tags=["reports"])


def _add_routes(domain: Domain) -> None:
    """Add the routes of one domain: paths of their own, so that their answers have types."""
    store = domain.store

    def list_reports(
        _caller: Viewer,
        settings: AppSettings,
        client: RedisClient,
        offset: Offset = 0,
        limit: Limit = 20,
    ) -> Any:
        """List the reports, newest first."""
        with redis_errors(settings):
            return store.list(client, offset, limit)

    def show_report(
        _caller: Viewer, report_id: ReportId, settings: AppSettings, client: RedisClient
    ) -> Any:
        """Show one report, or the newest: `latest`."""
        with redis_errors(settings):
            return store.get(client, report_id)

    router.add_api_route(
        f"/{domain.name}",
        list_reports,
        name=f"list_{domain.name}_reports",
        response_model=store.page,
        responses=problems.responses(401, 403, 422, 503),
    )
    router.add_api_route(
        f"/{domain.name}/{{report_id}}",
        show_report,
        name=f"show_{domain.name}_report",
        response_model=store.model,
        responses=problems.responses(401, 403, 404, 422, 503),
    )


for _domain in DOMAINS.values():
    _add_routes(_domain)
