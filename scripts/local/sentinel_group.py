"""A private Redis group on loopback: a primary, replicas, and the sentinels that watch them."""

import contextlib
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import redis

from nova.errors import UnavailableError
from scripts.local.redis_server import (
    START_TIMEOUT_SECONDS,
    LocalRedis,
    find_redis_server,
    free_port,
)

MASTER = "nova"
#: Milliseconds without an answer after which a sentinel calls the primary dead.
DOWN_AFTER_MILLISECONDS = 2000
FAILOVER_TIMEOUT_MILLISECONDS = 6000


@dataclass
class LocalSentinel:
    """One sentinel. It keeps its state in its configuration file, `folder`/sentinel.conf."""

    folder: Path
    port: int
    primary: LocalRedis
    quorum: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the sentinel and wait until it answers.

        Raises:
            UnavailableError: it did not answer in time; the message names its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = self.folder / "sentinel.conf"
        if not configuration.exists():
            configuration.touch(mode=0o600)
            configuration.write_text("\n".join(self._lines()) + "\n")
        self.process = subprocess.Popen(
            [find_redis_server(), str(configuration), "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with self.client() as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                with contextlib.suppress(redis.RedisError):
                    client.ping()
                    return
                time.sleep(0.05)
        self.stop()
        raise UnavailableError(f"the sentinel did not start; see {self.folder}")

    def client(self) -> redis.Redis:
        """Return a client of this sentinel."""
        return redis.Redis(port=self.port, socket_timeout=1)

    def _lines(self) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{self.folder}"',
            f'logfile "{self.folder / "sentinel.log"}"',
            f"sentinel monitor {MASTER} 127.0.0.1 {self.primary.port} {self.quorum}",
            f"sentinel auth-pass {MASTER} {self.primary.password}",
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MILLISECONDS}",
            f"sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MILLISECONDS}",
            f"sentinel parallel-syncs {MASTER} 1",
        ]

    def stop(self) -> None:
        """Stop the sentinel."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass
class SentinelGroup:
    """A Redis group with its sentinels. Use it as a context manager.

    `servers` and `sentinels` may be stopped, killed, frozen and started one by one; which server
    is the primary changes, ask `primary()`.
    """

    folder: Path
    servers: list[LocalRedis]
    sentinels: list[LocalSentinel] = field(default_factory=list)

    @classmethod
    def create(
        cls, folder: Path, *options: str, size: int = 3, sentinels: int = 3
    ) -> "SentinelGroup":
        """Prepare a group; `options` are further configuration lines of each Redis."""
        password = secrets.token_hex(16)
        servers: list[LocalRedis] = []
        for number in range(size):
            lines = [
                f"masterauth {password}",
                # A majority less the primary; who loses it takes no more writes after two seconds.
                f"min-replicas-to-write {size // 2}",
                "min-replicas-max-lag 2",
                "repl-ping-replica-period 1",
                "repl-diskless-sync-delay 0",
                *options,
            ]
            if servers:
                lines.append(f"replicaof 127.0.0.1 {servers[0].port}")
            home = folder / f"redis{number}"
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            servers.append(LocalRedis(home, free_port(), password, tuple(lines)))
        return cls(
            folder,
            servers,
            [
                LocalSentinel(
                    folder / f"sentinel{number}", free_port(), servers[0], sentinels // 2 + 1
                )
                for number in range(sentinels)
            ],
        )

    @property
    def url(self) -> str:
        """URL with password, for REDIS_URL."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"sentinel://:{self.servers[0].password}@{hosts}/0"

    def primary(self) -> LocalRedis:
        """Return the server that most of the sentinels call the primary.

        Raises:
            UnavailableError: there is none at the moment.
        """
        votes = []
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError), sentinel.client() as client:
                state = client.sentinel_masters()[MASTER]
                if not (state["is_sdown"] or state["is_odown"]):
                    votes.append(state["port"])
        for server in self.servers:
            if votes.count(server.port) > len(self.sentinels) // 2:
                return server
        raise UnavailableError("the sentinels know no primary at the moment")

    def wait_until_complete(self, timeout_seconds: float = 30.0) -> None:
        """Wait until every replica follows the primary and every sentinel knows all of them.

        Raises:
            UnavailableError: not in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self._is_complete():
            if time.monotonic() > deadline:
                raise UnavailableError(f"the Redis group is not complete; see {self.folder}")
            time.sleep(0.1)

    def _is_complete(self) -> bool:
        others = (len(self.servers) - 1, len(self.sentinels) - 1)
        try:
            with redis.Redis.from_url(self.primary().url) as client:
                replicas = client.info("replication")
            online = [
                value
                for name, value in replicas.items()
                if name.startswith("slave") and value["state"] == "online"
            ]
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    state = client.sentinel_masters()[MASTER]
                if (state["num-slaves"], state["num-other-sentinels"]) != others:
                    return False
        except (UnavailableError, redis.RedisError):
            return False
        return len(online) == others[0]

    def start(self) -> None:
        """Start all servers and wait until the group is complete."""
        try:
            for server in self.servers:
                server.start()
            for sentinel in self.sentinels:
                sentinel.start()
            self.wait_until_complete()
        except BaseException:  # Ctrl-C too: nobody else would stop them
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything."""
        for sentinel in self.sentinels:
            sentinel.stop()
        for server in self.servers:
            server.stop()

    def __enter__(self) -> "SentinelGroup":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
