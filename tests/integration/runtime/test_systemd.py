"""What systemd hears from real processes whose Redis comes late."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nova.schedule import SCHEDULE
from scripts.local.redis_server import LocalRedis
from tests.conftest import CELERY, wait_until


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that receives what systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(30)
        yield receiver


@pytest.fixture
def late_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis that is away until the test starts it."""
    server = LocalRedis.create(tmp_path / "late")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("arguments", "waiting", "ready"),
    [
        (["worker", "--concurrency=1"], "Cannot connect", "STATUS=consuming"),
        (["beat"], "waiting for Redis", f"STATUS=scheduling {len(SCHEDULE)} entries"),
    ],
    ids=["worker", "beat"],
)
def test_ready_waits_for_redis_and_its_absence_is_no_failure(
    arguments: list[str],
    waiting: str,
    ready: str,
    systemd: socket.socket,
    late_redis: LocalRedis,
    process_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """The process neither fails nor claims to be ready; then it is READY, and STOPPING at last.

    Its log file has the guide's name and, as by default, lines of level info.
    """
    environment = process_environment | {
        "REDIS_URL": late_redis.url,
        "NOTIFY_SOCKET": systemd.getsockname(),
        "NOVA_LOG_DIR": str(tmp_path),
        "PYTHONPATH": str(Path.cwd()),
    }
    log = tmp_path / "process.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [CELERY, "-A", "nova.celery_app", *arguments],
            env=environment,
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def heard(what: str) -> bool:
        return what in systemd.recv(4096).decode()

    try:
        wait_until(lambda: waiting in log.read_text() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        late_redis.start()
        wait_until(lambda: heard(f"READY=1\n{ready}"), log.read_text)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: heard("STOPPING=1"), log.read_text)
        assert process.wait(timeout=30) == 0
        log_file = (
            tmp_path
            / {"worker": "celery-worker-celery.log", "beat": "celery-beat.log"}[arguments[0]]
        )
        assert " INFO " in log_file.read_text()
    finally:
        process.kill()
        process.wait()
    assert late_redis.password not in log.read_text()
