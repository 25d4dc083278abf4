"""The life of an API process: start, systemd, a Redis that goes and comes, stop."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nova.api.security import Role
from scripts.local.redis_server import LocalRedis, free_port
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess, StartApi, running_api


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis that a test may stop; it is not started yet."""
    server = LocalRedis.create(tmp_path / "own-redis")
    yield server
    server.stop()


def run_to_the_end(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run `nova api` where it cannot serve."""
    command = [sys.executable, "-m", "nova", "api"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    "secret", ["", "only-31-bytes-0123456789abcdefg", "your_secure_jwt_key_here_your_secure"]
)
def test_without_a_safe_secret_the_api_does_not_start(
    process_environment: dict[str, str], secret: str
) -> None:
    result = run_to_the_end(process_environment | {"JWT_SECRET_KEY": secret})
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("nova: JWT_SECRET_KEY ")
    assert not secret or secret not in line


def test_an_address_in_use_is_one_line(process_environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_to_the_end(process_environment | {"NOVA_API_PORT": str(port)})
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in line


def test_a_late_redis_delays_ready_and_nothing_else(
    process_environment: dict[str, str], own_redis: LocalRedis, tmp_path: Path
) -> None:
    """Meanwhile the process serves and says what it waits for; then READY, and STOPPING."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(30)
        environment = process_environment | {"REDIS_URL": own_redis.url, "NOTIFY_SOCKET": address}
        with running_api(environment, tmp_path) as api:
            assert b"STATUS=waiting for Redis" in systemd.recv(4096)
            assert api.get("/healthz").status_code == 200
            assert api.get("/readyz").status_code == 503
            own_redis.start()
            wait_until(lambda: b"READY=1" in systemd.recv(4096), api.log.read_text)
            assert api.get("/readyz").status_code == 200
            api.process.send_signal(signal.SIGTERM)
            assert b"STOPPING=1" in systemd.recv(4096)
    assert own_redis.password not in api.log.read_text()


def test_redis_goes_and_comes_back(
    process_environment: dict[str, str], own_redis: LocalRedis, tmp_path: Path
) -> None:
    """Without it every answer is quick and honest; with it all is as before, without a restart."""
    own_redis.start()
    with running_api(process_environment | {"REDIS_URL": own_redis.url}, tmp_path) as api:
        assert api.get("/readyz").status_code == 200
        assert trigger(api) == 202
        own_redis.stop()
        begin = time.monotonic()
        unready = api.get("/readyz")
        assert unready.status_code == 503
        assert int(unready.headers["Retry-After"]) > 0
        assert api.get("/healthz").status_code == 200
        assert "nova_redis_up 0.0" in api.get("/metrics").text
        assert api.get("/api/celery/status", Role.VIEWER).status_code == 503
        assert trigger(api) == 503
        assert time.monotonic() - begin < 10
        own_redis.start()
        wait_until(lambda: api.get("/readyz").status_code == 200, api.log.read_text)
        assert "nova_redis_up 1.0" in api.get("/metrics").text
        assert trigger(api) == 202
    assert "Traceback" not in api.log.read_text()


def trigger(api: ApiProcess) -> int:
    """Trigger governance and return the answer's status."""
    return api.request("POST", "/api/celery/governance/run", Role.OPERATOR).status_code


def test_a_frozen_redis_makes_nobody_wait_long(
    process_environment: dict[str, str], own_redis: LocalRedis, tmp_path: Path
) -> None:
    """A server that takes connections and never answers is bounded by the timeouts."""
    own_redis.start()
    assert own_redis.process is not None
    with running_api(process_environment | {"REDIS_URL": own_redis.url}, tmp_path) as api:
        assert api.get("/readyz").status_code == 200
        own_redis.process.send_signal(signal.SIGSTOP)
        try:
            for path, status, limit_seconds in [
                ("/healthz", 200, 1.0),
                ("/metrics", 200, 4.0),
                ("/readyz", 503, 4.0),
                ("/api/celery/status", 503, 12.0),
            ]:
                begin = time.monotonic()
                assert api.get(path, Role.VIEWER).status_code == status
                assert time.monotonic() - begin < limit_seconds, path
        finally:
            own_redis.process.send_signal(signal.SIGCONT)
        wait_until(lambda: api.get("/readyz").status_code == 200, api.log.read_text)


def test_sigterm_finishes_a_running_request(start_api: StartApi, tmp_path: Path) -> None:
    """An upload that is half sent when SIGTERM comes is completed and answered."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    api = start_api(TMPDIR=str(uploads))
    content = b"day,channel,views\n" + b"2026-03-01,slow,1\n"
    head = (
        f"POST /api/metrics HTTP/1.1\r\nHost: nova\r\nContent-Length: {len(content)}\r\n"
        f"Authorization: {api.headers(Role.ADMIN)['Authorization']}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
        connection.sendall(head.encode() + content[:20])
        wait_until(lambda: list(uploads.iterdir()), api.log.read_text)
        api.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not api.is_alive(), api.log.read_text)
        assert api.process.poll() is None
        connection.sendall(content[20:])
        # Head and body may come in two segments; the server closes after the body.
        with connection.makefile("rb") as stream:
            answer = stream.read().decode()
    assert answer.startswith("HTTP/1.1 200 ")
    assert '"rows_read":1' in answer
    # uvicorn ends by the signal it got, which systemd takes for a clean stop.
    assert api.process.wait(timeout=30) == -signal.SIGTERM
    assert "Traceback" not in api.log.read_text()


def test_a_connection_from_before_sigterm_is_answered(start_api: StartApi) -> None:
    """It was accepted, and its request came when the server was stopping already."""
    api = start_api()
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
        assert api.get("/healthz").status_code == 200  # the connection before it was accepted
        api.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not api.is_alive(), api.log.read_text)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: nova\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 200 "), api.log.read_text()
    assert api.process.wait(timeout=30) == -signal.SIGTERM


LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "nova", "api"])
"""


def test_the_socket_of_systemd_is_served(
    process_environment: dict[str, str], tmp_path: Path
) -> None:
    """A connection that was made before the process started is answered: none is refused."""
    log = tmp_path / "api.log"
    # Not the port of the socket: it must not be used.
    environment = process_environment | {"NOVA_API_PORT": str(free_port())}
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname(), timeout=30) as early,
        log.open("wb") as output,
    ):
        early.sendall(b"GET /healthz HTTP/1.1\r\nHost: nova\r\nConnection: close\r\n\r\n")
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(listening.fileno())],
            env=environment,
            pass_fds=(listening.fileno(),),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with early.makefile("rb") as stream:
                assert stream.readline().startswith(b"HTTP/1.1 200 "), log.read_text()
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_the_log_follows_a_rename_and_holds_no_token(start_api: StartApi, tmp_path: Path) -> None:
    """logrotate renames the file; the next line is in a new one, and none is lost."""
    api = start_api(NOVA_LOG_DIR=str(tmp_path))
    log, rotated = tmp_path / "api.log", tmp_path / "api.log.1"
    assert api.get("/api/celery/status?before", Role.VIEWER).status_code == 200
    wait_until(lambda: "/api/celery/status?before" in log.read_text())
    log.rename(rotated)
    assert api.get("/api/celery/status?after", Role.VIEWER).status_code == 200
    wait_until(lambda: log.exists() and "/api/celery/status?after" in log.read_text())
    everything = log.read_text() + rotated.read_text() + api.log.read_text()
    assert "eyJ" in api.headers(Role.VIEWER)["Authorization"]
    assert "eyJ" not in everything
