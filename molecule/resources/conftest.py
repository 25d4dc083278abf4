"""What the behaviour tests share: the fleet by group, a way to run Python as Nova, the API."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import testinfra
import yaml
from testinfra.host import Host

from scripts.lab.hosts import SECRETS
from scripts.lab.load import AS_NOVA

ROOT = Path(__file__).resolve().parents[2]
# Sends health checks to queues until each named worker has answered from each of its queues.
ASK = """
import json, sys, time
from celery.exceptions import TimeoutError
from nova.celery_app import health_check
missing = {queue: set(workers) for queue, workers in json.loads(sys.argv[1]).items()}
answers, deadline = [], time.monotonic() + 60
while any(missing.values()) and time.monotonic() < deadline:
    asked = [(queue, health_check.apply_async(queue=queue))
             for queue, workers in missing.items() for _ in range(2 * len(workers))]
    for queue, result in asked:
        try:
            answer = result.get(timeout=max(1, deadline - time.monotonic()))
        except TimeoutError:
            continue
        answers.append(answer)
        missing[queue].discard(answer["worker_name"])
print(json.dumps({"missing": {q: sorted(w) for q, w in missing.items() if w}, "answers": answers}))
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ask first what a converged fleet is; tests of other folders change it, and come after."""
    items.sort(key=lambda item: item.path.parent.name != "tests")


class Fleet:
    """The hosts of the inventory; every command on them runs as root."""

    def hosts(self, group: str) -> dict[str, Host]:
        """Return the hosts of a group by name."""
        hosts = testinfra.get_hosts([f"ansible://{group}?sudo=true"])
        return {host.backend.host: host for host in hosts}

    def one(self, group: str) -> Host:
        """Return the first host of a group."""
        return next(iter(self.hosts(group).values()))

    def variables(self, group: str) -> dict[str, Any]:
        """Return the inventory's variables of the first host of a group."""
        variables: dict[str, Any] = self.one(group).ansible.get_variables()
        return variables

    def tls_folder(self, role: str) -> Path:
        """Return the folder of a role's own CA; the lab has it beside the SSH key."""
        return Path(self.variables(role)["ansible_ssh_private_key_file"]).parent / f"{role}-tls"

    def redis_primary(self) -> Host:
        """Return the host whose Redis is the primary now; fail if there is not exactly one."""

        found: list[Host] = []

        def is_one() -> bool:
            role = "timeout 5 nova-redis-cli role"  # a frozen one does not answer
            hosts = self.hosts("redis").values()
            found[:] = [host for host in hosts if host.run(role).stdout.startswith("master")]
            return len(found) == 1

        wait_until(is_one, "one Redis is the primary", seconds=90)
        return found[0]

    def redis_is_whole(self) -> bool:
        """Return whether all other servers keep up with the primary, and every sentinel sees so."""
        hosts = self.hosts("redis").values()
        told = str(self.redis_primary().check_output("nova-redis-cli info replication"))
        if told.count("state=online") != len(hosts) - 1:
            return False
        ask = "timeout 5 nova-redis-cli -p 26379 sentinel"
        with_sentinel = [h for h in hosts if h.file("/etc/redis/nova/sentinel.conf").exists]
        seen = [h.run(f"{ask} master nova && {ask} replicas nova") for h in with_sentinel]
        return not any(answer.rc or "_down" in answer.stdout for answer in seen)

    def boots(self) -> dict[str, str]:
        """Return what tells one boot of each host from another."""
        begun = "systemctl show --property=UserspaceTimestampMonotonic"
        return {name: str(host.check_output(begun)) for name, host in self.hosts("nova").items()}

    def redis_certificate(self, host: Host) -> str:
        """Return the fingerprint of the certificate that a host's Redis shows; empty if none."""
        # A Redis without TLS would not answer at all.
        shown = host.run(
            "timeout 5 openssl s_client -connect 127.0.0.1:6379 < /dev/null 2>/dev/null "
            "| openssl x509 -noout -fingerprint"
        )
        return str(shown.stdout)

    def workers(self) -> dict[str, list[str]]:
        """Return queue -> the workers (`name@host`) that the hosts' own files say serve it."""
        serving: dict[str, list[str]] = {}
        for name, host in self.hosts("workers").items():
            lines = host.check_output("grep -H ^CELERY_WORKER_QUEUES= /etc/nova/workers/*.env")
            for line in lines.splitlines():
                path, _, setting = line.partition(":")
                for queue in setting.partition("=")[2].strip("\"'").split(","):
                    serving.setdefault(queue, []).append(f"{Path(path).stem}@{name}")
        return serving

    def ask_workers(self, expected: dict[str, list[str]]) -> dict[str, Any]:
        """Send health checks until all expected workers answered; return answers and missing."""
        output = self.run_as_nova(self.one("workers"), ASK, json.dumps(expected))
        answer: dict[str, Any] = json.loads(output)
        return answer

    def ask_json(self, command: str) -> Any:
        """Run a command of Nova on one host, and read the JSON that it prints."""
        return json.loads(self.one("workers").check_output(command))

    def status(self) -> dict[str, Any]:
        """Return what `nova status` says of the fleet."""
        found: dict[str, Any] = self.ask_json("nova status --json")
        return found

    def run_as_nova(self, host: Host, program: str, argument: str) -> str:
        """Run a Python program with one argument on a host; return the last line it prints."""
        return str(host.check_output(AS_NOVA, program, argument)).splitlines()[-1]


def wait_until(question: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Ask until the answer is true; fail with what was awaited when the time is over."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


@pytest.fixture(name="wait_until", scope="session")
def _wait_until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """The hosts under test."""
    return Fleet()


@pytest.fixture
def whole_group(fleet: Fleet) -> None:
    """No server of the group lags behind or is thought lost; outages of other tests leave that."""
    wait_until(fleet.redis_is_whole, "the group is whole", seconds=120)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def queues() -> set[str]:
    """The names in THE queue table."""
    return set(yaml.safe_load((ROOT / "nova" / "queues.yml").read_text(encoding="utf-8")))


class Secrets(dict[str, str]):
    """Secrets by variable name; a failing test's report does not show them."""

    def __repr__(self) -> str:
        return f"<{len(self)} secrets>"


@pytest.fixture(scope="session")
def lab_secrets(fleet: Fleet) -> Secrets:
    """Every secret of this lab, by variable name."""
    variables = fleet.variables("nova")
    return Secrets({name: variables[name] for name in SECRETS})


@pytest.fixture(scope="session")
def known_secrets(fleet: Fleet, lab_secrets: Secrets) -> Secrets:
    """Those, and the first line of every private key, by the key's file."""
    keys = fleet.tls_folder("redis").parent.glob("*-tls/*.key")
    lines = {f"{key.parent.name}/{key.name}": key.read_text().splitlines()[1] for key in keys}
    return Secrets(lab_secrets | lines)


@pytest.fixture(scope="session")
def api_url(fleet: Fleet) -> str:
    """Where a person on this machine reaches the API."""
    return f"http://{fleet.variables('api')['ansible_host']}:8000"


@dataclass(frozen=True)
class FrontDoor:
    """Where people reach the API, and what they trust there."""

    url: str
    trust: ssl.SSLContext | bool


@pytest.fixture(scope="session")
def front_door(fleet: Fleet, api_url: str) -> FrontDoor:
    """The frontend where the inventory has one, else the API itself."""
    if not fleet.hosts("frontend"):
        return FrontDoor(api_url, trust=True)
    trust = ssl.create_default_context(cafile=fleet.tls_folder("frontend") / "ca.crt")
    return FrontDoor(f"https://{fleet.variables('frontend')['ansible_host']}", trust)


@pytest.fixture
def make_token(fleet: Fleet) -> Callable[[str], str]:
    """Mint a token for a role as an operator does, on the API's host."""
    return lambda role: fleet.one("api").check_output("nova token create --role %s", role)


@pytest.fixture
def api(api_url: str, make_token: Callable[[str], str]) -> Iterator[httpx.Client]:
    """An API client with an admin's token."""
    headers = {"Authorization": f"Bearer {make_token('admin')}"}
    with httpx.Client(base_url=api_url, headers=headers, timeout=30) as client:
        yield client
