"""The lock of the fleet: one operation at a time changes it.

It expires by itself, by the clock of Redis. Each taking gets a token, one more than the last: who
renews with an old one learns that another works on the fleet, and must stop.
"""

import math
from datetime import UTC, datetime
from typing import cast

import redis
from pydantic import BaseModel, Field

from nova.errors import ConflictError, InputError
from nova.operations.audit import ENTRIES_KEPT, AuditNote, new_note, tell_journal
from nova.operations.words import check_name
from nova.runtime.scripts import load
from nova.settings import Settings
from nova.store import Keys

TTL_SECONDS = 900
#: An expired lock that nobody took can be renewed for so long.
REMEMBER_SECONDS = 24 * 3600


class FleetLock(BaseModel):
    """Who works on the fleet."""

    token: int = Field(description="Counts up with each taking.")
    owner: str
    reason: str
    acquired_at: datetime
    expires_at: datetime


def take_lock(
    client: redis.Redis,
    settings: Settings,
    *,
    owner: str,
    reason: str,
    ttl_seconds: int = TTL_SECONDS,
    take_over: bool = False,
    above: int = 0,
    run: str = "",
) -> FleetLock:
    """Take the lock; with `take_over` from whoever holds it, which the audit tells.

    Its token is higher than `above`, the highest that any host has seen: a Redis that was restored
    or began anew would else give tokens that hosts refuse. A lock that had expired is in the audit,
    as an operation that was interrupted.

    `run` is an id that whoever takes it has made: taken again with the same one, the lock is given
    again, with its token. Redis may have given it at a try whose answer was lost.

    Raises:
        ConflictError: another holds it.
        InputError: the owner or the run is no line of text, or there is no reason.
        redis.RedisError: Redis does not answer.
    """
    words = new_note(settings, by=owner, action="take over the lock", detail=reason)
    if not words.detail:
        raise InputError("say in --reason what the lock is for")
    taken, fields, *before = load(client, "lock_take")(
        keys=[Keys.FLEET_LOCK, Keys.FLEET_TOKEN, Keys.AUDIT],
        args=[
            words.by,
            words.detail,
            ttl_seconds,
            REMEMBER_SECONDS,
            "take-over" if take_over else "",
            ENTRIES_KEPT,
            above,
            check_name(run, "--run") if run else "",
        ],
    )
    lock = cast(FleetLock, _parse(fields))
    if not taken:
        raise ConflictError(_held(lock, _now(client)))
    former, was_taken_over = _parse(before[0]), before[1]
    if former is not None:
        tell_journal(_end_of(former, lock, words, was_taken_over=bool(was_taken_over)))
    return lock


def _end_of(
    former: FleetLock, lock: FleetLock, words: AuditNote, *, was_taken_over: bool
) -> AuditNote:
    """Return what the script has written to the audit about the lock that was there before."""
    if was_taken_over:
        detail = f"it was held for: {former.reason}; now for: {lock.reason}"
        told = {"from_": former.owner, "to": lock.owner, "detail": detail}
        return words.model_copy(update=told)
    return AuditNote(
        by=former.owner,
        action=former.reason,
        result="interrupted",
        detail=f"its lock expired, and {lock.owner} took it",
    )


def renew_lock(client: redis.Redis, token: int, ttl_seconds: int = TTL_SECONDS) -> FleetLock:
    """Let the lock live for so long from now on, also when it has expired and nobody took it.

    Raises:
        ConflictError: it is not this token's any more; whoever held it must stop.
        redis.RedisError: Redis does not answer.
    """
    renewed, fields = load(client, "lock_renew")(
        keys=[Keys.FLEET_LOCK], args=[token, ttl_seconds, REMEMBER_SECONDS]
    )
    lock = _parse(fields)
    if renewed and lock is not None:
        return lock
    if lock is None:
        raise ConflictError(
            f"the lock of the fleet is not that of token {token} any more: it was freed, perhaps "
            "after another had taken it; see: nova audit"
        )
    raise ConflictError(
        f"the lock of the fleet is not that of token {token} any more: {lock.owner} took it at "
        f"{_clock(lock.acquired_at)} with token {lock.token}, for: {lock.reason}; change nothing"
    )


def free_lock(client: redis.Redis, token: int) -> bool:
    """Free the lock; return whether it was still there.

    Raises:
        ConflictError: it is that of another token.
        redis.RedisError: Redis does not answer.
    """
    freed, fields = load(client, "lock_free")(keys=[Keys.FLEET_LOCK], args=[token])
    other = _parse(fields)
    if other is not None:
        raise ConflictError(
            f"the lock of the fleet is not that of token {token}: {other.owner} has it with token "
            f"{other.token}, for: {other.reason}"
        )
    return bool(freed)


def read_lock(client: redis.Redis) -> FleetLock | None:
    """Return the lock; None if nobody holds it.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(Keys.FLEET_LOCK)
        pipe.time()
        fields, time = pipe.execute()
    lock = _from_texts({name.decode(): value.decode() for name, value in fields.items()})
    return lock if lock is not None and lock.expires_at > _moment(*time) else None


def read_last_token(client: redis.Redis) -> int:
    """Return the token that was given last; 0 if none was.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    return int(cast(bytes | None, client.get(Keys.FLEET_TOKEN)) or 0)


def start_tokens_anew(client: redis.Redis, last_token: int) -> None:
    """Free the lock of an older state of the data, and see to it that no token is given twice.

    `last_token` is what was given as far as is known. Others may have been given since, so the next
    one is also higher than the Unix time in seconds: no fleet is locked once a second.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    time = int(_now(client).timestamp())
    client.set(Keys.FLEET_TOKEN, max(time, last_token, read_last_token(client)))
    client.delete(Keys.FLEET_LOCK)


def _parse(fields: list[bytes]) -> FleetLock | None:
    """Read the fields of a hash as a script returns them: name, value, name, value."""
    return _from_texts(
        {
            name.decode(): value.decode()
            for name, value in zip(fields[::2], fields[1::2], strict=True)
        }
    )


def _from_texts(texts: dict[str, str]) -> FleetLock | None:
    return FleetLock.model_validate(texts) if texts else None


def _now(client: redis.Redis) -> datetime:
    return _moment(*client.time())


def _moment(seconds: int, microseconds: int) -> datetime:
    return datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)


def _held(lock: FleetLock, now: datetime) -> str:
    left = max(0, math.ceil((lock.expires_at - now).total_seconds()))
    return (
        f"{lock.owner} holds the lock of the fleet since {_clock(lock.acquired_at)}, for: "
        f"{lock.reason}; it expires in {left} s if it is not renewed; to take it over: "
        "--take-over, with a playbook -e take_over=true"
    )


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
