"""Which socket the server listens on."""

import fcntl
import os
import socket
from collections.abc import Callable

import pytest

from nova.api import server
from nova.errors import ConfigurationError
from nova.settings import Settings


def test_an_address_in_use_is_one_line_that_names_it() -> None:
    with server.bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            server.bind("127.0.0.1", port)
    message = str(caught.value)
    assert f"port {port}: Address already in use;" in message
    assert "NOVA_API_PORT" in message


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_one_line_that_names_it(host: str) -> None:
    """192.0.2.0/24 is reserved for documentation: no host has it."""
    with pytest.raises(ConfigurationError, match=f"cannot listen on {host}"):
        server.bind(host, 0)


def test_without_systemd_there_are_no_sockets_of_systemd(
    offline_settings: Callable[..., Settings],
) -> None:
    assert server.systemd_sockets(offline_settings()) == []


def test_sockets_meant_for_another_process_are_left_alone(
    offline_settings: Callable[..., Settings],
) -> None:
    """The variables of a parent that systemd started leak to its children."""
    settings = offline_settings(LISTEN_PID=os.getpid() + 1, LISTEN_FDS=1)
    assert server.systemd_sockets(settings) == []


def test_the_sockets_of_systemd_are_taken(
    offline_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Far from the descriptors in use, so that these two follow each other as systemd's do.
    begin = 500
    addresses = []
    for number in (begin, begin + 1):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            assert fcntl.fcntl(listening.fileno(), fcntl.F_DUPFD_CLOEXEC, begin) == number
            addresses.append(listening.getsockname())
    monkeypatch.setattr(server, "FIRST_SYSTEMD_FD", begin)
    taken = server.systemd_sockets(offline_settings(LISTEN_PID=os.getpid(), LISTEN_FDS=2))
    try:
        assert [sock.getsockname() for sock in taken] == addresses
    finally:
        for sock in taken:
            sock.close()
