"""A web server and a mail server on loopback ports, which note what they are told."""

import base64
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hook:
    """A web server: what is answered at each path, and what was asked and posted.

    Attributes:
        port: where it listens.
        answers: path -> status and body; 200 without a body for other paths.
        headers: of all answers.
        delay_seconds: before each answer.
        asked: paths of requests, as they came in.
        posted: headers and body of each POST, as they came in.
        posted_at: `time.monotonic()` of each.
        answered: the keys of the POSTs that got an answer.
        stuck: paths that get no answer, until `let_go`.
    """

    port: int
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    posted: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    posted_at: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)
    _released: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/") -> str:
        """Return the URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the server ends."""
        self._released.wait(seconds)

    def let_go(self) -> None:
        """Break off what is stuck; from now on nothing is any more."""
        released, self._released = self._released, threading.Event()
        self.stuck = set()
        released.set()

    @property
    def keys(self) -> list[str]:
        """The Idempotency-Key of each POST, as they came in."""
        return [headers["Idempotency-Key"] for headers, _ in self.posted]


@contextmanager
def serve_hook(port: int = 0) -> Iterator[Hook]:
    """Run a web server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.posted_at.append(time.monotonic())
            hook.posted.append((dict(self.headers), body))
            self._answer()
            hook.answered.append(self.headers["Idempotency-Key"])

        def _answer(self) -> None:
            hook.asked.append(self.path)
            if self.path in hook.stuck:
                hook.wait(60)
                raise ConnectionAbortedError
            hook.wait(hook.delay_seconds)
            status, body = hook.answers.get(self.path, (200, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **hook.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that is gone is what some tests are about."""

    with Server(("127.0.0.1", port), Handler) as server:
        hook = Hook(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hook
        finally:
            hook.let_go()
            server.shutdown()
            thread.join()


@dataclass
class MailServer:
    """A mail server.

    Attributes:
        port: where it listens.
        replies: first word of a command, such as RCPT -> what is answered in place of OK.
        tls: offers STARTTLS, or speaks nothing but TLS if `is_tls_only`.
        sealed: whether each mail came over TLS.
        logins: user and password of each login.
    """

    port: int = 0
    replies: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    is_tls_only: bool = False
    mails: list[EmailMessage] = field(default_factory=list)
    sealed: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)


class _Session:
    """One connection: enough of RFC 5321 for smtplib."""

    def __init__(self, connection: Any, server: MailServer) -> None:
        self.connection, self.server = connection, server
        self.is_sealed = False

    def run(self) -> None:
        if self.server.is_tls_only:
            self._seal()
        self._say(self.server.replies.get("CONNECT", "220 test ESMTP"))
        while line := self._read_line():
            verb = line.split()[0].upper()
            if verb in self.server.replies:
                self._say(self.server.replies[verb])
            elif not getattr(self, f"_{verb.lower()}", self._ok)(line):
                return

    def close(self) -> None:
        self.connection.close()

    def _ehlo(self, _: str) -> bool:
        offers = ["test"]
        if self.server.tls and not self.is_sealed:
            offers.append("STARTTLS")
        else:
            offers.append("AUTH PLAIN")
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        return self._say("\r\n".join(lines))

    def _starttls(self, _: str) -> bool:
        self._say("220 go ahead")
        return self._seal()

    def _auth(self, line: str) -> bool:
        _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
        self.server.logins.append((user, password))
        return self._say("235 welcome")

    def _data(self, _: str) -> bool:
        self._say("354 go ahead")
        lines = []
        while (line := self._read_line()) != ".":
            lines.append(line.removeprefix("."))
        text = "\r\n".join(lines).encode()
        self.server.mails.append(message_from_bytes(text, policy=default))
        self.server.sealed.append(self.is_sealed)
        return self._ok("")

    def _quit(self, _: str) -> bool:
        self._say("221 bye")
        return False

    def _ok(self, _: str) -> bool:
        return self._say("250 OK")

    def _say(self, text: str) -> bool:
        self.connection.sendall(f"{text}\r\n".encode())
        return True

    def _seal(self) -> bool:
        assert self.server.tls is not None
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.is_sealed = True
        return True

    def _read_line(self) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            byte = self.connection.recv(1)
            if not byte:
                return ""
            line += byte
        return line[:-2].decode()


@contextmanager
def serve_mail(mail: MailServer) -> Iterator[MailServer]:
    """Run a mail server."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            session = _Session(self.request, mail)
            try:
                session.run()
            except OSError:  # the client did not like the certificate, or is gone
                pass
            finally:
                session.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        mail.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield mail
        finally:
            server.shutdown()
            thread.join()
