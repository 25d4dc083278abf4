"""Celery's configuration of its connections to Redis, for every way in which Redis can be reached.

Without timeouts a synchronous command waits for ever on a Redis that froze.
"""

from typing import Any
from urllib.parse import quote, urlsplit

from nova.runtime.claims import RUN_EXPIRES_SECONDS
from nova.runtime.sentinel import SENTINELS
from nova.runtime.unix_socket import UNIX_SOCKET
from nova.settings import Settings
from nova.store import (
    HEALTH_CHECK_INTERVAL_SECONDS,
    SOCKET_CONNECT_TIMEOUT_SECONDS,
    SOCKET_TIMEOUT_SECONDS,
    redis_identity,
    sentinel_options,
    tls_options,
)

#: Most seconds between two tries of a worker to reach Redis again.
RECONNECT_MAX_SECONDS = 5


def broker_connection(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration of the broker: URL, transport class, options."""
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_INTERVAL_SECONDS,
        # Of kombu, while it opens a connection: whoever asked for it tries again, with an end.
        "max_retries": 0,
        "wait_replicas": settings.wait_replicas,
        "run_expires_seconds": RUN_EXPIRES_SECONDS,
        "lease_seconds": settings.lease_seconds,
    }
    configuration: dict[str, Any] = {
        "broker_url": _url(settings),
        "broker_transport_options": options,
        # A Redis that is away is waited for, at start and later, for as long as it takes.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }
    is_stock = "transport" in settings.stock_parts
    if settings.redis_uses_sentinel:
        options |= {
            "master_name": settings.redis_sentinel_master,
            "sentinel_kwargs": sentinel_options(settings),
            SENTINELS: settings.redis_addresses,
        }
        module = "nova.runtime.sentinel" if is_stock else "nova.runtime.transport"
        configuration["broker_transport"] = f"{module}:SentinelTransport"
    elif not is_stock:
        configuration["broker_transport"] = "nova.runtime.transport:Transport"
        if settings.redis_url.startswith("unix:"):
            options[UNIX_SOCKET] = urlsplit(settings.redis_url).path
    if settings.redis_uses_tls:
        configuration["broker_use_ssl"] = tls_options(settings)
    return configuration


def result_connection(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration of the result backend."""
    configuration: dict[str, Any] = {
        "redis_socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "redis_socket_connect_timeout": SOCKET_CONNECT_TIMEOUT_SECONDS,
        "redis_backend_health_check_interval": HEALTH_CHECK_INTERVAL_SECONDS,
    }
    backend, url = "RedisBackend", settings.redis_dsn
    if settings.redis_url.startswith("unix:"):
        url = _socket_url(settings)
    else:
        configuration["redis_socket_keepalive"] = True
    if settings.redis_uses_sentinel:
        backend, url = "SentinelBackend", ";".join(_sentinel_urls(settings))
        configuration["result_backend_transport_options"] = {
            "master_name": settings.redis_sentinel_master,
            "sentinel_kwargs": sentinel_options(settings),
        }
    if settings.redis_uses_tls:
        configuration["redis_backend_use_ssl"] = tls_options(settings)
    return configuration | {"result_backend": f"nova.runtime.results:{backend}+{url}"}


def _url(settings: Settings) -> str:
    """Return the broker's URL. Of several sentinels it names one: see `SentinelChannel`."""
    if settings.redis_uses_sentinel:
        return _sentinel_urls(settings)[0]
    if not settings.redis_url.startswith("unix:"):
        return settings.redis_dsn
    if "transport" in settings.stock_parts:
        return f"redis+{_socket_url(settings)}"
    # Who connects, and to which database; the socket is in the options.
    return f"redis://{_credentials(settings)}localhost/{redis_identity(settings)['db']}"


def _socket_url(settings: Settings) -> str:
    path = urlsplit(settings.redis_url).path
    database = redis_identity(settings)["db"]
    return f"socket://{_credentials(settings)}{path}?virtual_host={database}"


def _sentinel_urls(settings: Settings) -> list[str]:
    database = redis_identity(settings)["db"]
    return [
        f"sentinel://{_credentials(settings)}{_host(host)}:{port}/{database}"
        for host, port in settings.redis_addresses
    ]


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host)


def _credentials(settings: Settings) -> str:
    identity = redis_identity(settings)
    if identity["password"] is None:
        return ""
    return f"{quote(identity['username'] or '', safe='')}:{quote(identity['password'], safe='')}@"
