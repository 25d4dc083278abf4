"""Channels: which there are, and their metrics day by day."""

from typing import Annotated

from fastapi import APIRouter, Query

from nova import channel_days
from nova.api import problems
from nova.api.deps import AppSettings, RedisClient, Viewer
from nova.api.parameters import ChannelId, Day
from nova.channel_days import MOST_DAYS, ChannelHistory, ChannelPage
from nova.store import redis_errors

router = APIRouter(prefix="/api/channels", tags=["channels"])


@router.get("", responses=problems.responses(401, 403, 422, 503))
def list_channels(
    _caller: Viewer,
    settings: AppSettings,
    client: RedisClient,
    *,
    day: Annotated[
        Day | None, Query(description="Channels of this day; of the newest if left out.")
    ] = None,
    cursor: Annotated[
        str, Query(max_length=20, pattern="^[0-9]{1,19}$", description="`next` of a page.")
    ] = "0",
    limit: Annotated[int, Query(ge=1, le=1000, description="About how many to return.")] = 50,
) -> ChannelPage:
    """List the channels of a day with their metrics, in no order that means anything."""
    with redis_errors(settings):
        return channel_days.list_channels(client, day, int(cursor), limit)


# Ids come from other systems, and some hold a slash: hence `path`.
@router.get("/{channel:path}", responses=problems.responses(401, 403, 404, 422, 503))
def show_channel(
    _caller: Viewer,
    channel: ChannelId,
    settings: AppSettings,
    client: RedisClient,
    *,
    days: Annotated[
        int, Query(ge=1, le=MOST_DAYS, description="How many days to show, back from `until`.")
    ] = 28,
    until: Annotated[
        Day | None, Query(description="The last day; the newest with metrics if left out.")
    ] = None,
) -> ChannelHistory:
    """Show the metrics of a channel day by day."""
    with redis_errors(settings):
        return channel_days.read_channel(client, channel, days, until)
