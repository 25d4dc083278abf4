"""What every test may use: a private Redis, settings that point at it, real workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import redis
from typer.testing import CliRunner

from nova.cli import app
from nova.errors import NovaError
from nova.runtime.heartbeat import read_workers
from nova.settings import Settings
from nova.store import connect
from nova.terminal import console
from scripts.local.redis_server import LocalRedis

CELERY = str(Path(sys.executable).parent / "celery")
Invoke = Callable[..., str]
# Only when a test gives up: a machine that does other work as well may be this slow.
DEADLINE_SECONDS = 120.0
JWT_SECRET = "k" * 16 + "0123456789abcdef" * 2


def pytest_configure() -> None:
    """Let the programs that tests start hear SIGINT: in a shell's background it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture
def command_line(
    client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Invoke]:
    """Make what runs `nova` in this process: commands of these modules, on a screen so wide."""

    def make(*modules: ModuleType, width: int = 160) -> Invoke:
        for module in modules:
            monkeypatch.setattr(module, "get_settings", lambda: settings)
        monkeypatch.setattr(console, "width", width)
        return _invoke

    return make


def _invoke(*arguments: str) -> str:
    """Run a command and return what it prints; an error of Nova's is raised."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, NovaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real inputs, which stands beside the checkout where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real inputs are not here: {folder.parent.name}/{folder.name}")
    return folder


@pytest.fixture(scope="session")
def process_environment(redis_url: str) -> dict[str, str]:
    """Environment of a real process of Nova; nothing of the caller's settings leaks into it."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return inherited | {"REDIS_URL": redis_url, "JWT_SECRET_KEY": JWT_SECRET}


@pytest.fixture
def worker_environment(process_environment: dict[str, str]) -> dict[str, str]:
    """Environment of the fixture `worker`; a test may change it before it asks for the worker."""
    return process_environment.copy()


@pytest.fixture
def worker(
    client: redis.Redis, worker_environment: dict[str, str], tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A real worker of two processes that serves every queue, ready when the test begins."""
    command = [CELERY, "-A", "nova.celery_app", "worker", "--concurrency=2", "--hostname=test@%h"]
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=worker_environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: read_workers(client) or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until(
    condition: Callable[[], object],
    explain: Callable[[], str] = lambda: "",
    timeout_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Poll until the condition holds; fail with an explanation at the deadline."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_seconds} s. {explain()}")
        time.sleep(0.05)
