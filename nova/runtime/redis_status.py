"""Redis as it says of itself: its role, what it holds, and how far its replicas are behind."""

from typing import Any, cast

import redis
from pydantic import BaseModel, Field


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
