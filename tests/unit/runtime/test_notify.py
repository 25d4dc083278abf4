"""What systemd is told."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from nova.runtime import notify
from nova.settings import Settings


@pytest.fixture
def systemd(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings], tmp_path: Path
) -> Iterator[socket.socket]:
    """A socket that receives what systemd would."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(5)
        settings = make_settings(NOTIFY_SOCKET=path)
        monkeypatch.setattr(notify, "get_settings", lambda: settings)
        yield receiver


def test_lines_arrive_as_one_datagram(systemd: socket.socket) -> None:
    notify.notify("READY=1", "STATUS=consuming trends")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=consuming trends"


def test_outside_systemd_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(notify, "get_settings", lambda: settings)
    monkeypatch.setattr(socket, "socket", refuse)
    notify.notify("READY=1")


def test_a_redis_that_is_away_is_waited_for_and_named_in_the_status(
    systemd: socket.socket, settings: Settings
) -> None:
    class LateRedis:
        tries = 0

        def ping(self) -> None:
            self.tries += 1
            if self.tries < 3:
                raise redis.ConnectionError("refused")

    late = LateRedis()
    waits: list[float] = []
    notify.wait_for_redis(settings, late, waits.append)  # type: ignore[arg-type]
    assert waits == [notify.RETRY_SECONDS] * 2
    assert settings.redis_location in systemd.recv(1000).decode()
