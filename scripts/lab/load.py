"""Load that goes on while a fleet is rolled, and counts: tasks on a host, requests from here."""

import json
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx
from testinfra.host import Host

from scripts.lab.docker import LabError

#: Python on a host with the settings, credentials and user of the units.
AS_NOVA = (
    "systemd-run --quiet --pipe --wait --collect -p User=nova -p WorkingDirectory=/var/lib/nova"
    " -p EnvironmentFile=/etc/nova/nova.env"
    " -p LoadCredential=nova_redis_password:/etc/nova/credentials/nova_redis_password"
    " -p SetCredential=nova_redis_sentinel_password:"
    " -p LoadCredential=nova_redis_sentinel_password:"
    "/etc/nova/credentials/nova_redis_sentinel_password"
    " /opt/nova/current/bin/python -c %s %s"
)
#: Publishes numbers until a file is gone; writes those that Redis has confirmed, one a line.
PUBLISH = """
import pathlib, sys, time
from nova.celery_app import app
running, done = pathlib.Path("/var/lib/nova/load.running"), pathlib.Path("/var/lib/nova/load.done")
first = int(sys.argv[1])
with done.open("w", buffering=1) as stream:
    for number in range(first, first + 100_000):
        if not running.exists():
            break
        try:
            # Some take long, so that there is always one that runs.
            seconds = 0.02 if number % 20 else 1.5
            app.send_task("nova.maintenance.count_task", [number], {"seconds": seconds})
        except Exception as error:  # whatever it is, its number does not count
            print(number, error, file=sys.stderr)
        else:
            stream.write(f"{number}\\n")
        time.sleep(0.1)
"""
UNIT = "nova-test-load"


class TaskLoad:
    """Numbered tasks, ten a second, from a process on a host that keeps its release."""

    def __init__(self, host: Host, first: int) -> None:
        self._host = host
        self._first = first
        # The link is switched meanwhile.
        release = host.check_output("readlink -f /opt/nova/current")
        command = AS_NOVA.replace("/opt/nova/current", release)
        self._command = command.replace("--pipe --wait", f"--unit={UNIT}")

    def __enter__(self) -> "TaskLoad":
        self._host.check_output(
            "rm -f /var/lib/nova/load.done && install -o nova /dev/null /var/lib/nova/load.running"
        )
        self._host.check_output(self._command, PUBLISH, str(self._first))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._host.run("rm -f /var/lib/nova/load.running")
        deadline = time.monotonic() + 30
        while self._host.run(f"systemctl is-active --quiet {UNIT}").rc == 0:
            if time.monotonic() > deadline:
                raise LabError(f"{UNIT} does not end")
            time.sleep(0.5)

    def confirmed(self) -> list[int]:
        """The numbers that were published."""
        text = self._host.check_output("cat /var/lib/nova/load.done 2>/dev/null || true")
        return [int(number) for number in text.split()]


#: How a connection ends that the server closes while a request comes: that may be repeated, if it
#: is idempotent (RFC 9110, 9.2.2).
CLOSED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@dataclass
class RequestLoad:
    """Requests to the API, ten a second: half over connections of their own, half over a kept one.

    Answers are status codes, or the names of errors.
    """

    url: str
    token: str
    trust: ssl.SSLContext | bool = True
    answers: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "RequestLoad":
        for way in (self._over_new_connections, self._over_one_connection):
            thread = threading.Thread(target=way)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _client(self) -> httpx.Client:
        # A restart of the API holds requests back for as long as it takes: a minute on a machine
        # that has much else to do (seen). What is counted are failures.
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, verify=self.trust, timeout=180)

    def _over_new_connections(self) -> None:
        while not self._stopping.wait(0.2):
            with self._client() as client:
                self._count(client)

    def _over_one_connection(self) -> None:
        with self._client() as client:
            while not self._stopping.wait(0.2):
                self._count(client, again=CLOSED)

    def _count(self, client: httpx.Client, again: tuple[type[httpx.HTTPError], ...] = ()) -> None:
        """Note the answer to a request; ask once more after the named errors."""
        status = "/api/celery/status"
        try:
            try:
                answer = client.get(status)
            except again:
                answer = client.get(status)
            self.answers.append(str(answer.status_code))
        except httpx.HTTPError as error:
            self.answers.append(type(error).__name__)


@dataclass(frozen=True)
class Load:
    """Both."""

    tasks: TaskLoad
    requests: RequestLoad


def effects(fleet: Any, key: str) -> Counter[int]:
    """The numbers in the list of effects, and how often each is there."""
    program = (
        "import json, sys; from nova.settings import get_settings; from nova.store import connect; "
        "print(json.dumps([int(n) for n in connect(get_settings()).lrange(sys.argv[1], 0, -1)]))"
    )
    return Counter(json.loads(fleet.run_as_nova(fleet.one("workers"), program, key)))
