"""Flower: there for those who have the password."""

from typing import Any

import httpx
import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://flower?sudo=true"]


@pytest.fixture
def url(fleet: Any) -> str:
    """Where a person on this machine reaches Flower."""
    return f"http://{fleet.variables('flower')['ansible_host']}:5555"


def test_flower_asks_for_the_password(url: str) -> None:
    """Without the password, and with a wrong one, Flower shows no worker."""
    assert httpx.get(f"{url}/workers").status_code == httpx.codes.UNAUTHORIZED
    wrong = httpx.get(f"{url}/workers", auth=("admin", "wrong"))
    assert wrong.status_code == httpx.codes.UNAUTHORIZED


def test_flower_shows_every_worker(
    url: str, fleet: Any, lab_secrets: dict[str, str], wait_until: Any
) -> None:
    """With the password Flower knows every worker of the fleet."""
    auth = ("admin", lab_secrets["flower_password"])
    names = {name for workers in fleet.workers().values() for name in workers}

    def known() -> bool:
        answer = httpx.get(f"{url}/api/workers?refresh=1", auth=auth, timeout=30)
        return answer.status_code == httpx.codes.OK and names <= set(answer.json())

    wait_until(known, f"Flower knows {sorted(names)}")


def test_flower_runs_as_nova(host: Host) -> None:
    """The process belongs to nova and has no secret among its arguments."""
    pid = host.check_output("systemctl show -P MainPID flower")
    assert host.check_output("stat -c %%U /proc/%s", pid) == "nova"
