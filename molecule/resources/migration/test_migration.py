"""The way to the legacy loops and back to beat, phase by phase, with the playbook itself."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# What the inventory would say in each phase; an inventory of the lab is not written to.
MODES = {"phase=1": "parallel", "phase=2": "celery", "phase=3": "celery", "rollback=true": "legacy"}
OLD_LOG = "/var/log/nova/api.log.99"

Migrate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def migrate(root: Path) -> Migrate:
    """Run migrate.yml in a direction, with the line in the inventory that it asks for."""

    def run(way: str, *options: str) -> "subprocess.CompletedProcess[str]":
        playbook = root / "ansible" / "playbooks" / "migrate.yml"
        extra = ("-e", way, "-e", f"settings_scheduler={MODES[way]}")
        command = ["ansible-playbook", str(playbook), *extra, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module", autouse=True)
def _leave_as_found(migrate: Migrate) -> Iterator[None]:
    """The other tests want the fleet as site.yml leaves it."""
    yield
    done = migrate("phase=2", "-e", "force=true")
    assert done.returncode == 0, done.stdout


def changes(done: "subprocess.CompletedProcess[str]") -> int:
    """Return how many changes the recap counts on all hosts."""
    assert done.returncode == 0, done.stdout + done.stderr
    recap = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).partition("PLAY RECAP")[2]
    return sum(int(number) for number in re.findall(r"changed=(\d+)", recap))


def status(fleet: Any) -> dict[str, Any]:
    """Return what a host says of the migration."""
    answer = fleet.one("beat").run("nova migration status --json")
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def leader_unit(fleet: Any) -> str:
    """Return the unit of the process that runs the schedule."""
    pid = status(fleet)["leader"]["pid"]
    for group, unit in (("beat", "celery-beat"), ("api", "nova-api")):
        for host in fleet.hosts(group).values():
            if host.check_output("systemctl show -P MainPID %s", unit) == str(pid):
                return unit
    return "none"


def go(migrate: Migrate, fleet: Any, way: str, unit: str) -> None:
    """Go one way, which changes something, and once more, which changes nothing."""
    # The lab has no day to wait for between two phases.
    assert changes(migrate(way, "-e", "force=true")) > 0
    found = status(fleet)
    assert found["mode"] == MODES[way]
    assert (found["legacy_leader"] is not None) == (MODES[way] == "parallel")
    assert leader_unit(fleet) == unit
    assert changes(migrate(way, "-e", "force=true")) == 0


def test_the_whole_way(migrate: Migrate, fleet: Any) -> None:
    """The rollback, phase 1, and phase 2, which is refused before its time unless forced."""
    assert changes(migrate("rollback=true", "--check")) > 0
    assert status(fleet)["mode"] == "celery"
    go(migrate, fleet, "rollback=true", "nova-api")
    for host in fleet.hosts("beat").values():
        text = host.check_output("systemctl show -P StatusText celery-beat")
        assert text.startswith("publishing nothing: NOVA_SCHEDULER is legacy")
    go(migrate, fleet, "phase=1", "celery-beat")
    done = migrate("phase=2")
    assert done.returncode != 0
    assert "it is not safe to go to phase 2: parallel for 0." in " ".join(done.stdout.split())
    assert status(fleet)["mode"] == "parallel"
    go(migrate, fleet, "phase=2", "celery-beat")


def test_another_line_in_the_inventory_is_refused(migrate: Migrate) -> None:
    done = migrate("phase=2", "-e", "settings_scheduler=parallel")
    assert done.returncode != 0
    assert "write `settings_scheduler: celery`" in " ".join(done.stdout.split())


def test_phase_3_archives_old_logs_once(migrate: Migrate, fleet: Any) -> None:
    host = fleet.one("api")
    host.check_output(f"echo old > {OLD_LOG} && touch -d '2 days ago' {OLD_LOG}")
    assert changes(migrate("phase=3", "-e", "force=true", "--check")) > 0
    assert host.file(OLD_LOG).exists
    assert changes(migrate("phase=3", "-e", "force=true")) > 0
    assert not host.file(OLD_LOG).exists
    names = host.check_output("cat /var/log/nova/archive/*.tar.gz | tar -tz --ignore-zeros")
    assert "api.log.99" in names.split()
    assert changes(migrate("phase=3", "-e", "force=true")) == 0
