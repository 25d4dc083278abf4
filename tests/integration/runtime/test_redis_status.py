"""What is shown of Redis: asked of a real group with replicas."""

from pathlib import Path

import pytest

from nova.runtime.redis_status import read_redis
from nova.settings import get_settings
from nova.store import connect
from scripts.local.sentinel_group import SentinelGroup
from tests.conftest import wait_until


def test_a_group_shows_its_primary_and_how_far_replicas_are_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found over Sentinel; a replica that answers nothing more falls behind by what is written."""
    with SentinelGroup.create(tmp_path / "group") as group:
        monkeypatch.setenv("REDIS_URL", group.url)
        get_settings.cache_clear()
        with connect(get_settings()) as client:
            found = read_redis(client)
            assert found.role == "master"
            assert found.address == f"127.0.0.1:{group.primary().port}"
            assert [replica.state for replica in found.replicas] == ["online", "online"]

            frozen = next(server for server in group.servers if server is not group.primary())
            address = f"127.0.0.1:{frozen.port}"

            def behind() -> int:
                """How many bytes the frozen one lacks."""
                replicas = {replica.address: replica for replica in read_redis(client).replicas}
                return replicas[address].behind_bytes

            frozen.freeze()
            try:
                client.set("large", b"x" * 100_000)
                wait_until(lambda: behind() >= 100_000)
            finally:
                frozen.resume()
            wait_until(lambda: behind() < 1000)
