"""Whether a valid token may pass now: it was not revoked, has requests left in this minute, and the
API is not paused.

All stand in Redis, so that they count for all API hosts at once. One question asks for all.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

import redis

from nova.operations.pause import ApiPause
from nova.runtime.scripts import load
from nova.settings import Settings
from nova.store import Keys, redis_errors


@dataclass(frozen=True)
class Admission:
    """What became of a request."""

    status: Literal["admitted", "revoked", "limited", "paused"]
    #: Seconds after which the next request passes.
    retry_after_seconds: int
    #: Why the API is paused, if it is.
    reason: str = ""


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
                keys=[Keys.revoked_token(token_id), Keys.allowance(token_id), Keys.API_PAUSE],
                args=[self._settings.api_rate_limit],
            )
        status, seconds, *pause = cast(list[Any], answer)
        reason = ApiPause.model_validate_json(pause[0]).line() if pause else ""
        return Admission(status.decode(), int(seconds), reason)
