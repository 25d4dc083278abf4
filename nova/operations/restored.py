"""What must not go back in time when a copy of Redis is restored.

The copy's lock is nobody's any more, and its counter of tokens would give some of them twice. A
release that was voided after the copy was made must not be deployed again.
"""

import redis
from pydantic import BaseModel

from nova.operations.audit import AuditNote, record
from nova.operations.lock import read_last_token, start_tokens_anew
from nova.operations.releases import merge_judgements, read_judgements


class Remembered(BaseModel):
    """What is taken from the data that a copy replaces; nothing, where that is gone."""

    last_token: int = 0
    judgements: dict[str, str] = {}


def remember(client: redis.Redis) -> Remembered:
    """Return it.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    return Remembered(last_token=read_last_token(client), judgements=read_judgements(client))


def settle(client: redis.Redis, remembered: Remembered, *, by: str, name: str) -> None:
    """Bring a copy, loaded but used by nobody yet, to what must not go back; note that it was done.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    start_tokens_anew(client, remembered.last_token)
    merge_judgements(client, remembered.judgements)
    record(client, AuditNote(by=by, action="restore", to=name))
