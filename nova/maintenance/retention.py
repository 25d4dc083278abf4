"""Which days of channel metrics and videos are past their retention."""

from collections.abc import Iterable
from datetime import date


def days_past_retention(days: Iterable[date], today: date, keep: int | None) -> list[date]:
    """Return the days to remove, oldest first: all but the newest day and the `keep - 1` before it.

    The count goes back from the newest day that has data, not from today: who loads the data of an
    old year keeps it. Days that lie ahead do not move it, or one row with a wrong date would remove
    all the others; they stay.

    Args:
        days: days that have data.
        today: the present day, UTC.
        keep: number of days to keep; None keeps all.
    """
    known = sorted(set(days))
    newest = max((day for day in known if day <= today), default=None)
    if keep is None or newest is None:
        return []
    return [day for day in known if (newest - day).days >= keep]
