"""Runs the API: its socket, its server, and what systemd hears about it."""

import logging
import os
import socket
import ssl
import threading

import uvicorn
from celery import Celery
from celery.result import denied_join_result
from uvicorn.protocols.http.h11_impl import H11Protocol

from nova import logs
from nova.api import request_ids
from nova.api.app import create_app
from nova.errors import ConfigurationError
from nova.runtime import watchdog
from nova.runtime.notify import notify, wait_for_redis
from nova.settings import Settings
from nova.store import connect

logger = logging.getLogger(__name__)

#: The first file descriptor that systemd passes, see sd_listen_fds(3).
FIRST_SYSTEMD_FD = 3
BACKLOG = 2048
#: Seconds that running requests get at shutdown; the unit's TimeoutStopSec must be longer.
SHUTDOWN_TIMEOUT_SECONDS = 25

#: Seconds that a connection gets for its first request at shutdown.
FIRST_REQUEST_SECONDS = 2.0


class PatientProtocol(H11Protocol):
    """A connection of uvicorn that waits for its first request when the server stops.

    uvicorn closes at once what has not asked yet. A request that is on its way meanwhile would be
    answered with a reset, in the middle of a restart that is to refuse nobody.
    """

    def shutdown(self) -> None:
        """Called once, when the server stops."""
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_SECONDS, self._shut_down)
        else:
            super().shutdown()

    def _shut_down(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()


class Server(uvicorn.Server):
    """A uvicorn server that tells systemd how it is."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self.settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve at once, and be READY once Redis has answered."""
        await super().startup(sockets)
        watchdog.start(self.settings)
        threading.Thread(target=self._announce, name="announce", daemon=True).start()

    async def on_tick(self, counter: int) -> bool:
        """Runs ten times a second, as long as the event loop turns."""
        watchdog.progress()
        return await super().on_tick(counter)

    def _announce(self) -> None:
        with connect(self.settings) as client:
            wait_for_redis(self.settings, client)
        if not self.should_exit:
            notify("READY=1", "STATUS=serving")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new request, and finish the running ones."""
        notify("STOPPING=1", "STATUS=finishing running requests")
        await super().shutdown(sockets)


def serve(settings: Settings, celery_app: Celery) -> None:
    """Serve the API until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the secret for tokens is missing or unsafe, the certificate cannot be
            used, the log file cannot be written, or the address cannot be listened on.
    """
    check_certificate(settings)
    app = create_app(settings, celery_app)
    sockets = systemd_sockets(settings) or [bind(settings.api_host, settings.api_port)]
    logs.configure(settings, "api")
    request_ids.install_in_logs()
    config = uvicorn.Config(
        app,
        log_config=None,  # the root logger's handlers write it all
        access_log=True,
        server_header=False,
        http=PatientProtocol,
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
        ssl_certfile=settings.api_tls_cert_file,
        ssl_keyfile=settings.api_tls_key_file,
    )
    for listening in sockets:
        logger.info("the API listens on %s", listening.getsockname())
    # Nobody here waits for a result. Else Celery would subscribe to the result of every task it
    # publishes, and try for 19 s to do so when Redis goes away at that moment.
    with denied_join_result():
        Server(config, settings).run(sockets)


def check_certificate(settings: Settings) -> None:
    """Load certificate and key once, if there are any, so that a bad one is told in one line.

    Raises:
        ConfigurationError: one cannot be read, the key has a passphrase, or they are no pair.
    """
    certificate, key = settings.api_tls_cert_file, settings.api_tls_key_file
    if certificate is None or key is None:
        return

    def no_passphrase() -> str:
        # Without it openssl would ask at the terminal, or for ever where there is none.
        raise ConfigurationError(
            f"the key {key} has a passphrase; set NOVA_API_TLS_KEY_FILE to a key without one"
        )

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror
        raise ConfigurationError(
            f"cannot use the certificate {certificate} with the key {key}: {reason}; "
            "set NOVA_API_TLS_CERT_FILE and NOVA_API_TLS_KEY_FILE"
        ) from None


def systemd_sockets(settings: Settings) -> list[socket.socket]:
    """Return the listening sockets that systemd opened for this process, if it did."""
    if settings.listen_pid != os.getpid():
        return []
    numbers = range(FIRST_SYSTEMD_FD, FIRST_SYSTEMD_FD + settings.listen_fds)
    return [socket.socket(fileno=number) for number in numbers]


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        ConfigurationError: the address is in use, is not this host's, or may not be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {reason}; "
            "set NOVA_API_HOST and NOVA_API_PORT, or stop what uses the port"
        ) from None
