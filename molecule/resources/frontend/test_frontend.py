"""The frontend: verified TLS on both sides, and no request lost by what befalls the API hosts."""

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

from scripts.lab.plays import play

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


#: What httpx says of an answer whose headers came and whose body did not, or not whole.
BROKEN_OFF = "without sending complete message body"


class Stream:
    """Requests one after another, each on a connection of its own."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self._url = url
        self._trust = trust
        self._stop = threading.Event()
        self.answered = 0
        #: Answers that a process had begun when it was killed: no frontend can mend those.
        self.broken_off = 0
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
                if BROKEN_OFF in str(error):
                    self.broken_off += 1
                else:
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
def stream(url: str, trust: ssl.SSLContext) -> Callable[..., Any]:
    """Send requests from two threads while a block runs; none of them may fail."""

    @contextmanager
    def streaming(*, most_broken_off: int = 0) -> Iterator[Stream]:
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
        assert asked.broken_off <= most_broken_off

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
    host: Host, fleet: Any, stream: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """kill -9 of one API's process: what asks it is answered by the other.

    But for the answer that was half sent: of each of the two threads one at most.
    """
    wait_until_healthy(host, wait_until)
    victim = list(fleet.hosts("api").values())[-1]
    with stream(most_broken_off=2) as asked:
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


SERVERS_CA = "/etc/haproxy/nova/servers-ca.crt"
API_CA = "/etc/nova/api-ca.crt"
#: Asks an address, verifying with a CA; prints the status.
_ASK = """
import ssl, sys, urllib.request
url, ca = sys.argv[1:]
trust = ssl.create_default_context(cafile=ca)
print(urllib.request.urlopen(url, context=trust, timeout=10).status)
"""
#: Prints the certificate that an API host shows.
_SHOWN = """
import ssl, sys
print(ssl.get_server_certificate((sys.argv[1], 8000)))
"""


def api_addresses(fleet: Any) -> dict[str, str]:
    """The address of each API host, which only the frontend may reach."""
    hosts = fleet.hosts("api").items()
    return {name: host.ansible.get_variables()["ansible_host"] for name, host in hosts}


def shown_certificates(host: Host, fleet: Any) -> dict[str, str]:
    """The certificate that each API host shows to the frontend."""
    return {
        name: host.check_output("python3 -c %s %s", _SHOWN, address)
        for name, address in api_addresses(fleet).items()
    }


def test_an_api_host_speaks_verified_tls_and_nothing_else(host: Host, fleet: Any) -> None:
    """A token that is sent to it in clear text gets no answer."""
    for address in api_addresses(fleet).values():
        answer = host.check_output(
            "python3 -c %s %s %s", _ASK, f"https://{address}:8000/readyz", SERVERS_CA
        )
        assert answer == "200"
        clear = host.run("python3 -c %s %s %s", _ASK, f"http://{address}:8000/readyz", SERVERS_CA)
        assert clear.rc != 0


CONFIGURATION = "/etc/haproxy/nova/haproxy.cfg"


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (SERVERS_CA, "cp /etc/haproxy/nova/other-ca.crt %s"),
        (CONFIGURATION, "sed -i 's/verifyhost [^ ]*/verifyhost somebody-else/' %s"),
    ],
    ids=["another CA", "another name"],
)
def test_an_api_host_that_cannot_be_verified_gets_no_request(
    host: Host,
    fleet: Any,
    url: str,
    trust: ssl.SSLContext,
    wait_until: Callable[..., None],
    path: str,
    change: str,
) -> None:
    """Its certificate is of another CA, or for another host: it is taken for down."""
    other = (fleet.tls_folder("frontend") / "ca.crt").read_text(encoding="utf-8")
    host.check_output("printf '%%s\\n' %s > /etc/haproxy/nova/other-ca.crt", other)
    host.check_output("cp --preserve %s /run/right", path)
    try:
        host.check_output(change, path)
        assert host.run("cmp %s /run/right", path).rc == 1
        host.check_output("systemctl reload haproxy")
        wait_until(
            lambda: {row["status"] for row in statistics(host).values()} == {"DOWN"},
            "no server is trusted",
        )
        answer = httpx.get(f"{url}/healthz", verify=trust, timeout=60)
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    finally:
        host.check_output("cp --preserve /run/right %s", path)
        host.check_output("rm /run/right /etc/haproxy/nova/other-ca.crt")
        host.check_output("systemctl reload haproxy")
    wait_until_healthy(host, wait_until)


def test_the_gate_asks_the_api_over_verified_tls(fleet: Any) -> None:
    """With the CA it passes; with the system's alone, or in clear text, it does not."""
    for name, api in fleet.hosts("api").items():
        release = api.check_output("basename $(readlink -f /opt/nova/current)")
        gate = f"nova gate --release {release} --timeout 10"
        api.check_output(f"{gate} --api https://127.0.0.1:8000 --api-ca {API_CA}")
        unverified = api.run(f"{gate} --api https://127.0.0.1:8000")
        assert "CERTIFICATE_VERIFY_FAILED" in unverified.stderr, name
        assert api.run(f"{gate} --api http://127.0.0.1:8000 --api-ca {API_CA}").rc != 0, name


def test_a_rolling_restart_with_tls_fails_no_request(
    host: Host, stream: Callable[[], Any], wait_until: Callable[..., None]
) -> None:
    """Each host is drained, restarted, asked over TLS and found healthy again."""
    wait_until_healthy(host, wait_until)
    with stream():
        play("rolling-restart")
    wait_until_healthy(host, wait_until)


def test_a_renewed_certificate_is_served_and_no_request_fails(
    host: Host, fleet: Any, stream: Callable[[], Any], wait_until: Callable[..., None]
) -> None:
    """One that is missing on the controller is made like one that ends soon."""
    wait_until_healthy(host, wait_until)
    folder = fleet.tls_folder("api")
    before = shown_certificates(host, fleet)
    for name in before:
        (folder / f"{name}.crt").unlink()
    with stream():
        play("site")
    after = shown_certificates(host, fleet)
    for name, certificate in after.items():
        assert certificate != before[name]
        assert certificate.strip() == (folder / f"{name}.crt").read_text(encoding="utf-8").strip()
    assert play("site").changed == {}


def test_a_reload_that_an_interrupted_run_owes_is_made_up_for(host: Host) -> None:
    """Every file is as it should be, and haproxy runs with another."""
    wanted = f"{CONFIGURATION}.wanted"
    host.check_output(f"cp -p {CONFIGURATION} {wanted}")
    host.check_output(f"echo '# of before' >> {CONFIGURATION} && systemctl reload haproxy")
    host.check_output(f"mv {wanted} {CONFIGURATION}")
    assert host.check_output("nova-frontend due") == "reloaded"
    assert play("site").changed == {host.backend.host: 1}
    assert host.check_output("nova-frontend due") == ""
    assert play("site").changed == {}


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
