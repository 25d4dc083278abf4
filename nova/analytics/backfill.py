"""Processes a range of days, one after the other, by tasks like those that beat publishes.

One day is published, and waited for, before the next. So whoever stops in the middle leaves at
most one task, which ends by itself; the next backfill goes on with the days that are not done.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import redis
from celery import Celery
from celery.exceptions import TimeoutError as NotReadyError

from nova.analytics import aggregates
from nova.channels import newest_days
from nova.domains import DOMAINS
from nova.errors import InputError, UnavailableError


@dataclass(frozen=True)
class Backfill:
    """The days of a range, and what is to be done about them."""

    #: Days that have metrics and are not processed as they are now, oldest first.
    to_do: list[date]
    #: Days that are.
    done: list[date]
    #: Days of the range without metrics.
    without_data: int


def plan_backfill(client: redis.Redis, first: date, last: date) -> Backfill:
    """Find out which days from `first` to `last` are to be processed.

    Raises:
        InputError: there is no such range, or no day of it has metrics.
    """
    if first > last:
        raise InputError(f"--from {first} is after --to {last}")
    days = [day for day in newest_days(client) if first <= day <= last]
    if not days:
        raise InputError(f"no channel metrics from {first} to {last}; load some with nova ingest")
    parts = aggregates.day_parts(client, days)
    done = [part.day for part in parts if aggregates.is_processed(client, part)]
    return Backfill(
        to_do=[day for day in days if day not in done],
        done=done,
        without_data=(last - first).days + 1 - len(days),
    )


def run_backfill(app: Celery, days: list[date], timeout_seconds: float) -> Iterator[date]:
    """Process days, and yield each when it is done.

    Args:
        app: Nova's app of Celery.
        days: The days, in the order to be processed.
        timeout_seconds: Most seconds to wait for one day.

    Raises:
        UnavailableError: Redis or a worker is away; the message says at which day.
        NovaError: a day's task failed with it.
    """
    for day in days:
        task = DOMAINS["analytics"].publish(app, {"day": day.isoformat()})
        try:
            task.get(timeout=timeout_seconds)
        except NotReadyError:
            raise UnavailableError(
                f"{day} is not processed after {timeout_seconds:.0f} s, and stays queued; is an "
                "analytics worker online? see: nova status; the same command goes on from there"
            ) from None
        yield day
