"""Real workers on a Redis of the test's own, which it may stop and freeze."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local.redis_server import LocalRedis
from tests.integration.runtime.stopping import Fleet, fleet_on


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalRedis]:
    with LocalRedis.create(tmp_path / "redis") as redis_server:
        yield redis_server


@pytest.fixture
def fleet(
    server: LocalRedis, process_environment: dict[str, str], tmp_path: Path
) -> Iterator[Fleet]:
    with fleet_on(server.url, process_environment, tmp_path) as workers:
        yield workers
