"""Spans of the calendar: a day, the week or month that holds it, and all time."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta

from nova.analytics.models import Period

#: Key of all time but its newest month: that month is added to it, and it is compared with.
BEFORE = "before"


@dataclass(frozen=True)
class Span:
    """One day, week or month, or all time. Both ends belong to it."""

    period: Period
    start: date
    end: date

    @classmethod
    def holding(cls, period: Period, day: date) -> "Span":
        """Return the span of a period that holds a day. A week is ISO's: Monday to Sunday."""
        if period is Period.ALL:
            return cls(period, date.min, date.max)
        if period is Period.WEEK:
            monday = day - timedelta(days=day.weekday())
            # The calendar's last week has five days.
            return cls(period, monday, monday + min(timedelta(days=6), date.max - monday))
        if period is Period.MONTH:
            length = monthrange(day.year, day.month)[1]
            return cls(period, day.replace(day=1), day.replace(day=length))
        return cls(period, day, day)

    @property
    def key(self) -> str:
        """Name of the span in keys."""
        return "all" if self.period is Period.ALL else f"{self.period}:{self.start.isoformat()}"

    @property
    def previous(self) -> "Span | None":
        """The day, week or month before; None where the calendar begins, and of all time."""
        if self.start == date.min:
            return None
        return Span.holding(self.period, self.start - timedelta(days=1))

    @property
    def previous_key(self) -> str | None:
        """Key of what the span is compared with: of all time, it without its newest month."""
        if self.period is Period.ALL:
            return BEFORE
        return None if self.previous is None else self.previous.key
