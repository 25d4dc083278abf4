"""What routes ask for: the caller with a sufficient role, the settings, Redis, the Celery app."""

from collections.abc import Callable
from typing import Annotated

import redis
from celery import Celery
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nova.api.admission import Gate
from nova.api.security import Caller, InvalidTokenError, Role, TokenIssuer
from nova.errors import PausedError
from nova.settings import Settings

#: Of an answer to a token that is not accepted (RFC 6750, section 3).
INVALID_TOKEN = 'Bearer error="invalid_token"'  # noqa: S105  # no secret

# auto_error would answer 403 to a request without a token.
_bearer = HTTPBearer(auto_error=False, description="A token of `nova token create`.")


def require(role: Role) -> Callable[..., Caller]:
    """Return a dependency that lets callers with at least this role pass.

    Raises:
        HTTPException: 401 without a valid token or with a revoked one, 403 with a role that is too
            low, 429 with more requests than are allowed.
        PausedError: the API is paused.
        UnavailableError: Redis, which knows what was revoked, does not answer.
    """

    def caller(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Caller:
        if credentials is None:
            raise _unauthorized("send a token in the header Authorization: Bearer TOKEN")
        issuer: TokenIssuer = request.app.state.tokens
        try:
            found = issuer.check(credentials.credentials)
        except InvalidTokenError as error:
            raise _unauthorized(str(error), INVALID_TOKEN) from None
        if found.role < role:
            reason = f"this needs the role {role.value}; the token has {found.role.value}"
            raise HTTPException(403, reason)
        _admit(request.app.state.gate, found)
        return found

    caller.role = role  # type: ignore[attr-defined]  # lets tests see which route needs what
    return caller


def _admit(gate: Gate, caller: Caller) -> None:
    admission = gate.ask(caller.token_id)
    if admission.status == "revoked":
        raise _unauthorized("the token was revoked; get a new one", INVALID_TOKEN)
    if admission.status == "paused":
        raise PausedError(admission.reason, admission.retry_after_seconds)
    if admission.status == "limited":
        seconds = admission.retry_after_seconds
        raise HTTPException(
            429,
            f"too many requests with this token; the next one passes in {seconds} s",
            {"Retry-After": str(seconds)},
        )


def _unauthorized(reason: str, challenge: str = "Bearer") -> HTTPException:
    return HTTPException(401, reason, {"WWW-Authenticate": challenge})


Viewer = Annotated[Caller, Depends(require(Role.VIEWER))]
Operator = Annotated[Caller, Depends(require(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(require(Role.ADMIN))]


# Async, for FastAPI runs the others in threads, and these wait for nothing.
async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _redis(request: Request) -> redis.Redis:
    client: redis.Redis = request.app.state.redis
    return client


async def _celery(request: Request) -> Celery:
    return request.app.state.celery


AppSettings = Annotated[Settings, Depends(_settings)]
RedisClient = Annotated[redis.Redis, Depends(_redis)]
CeleryApp = Annotated[Celery, Depends(_celery)]
