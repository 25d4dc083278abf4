"""Who did what to the fleet, from what to what, and how it ended: a stream in Redis.

The same lines go to the journal of the host on which they were written, under `nova-audit`.
"""

import syslog
from datetime import UTC, datetime
from typing import Any, Literal, cast

import redis
from pydantic import BaseModel, ConfigDict, Field
from redis.client import Pipeline

from nova.operations.words import check_name, hide_secrets, one_line
from nova.settings import Settings
from nova.store import Keys

#: About so many entries are kept; 1 MB in Redis.
ENTRIES_KEPT = 5000
JOURNAL_NAME = "nova-audit"

Outcome = Literal["ok", "failed", "rolled-back", "interrupted", "refused"]


class AuditNote(BaseModel):
    """What somebody did."""

    model_config = ConfigDict(populate_by_name=True)

    by: str = Field(description="Who.")
    action: str = Field(description="What, such as deploy.")
    from_: str = Field(default="", alias="from", description="What was there before.")
    to: str = Field(default="", description="What was to be there after.")
    result: Outcome = "ok"
    detail: str = ""

    def deed(self) -> str:
        """Return what was done and how it ended, without who and why."""
        change = f" {self.from_ or '-'} -> {self.to or '-'}" if self.from_ or self.to else ""
        return f"{self.action}{change}: {self.result}"

    def line(self) -> str:
        """Return it as one line for people."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.by}: {self.deed()}{detail}"


class AuditEntry(AuditNote):
    """A note as it stands in the audit."""

    id: str
    at: datetime
    # Of a newer release it may be a word that this one does not know.
    result: str = "ok"  # type: ignore[assignment]


def new_note(
    settings: Settings,
    *,
    by: str,
    action: str,
    before: str = "",
    after: str = "",
    result: Outcome = "ok",
    detail: str = "",
) -> AuditNote:
    """Return a note whose texts are one line each, and hold no secret of the settings.

    Raises:
        InputError: a name is empty that must not be, too long, or more than a line.
    """
    texts = {
        "by": check_name(by, "who did it"),
        "action": check_name(action, "the action"),
        "detail": detail,
        "from": check_name(before, "--from") if before else "",
        "to": check_name(after, "--to") if after else "",
    }
    # First, for a secret that is cut off is not found any more.
    hidden = {name: one_line(hide_secrets(text, settings)) for name, text in texts.items()}
    return AuditNote.model_validate(hidden | {"result": result})


def record(client: "redis.Redis | Pipeline", note: AuditNote) -> None:
    """Append a note; on a pipeline, with what it is about.

    Raises:
        redis.RedisError: Redis did not take it.
    """
    fields = cast(dict[Any, Any], note.model_dump(by_alias=True))
    client.xadd(Keys.AUDIT, fields, maxlen=ENTRIES_KEPT, approximate=True)


def tell_journal(note: AuditNote) -> None:
    """Write a note to the journal of this host; nothing happens where there is none."""
    syslog.openlog(JOURNAL_NAME, 0, syslog.LOG_USER)
    syslog.syslog(syslog.LOG_NOTICE, note.line())
    syslog.closelog()


def read_audit(client: redis.Redis, limit: int) -> list[AuditEntry]:
    """Return the last entries, the newest first.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    found = cast(list[tuple[bytes, dict[bytes, bytes]]], client.xrevrange(Keys.AUDIT, count=limit))
    return [_parse(place.decode(), fields) for place, fields in found]


def _parse(place: str, fields: dict[bytes, bytes]) -> AuditEntry:
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    at = datetime.fromtimestamp(int(place.partition("-")[0]) / 1000, UTC)
    return AuditEntry.model_validate({**texts, "id": place, "at": at})
