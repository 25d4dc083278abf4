"""Channels as people read them: which there are on a day, and one of them day by day."""

from collections.abc import Sequence
from datetime import date
from math import isfinite
from typing import Any, cast

import redis
from pydantic import BaseModel, Field, create_model

from nova.channels import METRIC_NAMES, METRICS, days_in_window, newest_day, unpack_many
from nova.errors import NotFoundError
from nova.store import Keys

#: Most days that are read at once.
MOST_DAYS = 366

_FIELDS: dict[str, Any] = {
    metric.name: (
        float | None,
        Field(default=None, description=f"{metric.description} Unit: {metric.unit}."),
    )
    for metric in METRICS
}
#: One field for each metric, null where it is not known.
ChannelMetrics: type[BaseModel] = create_model(
    "ChannelMetrics", __doc__="What is known of a channel on a day.", **_FIELDS
)


class ChannelLine(BaseModel):
    """One channel on one day."""

    channel: str
    metrics: ChannelMetrics  # type: ignore[valid-type]  # made of the table of metrics


class ChannelPage(BaseModel):
    """Some of the channels of a day, in no order that means anything."""

    day: date | None = Field(description="The day; null if there are no metrics at all.")
    total: int = Field(description="Channels that the day has.")
    channels: list[ChannelLine]
    next: str | None = Field(
        description="Ask for more with this as `cursor`; null when there is no more. A page has "
        "about as many channels as were asked for, and may have none and yet a next one."
    )


class ChannelDay(BaseModel):
    """One day of a channel."""

    day: date
    metrics: ChannelMetrics  # type: ignore[valid-type]


class ChannelHistory(BaseModel):
    """A channel, day by day."""

    channel: str
    first_day: date = Field(description="Where the window begins.")
    last_day: date = Field(description="Where it ends.")
    days: list[ChannelDay] = Field(description="Days on which it has metrics, oldest first.")


def list_channels(
    client: redis.Redis, day: date | None = None, cursor: int = 0, limit: int = 50
) -> ChannelPage:
    """Return some channels of a day, the newest with metrics if None is given.

    Looks at about `limit` channels, however many the day has.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    found_day = day or newest_day(client)
    if found_day is None:
        return ChannelPage(day=None, total=0, channels=[], next=None)
    key = Keys.metric_day(found_day)
    following, found = cast(tuple[int, dict[bytes, bytes]], client.hscan(key, cursor, count=limit))
    return ChannelPage(
        day=found_day,
        total=client.hlen(key),
        channels=[
            ChannelLine(channel=channel.decode(), metrics=metrics)
            for channel, metrics in zip(found, _metrics(list(found.values())), strict=True)
        ],
        next=str(following) if following else None,
    )


def read_channel(
    client: redis.Redis, channel: str, days: int = 28, until: date | None = None
) -> ChannelHistory:
    """Return a channel's metrics on the `days` days up to and including `until`.

    Args:
        client: Redis.
        channel: its id.
        days: length of the window, 1 to MOST_DAYS.
        until: the last day; the newest of which Nova has metrics if None.

    Raises:
        NotFoundError: the channel has no metrics on these days.
        redis.RedisError: Redis does not answer.
    """
    last = until or newest_day(client)
    if last is None:
        raise NotFoundError("there are no metrics yet; ingest some: nova ingest FILE")
    first = date.fromordinal(max(date.min.toordinal(), last.toordinal() - days + 1))
    present = days_in_window(client, last, (last - first).days + 1)
    with client.pipeline(transaction=False) as pipe:
        for day in present:
            pipe.hget(Keys.metric_day(day), channel)
        stored = cast(list[bytes | None], pipe.execute())
    known = [(day, record) for day, record in zip(present, stored, strict=True) if record]
    if not known:
        raise NotFoundError(
            f"channel {channel} has no metrics on the {days} days up to {last}; try other days"
        )
    metrics = _metrics([record for _, record in known])
    return ChannelHistory(
        channel=channel,
        first_day=first,
        last_day=last,
        days=[
            ChannelDay(day=day, metrics=row) for (day, _), row in zip(known, metrics, strict=True)
        ],
    )


def _metrics(records: Sequence[bytes]) -> list[BaseModel]:
    rows = unpack_many(records).tolist()
    return [
        ChannelMetrics(
            **{
                name: value if isfinite(value) else None
                for name, value in zip(METRIC_NAMES, row, strict=True)
            }
        )
        for row in rows
    ]
