"""Governance reports, and operators' overrides."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from nova.api import problems
from nova.api.deps import Admin, AppSettings, RedisClient, Viewer
from nova.api.parameters import ChannelId, Limit, Offset, ReportId
from nova.governance import service
from nova.governance.models import Flag, Override, Report, ReportPage, VerdictPage
from nova.store import redis_errors

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/api/governance", tags=["governance"])


class OverrideRequest(BaseModel):
    """An operator's word on a channel."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"rule": "force", "flag": "promote", "reason": "launch week"}]
        },
    )

    rule: Literal["ignore", "force"] = Field(
        description="ignore: leave the channel out of judging; force: set its flag."
    )
    flag: Flag | None = Field(default=None, description="The flag that force sets.")
    reason: str = Field(max_length=500, description="Why; stands in the reports.")


@router.get("/reports", responses=problems.responses(401, 403, 422, 503))
def list_reports(
    _caller: Viewer,
    settings: AppSettings,
    client: RedisClient,
    offset: Offset = 0,
    limit: Limit = 20,
) -> ReportPage:
    """List the reports, newest first."""
    with redis_errors(settings):
        return service.list_reports(client, offset, limit)


@router.get("/reports/{report_id}", responses=problems.responses(401, 403, 404, 422, 503))
def show_report(
    _caller: Viewer, report_id: ReportId, settings: AppSettings, client: RedisClient
) -> Report:
    """Show one report, or the newest: `latest`."""
    with redis_errors(settings):
        return service.get_report(client, report_id)


@router.get("/reports/{report_id}/channels", responses=problems.responses(401, 403, 404, 422, 503))
def list_channels(
    _caller: Viewer,
    report_id: ReportId,
    *,
    settings: AppSettings,
    client: RedisClient,
    flag: Annotated[Flag | None, Query(description="Only channels with this flag.")] = None,
    offset: Offset = 0,
    limit: Limit = 50,
) -> VerdictPage:
    """List the channels of a report: best first; worst first for watch and retire."""
    with redis_errors(settings):
        return service.list_channels(client, report_id, flag, offset, limit)


@router.get("/overrides", responses=problems.responses(401, 403, 503))
def list_overrides(_caller: Viewer, settings: AppSettings, client: RedisClient) -> list[Override]:
    """List the overrides, by channel."""
    with redis_errors(settings):
        return service.list_overrides(client)


# Ids come from other systems, and some hold a slash: hence `path`.
@router.put("/overrides/{channel:path}", responses=problems.responses(400, 401, 403, 413, 422, 503))
def set_override(
    caller: Admin,
    channel: ChannelId,
    override: OverrideRequest,
    settings: AppSettings,
    client: RedisClient,
) -> Override:
    """Set the override of a channel, in place of the one it had."""
    with redis_errors(settings):
        stored = service.set_override(
            client,
            channel,
            override.rule,
            flag=override.flag,
            reason=override.reason,
            by=caller.subject,
        )
    logger.info("%s set an override: %s", caller.subject, stored.model_dump_json())
    return stored


@router.delete(
    "/overrides/{channel:path}",
    status_code=204,
    responses=problems.responses(401, 403, 404, 422, 503),
)
def clear_override(
    caller: Admin, channel: ChannelId, settings: AppSettings, client: RedisClient
) -> None:
    """Remove the override of a channel."""
    with redis_errors(settings):
        service.clear_override(client, channel)
    logger.info("%s removed the override of channel %s", caller.subject, channel)
