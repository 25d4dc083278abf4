"""The pause of the API: it answers 503 to every call with a token, and tasks go on.

It ends by itself, by the clock of Redis. That it is paused is told by the question that each
request asks about its token (nova/api/admission.py), at no further round trip.
"""

from datetime import UTC, datetime, timedelta
from typing import cast

import redis
from pydantic import BaseModel, Field

from nova.errors import InputError
from nova.operations.audit import new_note, record, tell_journal
from nova.settings import Settings
from nova.store import Keys

LONGEST = timedelta(days=7)


class ApiPause(BaseModel):
    """Why the API answers nobody, and until when."""

    by: str
    reason: str
    since: datetime
    until: datetime = Field(description="It ends then by itself.")

    def line(self) -> str:
        """Return it as one line for people; callers of the API read it too."""
        return f"the API is paused until {self.until:%Y-%m-%d %H:%M:%S} UTC: {self.reason}"


def pause_api(
    client: redis.Redis, settings: Settings, *, duration: timedelta, reason: str, by: str
) -> ApiPause:
    """Pause the API for so long from now, in place of the pause that there may be.

    Raises:
        InputError: the duration is not between a second and a week, or there is no reason.
        redis.RedisError: Redis does not take it.
    """
    if not timedelta(seconds=1) <= duration <= LONGEST:
        raise InputError(f"the API is paused for 1 second to {LONGEST.days} days")
    note = new_note(settings, by=by, action="pause the API", after=_text(duration), detail=reason)
    if not note.detail:
        raise InputError("say in --reason why the API is paused; callers read it")
    seconds, _ = client.time()
    since = datetime.fromtimestamp(seconds, UTC)
    pause = ApiPause(by=note.by, reason=note.detail, since=since, until=since + duration)
    with client.pipeline() as pipe:
        pipe.set(Keys.API_PAUSE, pause.model_dump_json(), ex=duration)
        record(pipe, note)
        pipe.execute()
    tell_journal(note)
    return pause


def _text(duration: timedelta) -> str:
    return f"{duration.total_seconds():.0f} s"


def resume_api(client: redis.Redis, settings: Settings, *, by: str) -> bool:
    """End the pause; return whether there was one.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    note = new_note(settings, by=by, action="resume the API")
    if not client.delete(Keys.API_PAUSE):
        return False
    record(client, note)
    tell_journal(note)
    return True


def read_pause(client: redis.Redis) -> ApiPause | None:
    """Return the pause; None if the API is not paused.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    stored = cast(bytes | None, client.get(Keys.API_PAUSE))
    return None if stored is None else ApiPause.model_validate_json(stored)
