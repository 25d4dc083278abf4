"""A small web server, and fetchers that find it under names of the internet."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import redis

from nova.fetching import Fetcher, Target
from nova.settings import Settings

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class WebServer:
    """What is answered at each path, and what was asked: path, headers, time."""

    server: ThreadingHTTPServer
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], float]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.server_port

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Take TLS connections only, from now on."""
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"http://{host}:{self.port}{path}"

    def say(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        """Answer a path with a body."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _, _ in self.requests]


@pytest.fixture
def web() -> Iterator[WebServer]:
    """The server, on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.requests.append((self.path, dict(self.headers), time.monotonic()))
            try:
                found.answers[self.path.partition("?")[0]](self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has heard enough

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = WebServer(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def waits() -> list[float]:
    """Seconds that fetchers made by `make_fetcher` would have waited."""
    return []


@pytest.fixture
def make_fetcher(
    client: redis.Redis, make_settings: Callable[..., Settings], waits: list[float]
) -> Callable[..., Fetcher]:
    """Make a fetcher of these targets that does not really wait; `variables` are settings."""

    def make(*targets: Target, resolver: Any = None, **variables: object) -> Fetcher:
        options = {"resolver": resolver} if resolver else {}
        settings = make_settings(**variables)
        return Fetcher(client, settings, targets, sleep=waits.append, **options)

    return make
