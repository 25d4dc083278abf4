"""The guide's commands work as typed on a host."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.guide.guide import lab_commands

# On the scheduler's host: the guide starts beat too, and a fleet must not have two.
testinfra_hosts = ["ansible://beat?sudo=true"]

BEAT_UNIT = "/etc/systemd/system/celery-beat.service"
WORKER_UNIT = "/etc/systemd/system/celery-worker.service"


@pytest.fixture
def checkout(host: Host, root: Path) -> Iterator[None]:
    """Put the units where the guide expects them, and leave the host as it was afterwards."""
    # As on a host on which nothing of Nova has run yet.
    host.check_output(f"systemctl disable --now celery-beat && rm {BEAT_UNIT}")
    host.check_output("systemctl daemon-reload && mkdir -p /srv/checkout/deployment")
    for name in ("celery-worker.service", "celery-beat.service"):
        text = (root / "deployment" / name).read_text(encoding="utf-8")
        host.check_output("printf %%s %s > %s", text, f"/srv/checkout/deployment/{name}")
    yield
    host.check_output("systemctl disable --now celery-worker.service")
    host.check_output(f"rm -rf /srv/checkout {WORKER_UNIT} && systemctl daemon-reload")


def test_cp_and_systemctl_lines_give_a_worker_for_all_queues(
    host: Host, checkout: None, fleet: Any, queues: set[str]
) -> None:
    """The guide's four lines start beat and one worker, which answers from every queue."""
    for command in lab_commands("Process Management"):
        host.check_output(f"cd /srv/checkout && {command}")
    assert host.service("celery-worker").is_running
    assert host.service("celery-worker").is_enabled
    assert host.service("celery-beat").is_running
    assert host.service("celery-beat").is_enabled
    worker = f"celery@{host.check_output('hostname')}"
    answer = fleet.ask_workers({queue: [worker] for queue in queues})
    assert answer["missing"] == {}


def test_the_guide_starts_redis(fleet: Any) -> None:
    """The guide's line starts Redis where it was stopped; the fleet comes back by itself."""
    redis = fleet.one("redis")
    redis.check_output("systemctl stop redis-server")
    for command in lab_commands("2. Start Redis"):
        redis.check_output(command)
    assert redis.service("redis-server").is_running
    assert fleet.ask_workers(fleet.workers())["missing"] == {}


def test_operators_need_no_password(host: Host, wait_until: Callable[..., None]) -> None:
    """The guide's inspect commands work with sudo alone, in the guide's and in Nova's form."""
    for command in (
        "celery -A nova.celery_app inspect active",
        "celery -A nova.celery_app inspect scheduled",
        "nova celery inspect active",
        "nova celery inspect stats",
    ):
        output = host.check_output(command)
        assert "nodes online" in output or "online." in output, command


def test_status_lists_every_worker(host: Host, fleet: Any, queues: set[str]) -> None:
    """`nova status` names each worker of the fleet, and every queue is served by one."""
    workers = json.loads(host.check_output("nova status --json"))["workers"]
    names = {worker["name"] for worker in workers}
    assert names == {name for of_host in fleet.workers().values() for name in of_host}
    assert queues <= {queue for worker in workers for queue in worker["queues"]}


def test_a_plain_user_is_told_to_use_sudo(host: Host) -> None:
    """Without sudo the command fails with one line, and that line says what to do."""
    result = host.run("su operator -c 'nova status'")
    assert result.rc != 0
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "sudo" in result.stderr
