"""What every test may use: a private Redis, settings that point at it, real workers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from nova.settings import Settings
from nova.store import connect
from scripts.local.redis_server import LocalRedis

JWT_SECRET = "k" * 16 + "0123456789abcdef" * 2


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRedis]:
    """A real redis-server of this test run's own."""
    with LocalRedis.create(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: LocalRedis) -> str:
    """URL of the private server."""
    return redis_server.url


@pytest.fixture
def make_settings(redis_url: str) -> Callable[..., Settings]:
    """Build settings from keyword arguments named like the environment variables."""

    def make(**variables: object) -> Settings:
        defaults = {"REDIS_URL": redis_url, "JWT_SECRET_KEY": JWT_SECRET}
        return Settings.model_validate(defaults | variables)

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings of a process that uses the private server."""
    return make_settings()


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    """Client of the private server, which is empty when the test begins."""
    with connect(settings) as connection:
        connection.flushall()
        yield connection


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real inputs, which stands beside the checkout where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real inputs are not here: {folder.parent.name}/{folder.name}")
    return folder
