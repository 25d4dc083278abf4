"""A name for each request: in its answer, in error documents, and in every line of the log.

Whoever calls may bring one in the header X-Request-ID, so that it is the same along a chain of
services; otherwise one is made here.
"""

import logging
import re
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nova import logs

HEADER = "X-Request-ID"
#: Nothing that could break a line of the log, or make it long.
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
LOG_FORMAT = logs.FORMAT.replace("%(name)s:", "%(name)s [%(request_id)s]:")

_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current() -> str | None:
    """Return the id of the request that is being answered here, None outside of one."""
    return _current.get()


class RequestIds:
    """Middleware that gives each request its id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its id back in the header of the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        brought = Headers(scope=scope).get(HEADER, "")
        request_id = brought if _WELL_FORMED.fullmatch(brought) else uuid.uuid4().hex
        # Not taken back at the end: the answer to an unknown error is made further out, and each
        # request has a context of its own.
        _current.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


class _RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current() or "-"
        return True


def install_in_logs() -> None:
    """Make every line of this process' log name the request that it is about, `-` if none."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_RequestIdFilter())
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
