"""What is known of releases: which were good, and which must not come back.

A release that nobody has judged is `unknown`. A good one is where a rollback may go to. A voided
one was taken back; nothing deploys it until somebody says that it may.

The judgements stay for ever: 150 bytes each.
"""

import json
import re
from collections import Counter
from datetime import datetime
from typing import Literal, cast

import redis
from pydantic import BaseModel, Field

from nova.errors import ConflictError, InputError, NotFoundError
from nova.operations.audit import ENTRIES_KEPT, new_note, tell_journal
from nova.runtime.scripts import load
from nova.settings import Settings
from nova.store import Keys

ReleaseState = Literal["good", "voided", "unknown"]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
#: As lua/release_mark.lua calls them in the audit.
_ACTIONS: dict[ReleaseState, str] = {
    "good": "call the release good",
    "voided": "void the release",
    "unknown": "unvoid the release",
}


class Release(BaseModel):
    """One release."""

    id: str
    state: ReleaseState = "unknown"
    since: datetime | None = Field(default=None, description="When somebody said so last.")
    by: str = ""
    reason: str = ""
    workers: int = Field(default=0, description="Online workers that run it.")


def list_releases(client: redis.Redis) -> list[Release]:
    """Return all that was judged or that workers run, the one judged last first.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    # Imported here: it brings Celery, which the other commands can do without.
    from nova.runtime.heartbeat import read_workers

    found = {name: _parse(name, text) for name, text in read_judgements(client).items()}
    running = Counter(worker.release for worker in read_workers(client))
    for name, workers in running.items():
        found.setdefault(name, Release(id=name)).workers = workers
    return sorted(found.values(), key=_judged_at, reverse=True)


def find_release(client: redis.Redis, release: str) -> Release:
    """Return what was judged of a release; `unknown` if nothing was.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    stored = cast(bytes | None, client.hget(Keys.RELEASES, release))
    return Release(id=release) if stored is None else _parse(release, stored)


def mark_release(
    client: redis.Redis,
    settings: Settings,
    release: str,
    state: ReleaseState,
    *,
    by: str,
    reason: str = "",
) -> Release:
    """Judge a release, and note that in the audit; return what stands there now.

    Raises:
        ConflictError: it is voided, and was to be called good.
        InputError: this is no id of a release, or a text is more than a line.
        redis.RedisError: Redis does not answer.
    """
    if _ID.fullmatch(release) is None:
        raise InputError(f"{release!r} is no release; see: nova release list")
    note = new_note(settings, by=by, action=_ACTIONS[state], after=release, detail=reason)
    is_so, stored, changed = load(client, "release_mark")(
        keys=[Keys.RELEASES, Keys.AUDIT], args=[release, state, note.by, note.detail, ENTRIES_KEPT]
    )
    found = Release(id=release) if stored is None else _parse(release, stored)
    if not is_so:
        raise ConflictError(_voided(found))
    if changed:
        tell_journal(note)
    return found


def check_release(client: redis.Redis, release: str) -> Release:
    """Return a release that may be deployed.

    Raises:
        ConflictError: it is voided.
        redis.RedisError: Redis does not answer.
    """
    found = find_release(client, release)
    if found.state == "voided":
        raise ConflictError(_voided(found))
    return found


def previous_release(client: redis.Redis, current: str) -> Release:
    """Return where a rollback goes to: the release that was called good last, but for `current`.

    Raises:
        NotFoundError: there is none.
        redis.RedisError: Redis does not answer.
    """
    for found in list_releases(client):
        if found.state == "good" and found.id != current:
            return found
    raise NotFoundError(f"there is no good release besides {current}; see: nova release list")


def read_judgements(client: redis.Redis) -> dict[str, str]:
    """Return what was judged of releases, as it is stored: id -> JSON.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    stored = cast(dict[bytes, bytes], client.hgetall(Keys.RELEASES))
    return {name.decode(): text.decode() for name, text in stored.items()}


def merge_judgements(client: redis.Redis, others: dict[str, str]) -> None:
    """Take over judgements of another state of the data; of two about a release the later counts.

    One that was taken back leaves no trace: a release that was voided in either stays so.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    present = read_judgements(client)
    for name, text in others.items():
        known = present.get(name)
        if known is None or _is_later(name, text, known):
            client.hset(Keys.RELEASES, name, text)


def _is_later(release: str, text: str, known: str) -> bool:
    return _judged_at(_parse(release, text)) > _judged_at(_parse(release, known))


def _parse(release: str, stored: str | bytes) -> Release:
    return Release.model_validate({**json.loads(stored), "id": release})


def _judged_at(release: Release) -> tuple[float, str]:
    return (release.since.timestamp() if release.since else 0.0, release.id)


def _voided(release: Release) -> str:
    since = f"{release.since:%Y-%m-%d %H:%M:%S} UTC" if release.since else "some time ago"
    return (
        f"release {release.id} was voided by {release.by} at {since}: {release.reason}; "
        f"if it may come back: nova release unvoid {release.id}"
    )
