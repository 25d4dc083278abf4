"""Reads what analytics keeps: leaderboards, categories, and the aggregates of a channel."""

from collections.abc import Mapping
from datetime import date
from typing import cast

import redis

from nova.analytics import aggregates
from nova.analytics.boards import standings
from nova.analytics.days import category_name
from nova.analytics.models import (
    CategoryAggregates,
    CategoryPage,
    ChannelAggregates,
    ChannelMetric,
    ChannelSpan,
    Leaderboard,
    Period,
    SpanState,
)
from nova.analytics.spans import Span
from nova.analytics.totals import describe, measure_of, of_one_day, unpack_many
from nova.arrays import Floats
from nova.channels import METRIC_NAMES
from nova.channels import unpack_many as unpack_metrics
from nova.errors import InputError, NotFoundError
from nova.store import Keys


def get_leaderboard(
    client: redis.Redis,
    metric: str,
    period: Period = Period.DAY,
    day: date | None = None,
    *,
    offset: int = 0,
    limit: int = 20,
) -> Leaderboard:
    """Return places of the leaderboard of the span of `period` that holds `day`, best first.

    Args:
        client: Redis.
        metric: Name of a metric of nova.channels.
        period: How long the span is.
        day: A day of the span; the newest that was processed if None.
        offset: Places to leave out.
        limit: Most places to return.

    Raises:
        InputError: there is no such metric.
        NotFoundError: nothing of that span was processed, or it is no longer kept.
    """
    if metric not in METRIC_NAMES:
        raise InputError(f"unknown metric {metric}; known are {', '.join(METRIC_NAMES)}")
    span, state = _find(client, period, day)
    board = Keys.analytics_board(span.key, metric)
    places = cast(
        list[tuple[bytes, float]],
        client.zrevrange(board, offset, offset + limit - 1, withscores=True),
    )
    previous = span.previous_key
    if previous is not None and not client.exists(Keys.analytics_state(previous)):
        previous = None
    ranked = {found.metric: found.channels for found in state.distributions}
    first, last = _ends(span, state)
    return Leaderboard(
        metric=metric,
        measure=measure_of(METRIC_NAMES.index(metric)),
        period=period,
        start=first,
        end=last,
        compared_with=previous,
        total=client.zcard(board),
        ranked=ranked.get(metric, 0),
        standings=standings(client, metric, places, previous, offset + 1),
    )


def get_categories(
    client: redis.Redis, period: Period = Period.DAY, day: date | None = None
) -> CategoryPage:
    """Return the categories of the span of `period` that holds `day`.

    Raises:
        NotFoundError: nothing of that span was processed, or it is no longer kept.
    """
    span, state = _find(client, period, day)
    records = cast(dict[bytes, bytes], client.hgetall(Keys.analytics_categories(span.key)))
    first, last = _ends(span, state)
    return CategoryPage(
        period=period,
        start=first,
        end=last,
        rows=state.rows,
        rows_without_category=state.rows_without_category,
        categories=describe_categories(records),
    )


def describe_categories(records: Mapping[bytes, bytes]) -> list[CategoryAggregates]:
    """Return packed aggregates of categories as people read them, by number."""
    numbers = sorted(records, key=int)
    values = unpack_many([records[number] for number in numbers])
    return [
        CategoryAggregates(
            category=int(number),
            name=category_name(int(number)),
            metrics=[found for _, found in describe(aggregate)],
        )
        for number, aggregate in zip(numbers, values, strict=True)
    ]


def get_channel(client: redis.Redis, channel: str, day: date | None = None) -> ChannelAggregates:
    """Return the aggregates of a channel on a day, in its week and month, and over all time.

    Args:
        client: Redis.
        channel: The channel's id.
        day: The day; the newest that was processed if None.

    Raises:
        NotFoundError: analytics has met no such channel.
    """
    if day is None:
        day = _newest_day(client)
    spans = [Span.holding(period, day) for period in Period]
    found = [part for span in spans if (part := _channel_span(client, span, channel))]
    if not client.hexists(Keys.analytics_channels(spans[-1].key), channel):
        raise NotFoundError(f"analytics knows no channel {channel}; names are taken as they are")
    return ChannelAggregates(channel=channel, day=day, spans=found)


def _channel_span(client: redis.Redis, span: Span, channel: str) -> ChannelSpan | None:
    """Return a channel over a span; None if it was not seen in it."""
    aggregate = _aggregate_of(client, span.key, channel)
    if aggregate is None:
        return None
    before = (
        None if span.previous_key is None else _aggregate_of(client, span.previous_key, channel)
    )
    known_before = {} if before is None else dict(describe(before))
    metrics = []
    for number, found in describe(aggregate):
        measure = measure_of(number)
        now = getattr(found, measure)
        previous = getattr(known_before[number], measure) if number in known_before else None
        board = Keys.analytics_board(span.key, found.metric)
        rank = cast(int | None, client.zrevrank(board, channel))
        metrics.append(
            ChannelMetric(
                **found.model_dump(),
                measure=measure,
                rank=None if rank is None else rank + 1,
                previous=previous,
                change_percent=(now - previous) / previous * 100 if (previous or 0) > 0 else None,
            )
        )
    state = aggregates.read_state(client, span.key)
    first, last = (span.start, span.end) if state is None else _ends(span, state)
    return ChannelSpan(period=span.period, start=first, end=last, metrics=metrics)


def _aggregate_of(client: redis.Redis, key: str, channel: str) -> Floats | None:
    """Return a channel's aggregate over the span of a key, shape (metrics, 4)."""
    period, _, day = key.partition(":")
    if period == Period.DAY:
        record = _field(client, Keys.metric_day(date.fromisoformat(day)), channel)
        return None if record is None else of_one_day(unpack_metrics([record]))[0]
    record = _field(client, Keys.analytics_channels(key), channel)
    return None if record is None else unpack_many([record])[0]


def _field(client: redis.Redis, key: str, channel: str) -> bytes | None:
    return cast(bytes | None, client.hget(key, channel))


def _find(client: redis.Redis, period: Period, day: date | None) -> tuple[Span, SpanState]:
    if day is None:
        day = _newest_day(client)
    span = Span.holding(period, day)
    state = aggregates.read_state(client, span.key)
    if state is None:
        raise NotFoundError(
            f"analytics has nothing of {span.key}; run: nova trigger analytics --day {day}"
        )
    return span, state


def _ends(span: Span, state: SpanState) -> tuple[date, date]:
    """Return first and last day of a span; of all time, those that have data."""
    if span.period is Period.ALL:
        return state.first_day, state.last_day
    return span.start, span.end


def _newest_day(client: redis.Redis) -> date:
    newest = cast(list[bytes], client.zrange(Keys.ANALYTICS_DAYS, -1, -1))
    if not newest:
        raise NotFoundError("analytics has processed no day yet; run: nova trigger analytics")
    return date.fromisoformat(newest[0].decode())
