"""Reaches Redis through a Unix socket, with a transport class of one's own.

kombu's URL for this, `redis+socket://`, names kombu's transport class as well.
"""

from typing import Any

import redis

#: Transport option: path of the socket.
UNIX_SOCKET = "unix_socket"


class UnixSocketMixin:
    """For a Redis channel of kombu: connects to the transport option `unix_socket`, if given."""

    connection: Any

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        path = self.connection.client.transport_options.get(UNIX_SOCKET)
        if path is not None:
            self.connection_class = redis.UnixDomainSocketConnection
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]
        if path is not None:
            for name in ("host", "port", "socket_keepalive", "socket_keepalive_options"):
                parameters.pop(name)
            parameters["path"] = path
        return parameters
