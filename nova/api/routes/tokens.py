"""Tokens that were issued. `nova token create` makes them, where the signing key is."""

import logging
from typing import Annotated

from fastapi import APIRouter, Path

from nova.api import problems, tokens
from nova.api.deps import Admin, AppSettings, RedisClient
from nova.api.parameters import Limit, Offset
from nova.api.tokens import TokenPage
from nova.store import redis_errors

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/api/tokens", tags=["tokens"])


@router.get("", responses=problems.responses(401, 403, 422, 503))
def list_tokens(
    _caller: Admin,
    settings: AppSettings,
    client: RedisClient,
    offset: Offset = 0,
    limit: Limit = 20,
) -> TokenPage:
    """List the tokens that have not expired, revoked ones included, the longest-lived first."""
    with redis_errors(settings):
        return tokens.list_tokens(client, offset, limit)


@router.delete(
    "/{token_id}", status_code=204, responses=problems.responses(401, 403, 404, 422, 503)
)
def revoke_token(
    caller: Admin,
    token_id: Annotated[
        str, Path(max_length=200, description="Id of the token, not the token itself.")
    ],
    settings: AppSettings,
    client: RedisClient,
) -> None:
    """Revoke a token: no API host takes it from now on."""
    with redis_errors(settings):
        revoked = tokens.revoke_token(client, token_id, caller.subject)
    logger.info("%s revoked token %s of %s", caller.subject, token_id, revoked.subject)
