"""Whether a valid token may pass now: it was not revoked, and has requests left in this minute.

Both stand in Redis, so that they count for all API hosts at once. One question asks for both.
"""

from dataclasses import dataclass
from typing import Literal, cast

import redis

from nova.runtime.scripts import load
from nova.settings import Settings
from nova.store import Keys, redis_errors


@dataclass(frozen=True)
class Admission:
    """What became of a request."""

    status: Literal["admitted", "revoked", "limited"]
    #: Seconds after which the next request passes.
    retry_after_seconds: int


class Gate:
    """Asks Redis about the tokens of requests."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._settings = settings
        self._admit = load(client, "admit")

    def ask(self, token_id: str) -> Admission:
        """Ask about one request; one round trip to Redis.

        Raises:
            UnavailableError: Redis does not answer. Nobody passes then: a revoked token must not,
                and there is nothing that the API could answer without Redis.
        """
        with redis_errors(self._settings):
            answer = self._admit(
                keys=[Keys.revoked_token(token_id), Keys.allowance(token_id)],
                args=[self._settings.api_rate_limit],
            )
        status, seconds = cast(tuple[bytes, int], answer)
        return Admission(cast(Literal["admitted"], status.decode()), int(seconds))
