"""Every error of the API is a problem document (RFC 9457): made here, and only here."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from nova.api import request_ids
from nova.errors import (
    ConfigurationError,
    ConflictError,
    InputError,
    NotFoundError,
    NovaError,
    PausedError,
    UnavailableError,
    UnconfirmedPublishError,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: Seconds after which a client may try again what failed because a server was away.
RETRY_AFTER_SECONDS = 5


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    location: str = Field(description="Where it stands.", examples=["body.auto_actions"])
    reason: str = Field(description="What is wrong.", examples=["Input should be a valid boolean"])


class Problem(BaseModel):
    """A problem document, RFC 9457."""

    type: str = Field(description="Kind of problem, a URI.", examples=["urn:nova:problem:input"])
    title: str = Field(description="The kind in words.", examples=["Invalid input"])
    status: int = Field(description="HTTP status.", examples=[422])
    detail: str = Field(
        description="What is wrong here, and what to do.", examples=["unknown flag: sell"]
    )
    instance: str = Field(
        description="Path of the request.", examples=["/api/governance/reports/latest/channels"]
    )
    request_id: str | None = Field(
        default=None,
        description="Name of the request, as in the header X-Request-ID and in the log.",
        examples=["0b6f3a8e9d2c4f51a7c3d1e2f4b5a697"],
    )
    errors: list[FieldError] | None = Field(
        default=None, description="Each wrong field, when the request itself is wrong."
    )
    task_id: str | None = Field(
        default=None, description="Id of the task that was published or not, when that is unknown."
    )


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its `type`, title and HTTP status."""

    type: str
    title: str
    status: int

    @classmethod
    def of_status(cls, status: int) -> "Kind":
        """Return the kind that says no more than its HTTP status."""
        return cls("about:blank", HTTPStatus(status).phrase, status)


INVALID_REQUEST = Kind("urn:nova:problem:request", "Invalid request", 422)
#: The one place where errors of Nova become HTTP; the most special class of an error counts.
KINDS: Mapping[type[NovaError], Kind] = {
    InputError: Kind("urn:nova:problem:input", "Invalid input", 422),
    ConflictError: Kind("urn:nova:problem:conflict", "Conflict", 409),
    NotFoundError: Kind("urn:nova:problem:not-found", "Not found", 404),
    UnconfirmedPublishError: Kind("urn:nova:problem:unconfirmed", "Not confirmed", 503),
    PausedError: Kind("urn:nova:problem:paused", "The API is paused", 503),
    UnavailableError: Kind("urn:nova:problem:unavailable", "A server is away", 503),
    ConfigurationError: Kind("urn:nova:problem:configuration", "Nova is misconfigured", 500),
    NovaError: Kind.of_status(500),
}


def problem_response(
    request: Request,
    kind: Kind,
    detail: str,
    headers: Mapping[str, str] | None = None,
    *,
    errors: Sequence[FieldError] | None = None,
    task_id: str | None = None,
) -> Response:
    """Return a problem document about a request."""
    problem = Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=request.url.path,
        request_id=request_ids.current(),
        errors=None if errors is None else list(errors),
        task_id=task_id,
    )
    body = problem.model_dump_json(exclude_none=True)
    all_headers = dict(headers or {})
    if problem.request_id is not None:
        # The answer to an unknown error does not pass the middleware that sets it elsewhere.
        all_headers[request_ids.HEADER] = problem.request_id
    if kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        all_headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return Response(body, kind.status, all_headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of an app a problem document."""
    app.add_exception_handler(NovaError, _on_nova_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unknown_error)


def _sent_path(request: Request) -> str:
    """Return the path as it was sent: decoded it may hold the end of a line, and forge the next."""
    return quote(request.scope["path"])


def _on_nova_error(request: Request, error: Exception) -> Response:
    kind = next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)
    if kind.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem_response(request, kind, str(error))
    if isinstance(error, PausedError):
        # On purpose, and of every request: no word in the log.
        headers = {"Retry-After": str(error.retry_after_seconds)}
        return problem_response(request, kind, str(error), headers)
    if kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        logger.warning("%s %s: %s", request.method, _sent_path(request), error)
        task_id = error.task_id if isinstance(error, UnconfirmedPublishError) else None
        return problem_response(request, kind, str(error), task_id=task_id)
    logger.error("%s %s: %s", request.method, _sent_path(request), error)
    # The message is for whoever runs Nova, not for whoever calls it.
    return problem_response(request, kind, "Nova cannot answer; its log says why.")


def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # the handler is registered for it
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND and "route" not in request.scope:
        detail = f"there is no {request.url.path} here; /docs lists what there is"
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path} does not take {request.method}; see the Allow header"
        headers = {"Allow": ", ".join(_allowed_methods(request))}
    return problem_response(request, Kind.of_status(error.status_code), detail, headers)


def _allowed_methods(request: Request) -> list[str]:
    """Return what the path of a request takes. Starlette names the methods of one route only."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.router.routes
        )
    ]


def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = [
        FieldError(location=".".join(str(part) for part in item["loc"]), reason=item["msg"])
        for item in error.errors()
    ]
    detail = "; ".join(f"{item.location}: {item.reason}" for item in found)
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem_response(request, Kind.of_status(400), "the body is not JSON", errors=found)
    return problem_response(request, INVALID_REQUEST, detail, errors=found)


def _on_disconnect(request: Request, _error: Exception) -> Response:
    # Nobody reads this answer; without it the log would show a fault in Nova.
    logger.info("%s %s: the client left in the middle", request.method, _sent_path(request))
    return problem_response(request, Kind.of_status(400), "the body is not complete")


def _on_unknown_error(request: Request, _error: Exception) -> Response:
    # The server logs the stack trace: Starlette raises the error again after this answer.
    kind = Kind.of_status(500)
    return problem_response(request, kind, "something went wrong in Nova; its log says what")


#: What a status means, for the API's documentation.
_DESCRIPTIONS = {
    400: "The body is not what its type says.",
    401: "No valid token.",
    403: "The token's role is too low.",
    404: "There is no such thing.",
    409: "The Idempotency-Key was used for something else.",
    413: "The body is too large.",
    422: "The request, or the data in it, is wrong.",
    429: "Too many requests with this token; Retry-After says when the next one passes.",
    503: "Redis is away, or the API is paused; Retry-After says when to try again.",
}
_EXAMPLE_KINDS = {
    404: KINDS[NotFoundError],
    409: KINDS[ConflictError],
    422: INVALID_REQUEST,
    503: KINDS[UnavailableError],
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with problems of these statuses.

    Whatever asks for a token (401) may also be limited (429).
    """
    limited = (429,) if 401 in statuses else ()
    return {status: _documented(status) for status in sorted({*statuses, *limited})}


def _documented(status: int) -> dict[str, Any]:
    kind = _EXAMPLE_KINDS.get(status, Kind.of_status(status))
    example = {
        "type": kind.type,
        "title": kind.title,
        "status": status,
        "detail": _DESCRIPTIONS[status],
        "instance": "/api/celery/status",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": _DESCRIPTIONS[status],
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
    }
