"""The frontend: verified TLS, both API hosts at work, and no request lost by what befalls them."""

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://frontend?sudo=true"]

HIGHEST_EXPOSURE = 2.0
#: Requests that a stream must have had answered before and after what happens in between.
STREAM_REQUESTS = 40


@pytest.fixture(scope="module")
def url(front_door: Any) -> str:
    """Where a person reaches the frontend."""
    return str(front_door.url)


@pytest.fixture(scope="module")
def trust(front_door: Any) -> ssl.SSLContext:
    """What trusts the own CA alone."""
    trust: ssl.SSLContext = front_door.trust
    return trust


class Stream:
    """Requests one after another, each on a connection of its own."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self._url = url
        self._trust = trust
        self._stop = threading.Event()
        self.answered = 0
        self.failed: list[str] = []

    def run(self) -> None:
        """Ask until it is stopped."""
        while not self._stop.is_set():
            try:
                answer = httpx.get(f"{self._url}/healthz", verify=self._trust, timeout=60)
                if answer.status_code == httpx.codes.OK:
                    self.answered += 1
                else:
                    self.failed.append(str(answer.status_code))
            except httpx.HTTPError as error:
                self.failed.append(repr(error))

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def go_on(self) -> None:
        """Return when some more requests were answered."""
        enough, deadline = self.answered + STREAM_REQUESTS, time.monotonic() + 60
        while self.answered < enough:
            assert time.monotonic() < deadline, f"too few answers; failed: {self.failed}"
            time.sleep(0.05)


@pytest.fixture
def stream(url: str, trust: ssl.SSLContext) -> Callable[[], Any]:
    """Send requests from two threads while a block runs; none of them may fail."""

    @contextmanager
    def streaming() -> Iterator[Stream]:
        asked = Stream(url, trust)
        threads = [threading.Thread(target=asked.run) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            asked.go_on()
            yield asked
            asked.go_on()
        finally:
            asked.stop()
            for thread in threads:
                thread.join(timeout=90)
        assert asked.failed == []

    return streaming


def statistics(host: Host) -> dict[str, dict[str, str]]:
    """Return haproxy's figures of each server of the API."""
    lines = host.check_output("python3 -c %s", _SHOW_STAT).splitlines()
    names = lines[0].removeprefix("# ").split(",")
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
    return {row["svname"]: row for row in rows if row["pxname"] == "api"}


_SHOW_STAT = """
import socket
s = socket.socket(socket.AF_UNIX); s.connect("/run/haproxy/admin.sock")
s.sendall(b"show stat api 4 -1\\n"); print(s.makefile().read())
"""


def wait_until_healthy(host: Host, wait_until: Callable[..., None]) -> None:
    """Return when every server is up."""
    wait_until(
        lambda: {row["status"] for row in statistics(host).values()} == {"UP"}, "all servers are up"
    )


def test_only_who_trusts_the_ca_is_served(url: str, trust: ssl.SSLContext) -> None:
    assert httpx.get(f"{url}/readyz", verify=trust).status_code == httpx.codes.OK
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{url}/readyz")


def test_plain_http_is_redirected_and_nothing_else(url: str) -> None:
    """Even a token that is sent by mistake gets no further than the frontend."""
    answer = httpx.get(f"{url.replace('https', 'http')}/api/celery/status?limit=1")
    assert answer.status_code == httpx.codes.PERMANENT_REDIRECT
    assert answer.headers["location"] == f"{url}/api/celery/status?limit=1"


def test_a_token_reads_the_status(
    url: str, trust: ssl.SSLContext, make_token: Callable[[str], str]
) -> None:
    headers = {"Authorization": f"Bearer {make_token('viewer')}"}
    answer = httpx.get(f"{url}/api/celery/status", headers=headers, verify=trust, timeout=30)
    assert answer.status_code == httpx.codes.OK


def test_both_api_hosts_get_requests(
    host: Host, fleet: Any, url: str, trust: ssl.SSLContext, wait_until: Callable[..., None]
) -> None:
    wait_until_healthy(host, wait_until)
    before = Counter({name: int(row["stot"]) for name, row in statistics(host).items()})
    for _ in range(10):
        httpx.get(f"{url}/healthz", verify=trust)
    after = Counter({name: int(row["stot"]) for name, row in statistics(host).items()})
    assert after.keys() == fleet.hosts("api").keys()
    assert all(after[name] >= before[name] + 4 for name in after)


def test_a_killed_api_fails_no_request(
    host: Host, fleet: Any, stream: Callable[[], Any], wait_until: Callable[..., None]
) -> None:
    """kill -9 of one API's process, and of its socket: what asks it is answered by the other."""
    wait_until_healthy(host, wait_until)
    victim = list(fleet.hosts("api").values())[-1]
    with stream() as asked:
        victim.check_output("systemctl kill --signal=KILL nova-api.service")
        asked.go_on()
    wait_until_healthy(host, wait_until)


def test_a_refused_connection_fails_no_request(
    host: Host, fleet: Any, stream: Callable[[], Any], wait_until: Callable[..., None]
) -> None:
    """An API host whose port is closed: before the health check sees it, requests go elsewhere."""
    wait_until_healthy(host, wait_until)
    victim = list(fleet.hosts("api").values())[-1]
    try:
        with stream() as asked:
            victim.check_output("systemctl stop nova-api.socket nova-api.service")
            asked.go_on()
    finally:
        victim.check_output("systemctl start nova-api.socket nova-api.service")
    wait_until_healthy(host, wait_until)


def test_a_drained_server_gets_nothing_and_stays_drained_through_a_reload(
    host: Host, fleet: Any, stream: Callable[[], Any], wait_until: Callable[..., None]
) -> None:
    wait_until_healthy(host, wait_until)
    name = next(iter(fleet.hosts("api")))
    try:
        with stream() as asked:
            assert host.check_output("nova-frontend drain %s", name) == f"drained {name}"
            assert host.check_output("nova-frontend drain %s", name) == ""
            host.check_output("systemctl reload haproxy")
            wait_until(lambda: "DRAIN" in statistics(host)[name]["status"], "the state came over")
            before = int(statistics(host)[name]["stot"])
            asked.go_on()
            assert int(statistics(host)[name]["stot"]) == before
    finally:
        host.check_output("nova-frontend resume %s", name)
    assert statistics(host)[name]["status"] == "UP"


def test_an_unknown_server_is_refused_by_name(host: Host) -> None:
    result = host.run("nova-frontend drain nobody")
    assert result.rc == 1
    assert "no server nobody; it has " in result.stderr


def test_reloads_fail_no_request(host: Host, stream: Callable[[], Any]) -> None:
    with stream() as asked:
        for _ in range(3):
            host.check_output("systemctl reload haproxy")
            asked.go_on()


def test_metrics_are_on_loopback_alone(host: Host, url: str) -> None:
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8404/metrics').read())"
    assert "haproxy_server_status" in host.check_output("python3 -c %s", script)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url.replace('https', 'http')}:8404/metrics")


def test_the_key_is_for_haproxy_alone(host: Host) -> None:
    file = host.file("/etc/haproxy/nova/frontend.pem")
    assert (file.user, file.group, file.mode) == ("root", "haproxy", 0o640)


def test_requests_are_in_the_journal(
    host: Host, url: str, trust: ssl.SSLContext, wait_until: Callable[..., None]
) -> None:
    httpx.get(f"{url}/healthz?in-the-journal", verify=trust)
    wait_until(
        lambda: "in-the-journal" in host.check_output("journalctl --unit=haproxy -n 200 -o cat"),
        "the request is in the journal",
    )


def test_the_unit_is_hardened(host: Host) -> None:
    score = host.check_output(
        "systemd-analyze security --no-pager haproxy.service | sed -n 's/.*exposure level for .*: "
        "\\([0-9.]*\\).*/\\1/p'"
    )
    assert float(score) <= HIGHEST_EXPOSURE
