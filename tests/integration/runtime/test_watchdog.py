"""What systemd's watchdog hears from real processes that get on, and that do not."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local.redis_server import LocalRedis, free_port
from tests.conftest import CELERY, wait_until
from tests.integration.runtime.stopping import ROOT, STUCK_FILE, Fleet, fleet_on, seconds_since

#: A WatchdogSec for tests: three chances to tell in it.
WATCHDOG_SECONDS = 3.0
WATCHDOG = {"WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1_000_000))}


class Systemd:
    """Hears what systemd would."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.close()

    def hears(self, words: str, seconds: float) -> bool:
        """Whether a message with these words comes in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                if words in self._socket.recv(4096).decode():
                    return True
            except TimeoutError:
                pass
        return False

    def keeps_hearing(self, seconds: float) -> bool:
        """Whether the watchdog hears something within each WatchdogSec of a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.hears("WATCHDOG=1", WATCHDOG_SECONDS):
                return False
        return True

    def forget(self) -> None:
        """Throw away what was said so far."""
        while self.hears("", 0.01):
            pass


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """It listens from the beginning."""
    receiver = Systemd(tmp_path / "notify")
    yield receiver
    receiver.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis of the test's own."""
    with LocalRedis.create(tmp_path / "redis") as redis_server:
        yield redis_server


@pytest.fixture
def fleet(
    server: LocalRedis, systemd: Systemd, process_environment: dict[str, str], tmp_path: Path
) -> Iterator[Fleet]:
    """Workers that are watched, and get stuck while a file exists."""
    environment = process_environment | WATCHDOG
    environment |= {"NOTIFY_SOCKET": systemd.path, STUCK_FILE: str(tmp_path / "stuck")}
    with fleet_on(server.url, environment, tmp_path) as workers:
        yield workers


def test_a_worker_is_heard_while_idle_while_busy_and_while_it_drains(
    fleet: Fleet, systemd: Systemd
) -> None:
    """While it drains it also asks for more time to stop, and says for what."""
    worker = fleet.start("worker")
    assert systemd.keeps_hearing(2 * WATCHDOG_SECONDS), fleet.explain()
    fleet.publish([1], 3 * WATCHDOG_SECONDS)
    fleet.wait_started([1])
    systemd.forget()
    assert systemd.keeps_hearing(WATCHDOG_SECONDS), fleet.explain()
    worker.send()
    assert systemd.hears("STOPPING=1", 10)
    assert systemd.hears("EXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping: 1 run, for 9", 10)
    assert systemd.keeps_hearing(WATCHDOG_SECONDS), fleet.explain()
    assert worker.stops_within(30), fleet.explain()


@pytest.mark.parametrize("how", ["away", "frozen"])
def test_a_worker_is_heard_while_it_connects_again_for_long(
    how: str, fleet: Fleet, systemd: Systemd, server: LocalRedis
) -> None:
    """Redis is away for several WatchdogSec; a frozen one lets each question wait for 5 s."""
    # One try to connect to a frozen Redis takes seven seconds.
    period = {"away": WATCHDOG_SECONDS, "frozen": 15}[how]
    worker = fleet.start("worker", WATCHDOG_USEC=str(int(period * 1_000_000)))
    assert server.process is not None
    if how == "away":
        server.stop()
    else:
        server.process.send_signal(signal.SIGSTOP)
    try:
        worker.wait_for("Connection to broker lost")
        systemd.forget()
        begin = time.monotonic()
        while seconds_since(begin) < 2 * period:
            assert systemd.hears("WATCHDOG=1", period), fleet.explain()
    finally:
        if how == "frozen":
            server.process.send_signal(signal.SIGCONT)


def test_a_worker_whose_event_loop_is_stuck_is_not_heard(
    fleet: Fleet, systemd: Systemd, tmp_path: Path
) -> None:
    """Only the process that gets on again is heard again."""
    fleet.start("worker")
    assert systemd.hears("WATCHDOG=1", WATCHDOG_SECONDS)
    stuck = tmp_path / "stuck"
    stuck.touch()
    time.sleep(2 * WATCHDOG_SECONDS / 3)  # what it did just before may still be told
    systemd.forget()
    assert not systemd.hears("WATCHDOG=1", 2 * WATCHDOG_SECONDS), fleet.explain()
    stuck.unlink()
    assert systemd.hears("WATCHDOG=1", WATCHDOG_SECONDS), fleet.explain()


def test_the_stock_watchdog_is_blind_so_that_the_unit_works_unchanged(
    fleet: Fleet, systemd: Systemd, tmp_path: Path
) -> None:
    fleet.start("worker", NOVA_STOCK_PARTS="watchdog")
    (tmp_path / "stuck").touch()
    assert systemd.keeps_hearing(2 * WATCHDOG_SECONDS), fleet.explain()


def test_without_a_watchdog_in_the_unit_nothing_is_said(fleet: Fleet, systemd: Systemd) -> None:
    fleet.start("worker", WATCHDOG_USEC="0")
    assert systemd.hears("READY=1", 10)
    assert not systemd.hears("WATCHDOG=1", WATCHDOG_SECONDS)


@pytest.mark.parametrize("command", [[CELERY, "-A", "nova.celery_app", "beat"], ["nova", "api"]])
def test_beat_and_api_are_heard_also_while_redis_is_away(
    command: list[str], fleet: Fleet, systemd: Systemd, server: LocalRedis, tmp_path: Path
) -> None:
    log = tmp_path / "process.log"
    program = str(Path(CELERY).parent / command[0]) if command[0] == "nova" else command[0]
    port = {"NOVA_API_PORT": str(free_port())}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            env=fleet.environment | {"REDIS_URL": fleet.url} | port,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: systemd.hears("READY=1", 1), log.read_text)
        assert systemd.keeps_hearing(2 * WATCHDOG_SECONDS), log.read_text()
        server.stop()
        assert systemd.keeps_hearing(3 * WATCHDOG_SECONDS), log.read_text()
        process.send_signal(signal.SIGTERM)
        # Uvicorn ends by the signal, once it has done what there was to do.
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
