"""Redis as it says of itself: its role, its replicas, and what its sentinels say."""

from typing import Any, cast

import redis
from pydantic import BaseModel, Field

from nova.sentinels import SentinelClient
from nova.settings import Settings
from nova.store import sentinel_options


class ReplicaStatus(BaseModel):
    """One replica, as its primary sees it."""

    address: str = Field(examples=["10.0.0.2:6379"])
    state: str = Field(description="online, or what it waits for.", examples=["online"])
    behind_bytes: int = Field(description="Bytes of the stream of writes that it lacks.")


class RedisStatus(BaseModel):
    """The server that is written to."""

    address: str = Field(examples=["10.0.0.1:6379"])
    version: str = Field(examples=["7.0.15"])
    role: str = Field(examples=["master"])
    used_megabytes: int
    replicas: list[ReplicaStatus]


class SentinelStatus(BaseModel):
    """One sentinel of those in REDIS_URL."""

    address: str = Field(examples=["10.0.0.1:26379"])
    primary: str = Field(
        description="The server that it calls the primary; empty if it names none.",
        examples=["10.0.0.1:6379"],
    )
    problem: str = Field(description="Why it names none; else empty.")

    def line(self) -> str:
        """Return it as one line for people."""
        return f"sentinel {self.address}: {self.problem or f'{self.primary} is the primary'}"


def read_redis(client: redis.Redis) -> RedisStatus:
    """Return what the server says; one round trip.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        for section in ("server", "memory", "replication"):
            pipe.info(section)
        server, memory, replication = cast(list[dict[str, Any]], pipe.execute())
    return RedisStatus(
        address=_address(client),
        version=str(server["redis_version"]),
        role=replication["role"],
        used_megabytes=memory["used_memory"] // 1_000_000,
        replicas=[
            _replica(replication[f"slave{number}"], replication["master_repl_offset"])
            for number in range(replication["connected_slaves"])
        ],
    )


def _replica(line: dict[str, Any], offset: int) -> ReplicaStatus:
    return ReplicaStatus(
        address=f"{line['ip']}:{line['port']}",
        state=line["state"],
        behind_bytes=max(0, offset - line["offset"]),
    )


def read_sentinels(settings: Settings) -> list[SentinelStatus]:
    """Return what each sentinel says; none where Redis is not found by sentinels.

    One that does not answer costs two seconds.
    """
    if not settings.redis_uses_sentinel:
        return []
    return [_ask_sentinel(settings, host, port) for host, port in settings.redis_addresses]


def _ask_sentinel(settings: Settings, host: str, port: int) -> SentinelStatus:
    primary, problem = "", ""
    with SentinelClient(host, port, **sentinel_options(settings)) as client:
        try:
            found: Any = client.sentinel_get_master_addr_by_name(settings.redis_sentinel_master)
        except redis.RedisError as error:
            problem = " ".join(str(error).split())
        else:
            if found:
                primary = f"{found[0].decode()}:{found[1]}"
            else:
                problem = f"it watches no {settings.redis_sentinel_master}"
    return SentinelStatus(address=f"{host}:{port}", primary=primary, problem=problem)


def _address(client: redis.Redis) -> str:
    """Return where the client is connected, which Sentinel may have said."""
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.connect()
        if path := getattr(connection, "path", ""):
            return str(path)
        return f"{connection.host}:{connection.port}"
    finally:
        client.connection_pool.release(connection)
