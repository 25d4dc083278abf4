"""Tokens that were issued: listed, and revoked, in Redis. The tokens themselves are not kept.

Three keys: what is known of a token (JSON), the mark that it was revoked, and the index of all by
their expiry. Each goes when the token has expired.
"""

from datetime import UTC, datetime
from typing import cast

import redis
from pydantic import BaseModel, ConfigDict, Field

from nova.api.security import LEEWAY, IssuedToken, Role
from nova.errors import NotFoundError
from nova.store import Keys


class TokenRecord(BaseModel):
    """What is known of a token."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["3f0c6a0de41c4f0f8a6c1f1c2b9a7d55"])
    subject: str = Field(description="Who uses it.", examples=["dashboard"])
    role: Role
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    revoked_by: str | None = Field(default=None, description="Who revoked it.")


class TokenPage(BaseModel):
    """Some of the tokens that have not expired, the one that expires last first."""

    total: int
    tokens: list[TokenRecord]


def record_token(client: redis.Redis, issued: IssuedToken) -> None:
    """Take note of a token before it is given to anybody: one that is not listed is not revoked.

    Raises:
        redis.RedisError: Redis did not take it.
    """
    record = TokenRecord.model_validate(issued)
    with client.pipeline() as pipe:
        pipe.zremrangebyscore(Keys.TOKENS, "-inf", (datetime.now(UTC) - LEEWAY).timestamp())
        pipe.zadd(Keys.TOKENS, {record.id: record.expires_at.timestamp()})
        pipe.set(Keys.token(record.id), record.model_dump_json(), exat=_end(record))
        pipe.execute()


def list_tokens(client: redis.Redis, offset: int = 0, limit: int = 20) -> TokenPage:
    """Return the tokens that have not expired, revoked ones included, the longest-lived first.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    now = datetime.now(UTC).timestamp()
    total = client.zcount(Keys.TOKENS, now, "+inf")
    members = client.zrevrangebyscore(Keys.TOKENS, "+inf", now, start=offset, num=limit)
    ids = [member.decode() for member in cast(list[bytes], members)]
    stored = client.mget([Keys.token(token_id) for token_id in ids]) if ids else []
    records = [TokenRecord.model_validate_json(text) for text in stored if text is not None]
    return TokenPage(total=total, tokens=records)


def revoke_token(client: redis.Redis, token_id: str, by: str) -> TokenRecord:
    """Revoke a token, on all API hosts at once; one that was revoked stays as it is.

    Args:
        client: Redis.
        token_id: the token's id, not the token.
        by: who revokes it, for the record.

    Raises:
        NotFoundError: no such token was issued, or it has expired.
        redis.RedisError: Redis did not take it.
    """
    stored = cast(bytes | None, client.get(Keys.token(token_id)))
    if stored is None:
        raise NotFoundError(
            f"no token {token_id}: it has expired, or never was; see: nova token list"
        )
    record = TokenRecord.model_validate_json(stored)
    if record.revoked_at is not None:
        return record
    revoked = record.model_copy(update={"revoked_at": datetime.now(UTC), "revoked_by": by})
    with client.pipeline() as pipe:
        pipe.set(Keys.revoked_token(token_id), "1", exat=_end(record))
        pipe.set(Keys.token(token_id), revoked.model_dump_json(), exat=_end(record))
        pipe.execute()
    return revoked


def _end(record: TokenRecord) -> int:
    """Return the Unix time from which on nobody takes the token any more."""
    return int((record.expires_at + LEEWAY).timestamp()) + 1
