"""A schedule of a few seconds, with slots that everybody can compute from the clock alone."""

import math
from datetime import datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule, schedstate

PERIOD_SECONDS = 2
ENTRY = "fault-slots"


class EverySlot(BaseSchedule):  # type: ignore[misc]  # celery ships no types
    """Due at every multiple of the period since 1970, as a crontab is at every minute."""

    def __init__(self, period: int = PERIOD_SECONDS, **options: Any) -> None:
        self.period = period
        super().__init__(**options)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return the time until the slot that follows the last run."""
        following = (math.floor(last_run_at.timestamp() / self.period) + 1) * self.period
        return timedelta(seconds=following - self.now().timestamp())

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether the slot after the last run has come, and when to look again."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return schedstate(False, remaining)
        now = self.now().timestamp()
        return schedstate(True, (math.floor(now / self.period) + 1) * self.period - now)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EverySlot) and other.period == self.period

    __hash__ = BaseSchedule.__hash__

    def __reduce__(self) -> tuple[type["EverySlot"], tuple[int]]:
        return type(self), (self.period,)


def slot_of(timestamp: float) -> str:
    """Return the name of the slot that a time, in seconds since 1970, lies in."""
    return f"slot {math.floor(timestamp / PERIOD_SECONDS) * PERIOD_SECONDS}"


def planned_times(start: float, end: float) -> list[int]:
    """Return the planned times in a span of time; all in seconds since 1970."""
    return list(range(math.ceil(start / PERIOD_SECONDS) * PERIOD_SECONDS, int(end), PERIOD_SECONDS))
