"""Leaderboards and aggregates of channels and categories."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from nova.analytics import reading
from nova.analytics.models import CategoryPage, ChannelAggregates, Leaderboard, Period
from nova.api import problems
from nova.api.deps import AppSettings, RedisClient, Viewer
from nova.api.parameters import ChannelId, Day, Limit, Offset
from nova.channels import METRIC_NAMES
from nova.store import redis_errors

router = APIRouter(prefix="/api/analytics", tags=["analytics"])
RESPONSES = problems.responses(401, 403, 404, 422, 503)

MetricName = Annotated[
    str, Path(description="Name of a metric.", json_schema_extra={"enum": [*METRIC_NAMES]})
]
PeriodName = Annotated[Period, Query(description="The day, or the span that holds it.")]
SpanDay = Annotated[
    Day | None,
    Query(description="A day of the span; left out: the newest that was processed."),
]


@router.get("/leaderboards/{metric}", responses=RESPONSES)
def show_leaderboard(
    _caller: Viewer,
    metric: MetricName,
    *,
    settings: AppSettings,
    client: RedisClient,
    period: PeriodName = Period.DAY,
    day: SpanDay = None,
    offset: Offset = 0,
    limit: Limit = 20,
) -> Leaderboard:
    """List the channels with the highest values, and how their ranks changed."""
    with redis_errors(settings):
        return reading.get_leaderboard(client, metric, period, day, offset=offset, limit=limit)


@router.get("/categories", responses=RESPONSES)
def show_categories(
    _caller: Viewer,
    settings: AppSettings,
    client: RedisClient,
    period: PeriodName = Period.DAY,
    day: SpanDay = None,
) -> CategoryPage:
    """Show the aggregates of each category over a span."""
    with redis_errors(settings):
        return reading.get_categories(client, period, day)


# Ids come from other systems, and some hold a slash: hence `path`.
@router.get("/channels/{channel:path}", responses=RESPONSES)
def show_channel(
    _caller: Viewer,
    channel: ChannelId,
    settings: AppSettings,
    client: RedisClient,
    day: SpanDay = None,
) -> ChannelAggregates:
    """Show a channel's aggregates on a day, in its week and month, and over all time."""
    with redis_errors(settings):
        return reading.get_channel(client, channel, day)
