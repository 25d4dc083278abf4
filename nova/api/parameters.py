"""Parameters that many routes take, and what they accept."""

import re
from datetime import date
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BeforeValidator

from nova.ingest.values import MAX_NAME_BYTES

#: More than there will ever be, and less than numbers that Redis cannot hold.
MOST = 1_000_000_000

Offset = Annotated[int, Query(ge=0, le=MOST, description="How many to leave out.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many to return at most.")]
#: As long as ingest takes them.
ChannelId = Annotated[
    str,
    Path(max_length=MAX_NAME_BYTES, description="Id of the channel.", examples=["UC-lHJZR3Gqxm"]),
]
ReportId = Annotated[
    str,
    Path(max_length=200, description="Id of the run's task, or `latest`.", examples=["latest"]),
]


def _written_day(value: Any) -> Any:
    """Refuse numbers, which pydantic would take for seconds since 1970."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("write the day as YYYY-MM-DD")
    if not isinstance(value, str | date):
        raise ValueError("write the day as text, YYYY-MM-DD")
    return value


#: A day, YYYY-MM-DD.
Day = Annotated[date, BeforeValidator(_written_day)]
