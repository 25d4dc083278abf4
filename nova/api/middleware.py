"""What happens to every request: it is counted and timed, and its body is limited."""

import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nova import metrics

#: Largest body of a request, in bytes, where a path has no limit of its own.
DEFAULT_BODY_LIMIT_BYTES = 64 * 1024


class BodyLimit:
    """Refuses bodies that are too large, before they are read where the client says the size.

    Starlette has such a middleware; it answers in plain text, and all errors here are problems.
    """

    def __init__(self, app: ASGIApp, limits_bytes: Mapping[str, int]) -> None:
        self.app = app
        self.limits_bytes = limits_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; reading too much of its body raises HTTPException 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits_bytes.get(scope["path"], DEFAULT_BODY_LIMIT_BYTES)
        announced = Headers(scope=scope).get("content-length", "")
        received = int(announced) if announced.isdecimal() and int(announced) > limit else 0

        async def limited_receive() -> Message:
            nonlocal received
            if received <= limit:
                message = await receive()
                received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        await self.app(scope, limited_receive, send)


class RequestMetrics:
    """Counts and times requests by route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its answer; one that raises counts as 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        start = time.perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            # Paths that no route has would give a series each.
            route = getattr(scope.get("route"), "path", "unmatched")
            metrics.observe_request(scope["method"], route, status, time.perf_counter() - start)
