"""A Redis group whose servers are reached, by everybody, through proxies that can go silent."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from nova.errors import UnavailableError
from scripts.local.redis_server import LocalRedis, free_port
from scripts.local.sentinel_group import SentinelGroup
from tests.fault.network import Network, Proxy
from tests.fault.processes import wait_for


@dataclass(frozen=True)
class ProxiedGroup:
    """A Redis group, and the proxy of each of its servers by the server's port."""

    group: SentinelGroup
    proxies: dict[int, Proxy]

    def proxy(self, server: LocalRedis) -> Proxy:
        """Return the proxy of a server."""
        return self.proxies[server.port]

    def wait_for_failover(self, old: LocalRedis, seconds: float = 40) -> float:
        """Wait until another server is primary and says so itself; return the seconds."""

        def happened() -> bool:
            try:
                new = self.group.primary()
                with redis.Redis.from_url(new.url, socket_timeout=1) as client:
                    role = client.info("replication")["role"]
            except (UnavailableError, redis.RedisError):
                return False
            return new is not old and role == "master"

        return wait_for(happened, "failover", seconds)


@contextlib.contextmanager
def proxied_group(folder: Path, network: Network, *options: str) -> Iterator[ProxiedGroup]:
    """Run a primary, two replicas and three sentinels.

    Each server listens on another port than the one it is known by; there its proxy listens.
    `options` are further lines of the servers' configuration.
    """
    group = SentinelGroup.create(folder, *options)
    proxies = {}
    for server in group.servers:
        hidden = free_port()
        proxies[server.port] = network.proxy(server.port, hidden)
        server.options += (
            f"port {hidden}",
            "replica-announce-ip 127.0.0.1",
            f"replica-announce-port {server.port}",
        )
    with group:
        yield ProxiedGroup(group, proxies)
