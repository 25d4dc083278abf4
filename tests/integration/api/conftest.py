"""A real API process."""

import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from nova.api.security import Role, TokenIssuer
from nova.settings import Settings
from scripts.local.redis_server import free_port
from tests.conftest import wait_until


@dataclass
class ApiProcess:
    """`nova api` on a port of its own, and a client for it."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    tokens: TokenIssuer
    #: What its certificate is verified with, where it speaks TLS.
    trust: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"{'https' if self.trust else 'http'}://127.0.0.1:{self.port}"

    def headers(self, role: Role | None) -> dict[str, str]:
        """Headers with a token of a role."""
        if role is None:
            return {}
        token = self.tokens.issue("ann", role, timedelta(hours=1)).text
        return {"Authorization": f"Bearer {token}"}

    def request(
        self, method: str, path: str, role: Role | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request, with a token of the role where there is one."""
        headers = self.headers(role)
        verify = self.trust or True
        return httpx.request(
            method, self.url + path, headers=headers, timeout=30, verify=verify, **options
        )

    def get(self, path: str, role: Role | None = None) -> httpx.Response:
        """Send a GET request."""
        return self.request("GET", path, role)

    def is_alive(self) -> bool:
        """Tell whether it serves."""
        try:
            return self.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)


StartApi = Callable[..., ApiProcess]


@contextmanager
def running_api(
    environment: dict[str, str], folder: Path, trust: ssl.SSLContext | None = None
) -> Iterator[ApiProcess]:
    """Run an API process, which serves when it is given; stop it afterwards."""
    port = free_port()
    log = folder / f"api-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "nova", "api"],
            env=environment | {"NOVA_API_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    tokens = TokenIssuer(Settings.model_validate(environment))
    api = ApiProcess(process, port, log, tokens, trust)
    try:
        wait_until(lambda: api.is_alive() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield api
    finally:
        if process.poll() is None:
            api.stop()


@pytest.fixture
def start_api(process_environment: dict[str, str], tmp_path: Path) -> Iterator[StartApi]:
    """Start API processes with environment variables of their own."""
    with ExitStack() as stack:

        def start(**variables: str) -> ApiProcess:
            return stack.enter_context(running_api(process_environment | variables, tmp_path))

        yield start


@pytest.fixture(scope="session")
def shared_api(
    process_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiProcess]:
    """One API process for all tests that do nothing to it."""
    with running_api(process_environment, tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def api(shared_api: ApiProcess, client: redis.Redis) -> ApiProcess:
    """An API process on the private Redis, which is empty when the test begins."""
    return shared_api
