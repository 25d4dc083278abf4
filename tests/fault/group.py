"""A Redis group on loopback: a primary, replicas and sentinels, every path through a proxy."""

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.sentinel import Sentinel

from scripts.local.redis_server import LocalRedis, find_redis_server, free_port
from tests.fault.network import Network, Proxy
from tests.fault.processes import Program, wait_for

MASTER_NAME = "nova"
#: Milliseconds of silence after which a sentinel takes a server for down.
DOWN_AFTER_MS = 2000


@dataclass
class Member:
    """One server of the group, and the proxy that all others reach it through."""

    server: LocalRedis
    proxy: Proxy

    def client(self) -> redis.Redis:
        """Return a client that goes around the proxy."""
        client: redis.Redis = redis.Redis.from_url(
            self.server.url, socket_timeout=5, socket_connect_timeout=2
        )
        return client

    @property
    def pid(self) -> int:
        """Id of the server's process."""
        assert self.server.process is not None
        return self.server.process.pid

    def cut_from_its_peers(self) -> None:
        """Separate it from replicas and sentinels, and leave it the clients that it has."""
        with self.client() as client:
            clients = client.client_list()
        kept = {
            int(line["addr"].rpartition(":")[2])
            for line in clients
            if "S" not in line["flags"] and not line["name"].startswith("sentinel")
        }
        self.proxy.cut(keeps=kept.__contains__)


@dataclass
class RedisGroup:
    """Primary, two replicas, three sentinels."""

    members: list[Member]
    sentinels: list[Program] = field(default_factory=list)
    sentinel_ports: list[int] = field(default_factory=list)

    @property
    def password(self) -> str:
        """The servers' password."""
        return self.members[0].server.password

    def primary(self) -> Member:
        """Return the server that the sentinels name as primary.

        Raises:
            redis.RedisError: they name none.
        """
        sentinel = Sentinel([("127.0.0.1", port) for port in self.sentinel_ports], socket_timeout=1)
        try:
            _host, port = sentinel.discover_master(MASTER_NAME)  # type: ignore[no-untyped-call]
        finally:
            for client in sentinel.sentinels:
                client.close()
        return next(member for member in self.members if member.proxy.port == port)

    def wait_for_failover(self, old: Member, seconds: float = 40) -> float:
        """Wait until another server is primary and takes writes; return the seconds."""

        def happened() -> bool:
            with contextlib.suppress(redis.RedisError):
                new = self.primary()
                if new is not old:
                    with new.client() as client:
                        return bool(client.info("replication")["role"] == "master")
            return False

        return wait_for(happened, "failover", seconds)


@contextlib.contextmanager
def redis_group(folder: Path, network: Network, *options: str) -> Iterator[RedisGroup]:
    """Run a group; `options` are further lines of the servers' configuration."""
    with contextlib.ExitStack() as stack:
        group = RedisGroup([])
        password = secrets.token_hex(16)
        for index in range(3):
            group.members.append(_member(folder / f"redis-{index}", network, password, group))
        for member in group.members:
            member.server.options += options
            stack.callback(_end, member)
            member.server.start()
        wait_for(lambda: _in_sync(group) == 2, "replicas in sync")
        group.sentinel_ports = [free_port() for _ in range(3)]
        for port in group.sentinel_ports:
            sentinel = _sentinel(folder / f"sentinel-{port}", port, group)
            group.sentinels.append(stack.enter_context(sentinel.start()))
        wait_for(lambda: all(_sees_all(port) for port in group.sentinel_ports), "sentinels")
        yield group


def _member(folder: Path, network: Network, password: str, group: RedisGroup) -> Member:
    folder.mkdir(mode=0o700)
    server = LocalRedis(folder, free_port(), password)
    proxy = network.proxy(server.port)
    server.options = (
        f"masterauth {password}",
        "replica-announce-ip 127.0.0.1",
        f"replica-announce-port {proxy.port}",
        "repl-diskless-sync-delay 0",
        "repl-ping-replica-period 1",
        "repl-timeout 5",
    )
    if group.members:
        server.options += (f"replicaof 127.0.0.1 {group.members[0].proxy.port}",)
    return Member(server, proxy)


def _end(member: Member) -> None:
    process = member.server.process
    if process is None:
        return
    if process.poll() is None:
        os.kill(process.pid, signal.SIGCONT)  # a frozen one could not obey
    member.server.stop()


def _in_sync(group: RedisGroup) -> int:
    with group.members[0].client() as client:
        replication = client.info("replication")
    slaves = [value for key, value in replication.items() if key.startswith("slave")]
    return sum(isinstance(slave, dict) and slave["state"] == "online" for slave in slaves)


def _sentinel(folder: Path, port: int, group: RedisGroup) -> Program:
    folder.mkdir(mode=0o700)
    configuration = folder / "sentinel.conf"
    configuration.touch(mode=0o600)
    lines = (
        "bind 127.0.0.1",
        f"port {port}",
        f'dir "{folder}"',
        "sentinel announce-ip 127.0.0.1",
        f"sentinel announce-port {port}",
        f"sentinel monitor {MASTER_NAME} 127.0.0.1 {group.members[0].proxy.port} 2",
        f"sentinel auth-pass {MASTER_NAME} {group.password}",
        f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {MASTER_NAME} 6000",
    )
    configuration.write_text("".join(line + "\n" for line in lines))
    command = [find_redis_server(), str(configuration), "--sentinel"]
    return Program(f"sentinel {port}", command, dict(os.environ), folder / "sentinel.log")


def _sees_all(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=1) as client:
        try:
            found = client.sentinel_master(MASTER_NAME)
        except redis.RedisError:
            return False
    return bool(found["num-other-sentinels"] == 2 and found["num-slaves"] == 2)
