"""What is shown of Redis: asked of a real group with replicas."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nova.runtime.redis_status import read_redis, read_sentinels
from nova.settings import get_settings
from nova.store import connect
from scripts.local.sentinel_group import SentinelGroup
from tests.conftest import wait_until


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SentinelGroup]:
    """A group of three servers, which the settings name."""
    with SentinelGroup.create(tmp_path / "group") as made:
        monkeypatch.setenv("REDIS_URL", made.url)
        get_settings.cache_clear()
        yield made


def test_each_sentinel_says_who_is_the_primary_or_why_not(
    group: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.sentinels[0].stop()
    lost, *others = read_sentinels(get_settings())
    assert lost.address == f"127.0.0.1:{group.sentinels[0].port}"
    assert lost.primary == ""
    assert "Connection refused" in lost.line()
    primary = f"127.0.0.1:{group.primary().port}"
    assert {sentinel.primary for sentinel in others} == {primary}
    assert others[0].line().endswith(f": {primary} is the primary")

    monkeypatch.setenv("NOVA_REDIS_SENTINEL_MASTER", "other")
    get_settings.cache_clear()
    assert read_sentinels(get_settings())[1].problem == "it watches no other"


def test_a_redis_without_sentinels_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    get_settings.cache_clear()
    assert read_sentinels(get_settings()) == []


def test_a_group_shows_its_primary_and_how_far_replicas_are_behind(group: SentinelGroup) -> None:
    """Found over Sentinel; a replica that answers nothing more falls behind by what is written."""
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
