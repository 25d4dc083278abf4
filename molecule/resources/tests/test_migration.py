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


def test_the_whole_way_and_back(migrate: Migrate, fleet: Any) -> None:
    """Check mode lists changes first, each step does them, and a second run changes nothing."""
    for way, mode, unit in (
        ("rollback=true", "legacy", "nova-api"),
        ("phase=1", "parallel", "celery-beat"),
        ("phase=2", "celery", "celery-beat"),
        ("rollback=true", "legacy", "nova-api"),
    ):
        # The lab has no day to wait for between two phases.
        options = ("-e", "force=true")
        assert changes(migrate(way, *options, "--check")) > 0, way
        assert status(fleet)["mode"] != mode
        assert changes(migrate(way, *options)) > 0, way
        found = status(fleet)
        assert found["mode"] == mode
        assert (found["legacy_leader"] is not None) == (mode == "parallel")
        assert leader_unit(fleet) == unit
        assert changes(migrate(way, *options)) == 0, way


def test_an_idle_beat_says_why(migrate: Migrate, fleet: Any) -> None:
    """With the loops alone the unit of beat stays up, and its STATUS line tells."""
    assert migrate("rollback=true").returncode == 0
    for host in fleet.hosts("beat").values():
        text = host.check_output("systemctl show -P StatusText celery-beat")
        assert text.startswith("publishing nothing: NOVA_SCHEDULER is legacy")


def test_phase_2_is_refused_before_its_time(migrate: Migrate, fleet: Any) -> None:
    """Nothing is changed, and the reason is on the screen."""
    assert migrate("phase=1", "-e", "force=true").returncode == 0
    done = migrate("phase=2")
    assert done.returncode != 0
    assert "it is not safe to go to phase 2: parallel for 0." in " ".join(done.stdout.split())
    assert status(fleet)["mode"] == "parallel"


def test_another_line_in_the_inventory_is_refused(migrate: Migrate) -> None:
    done = migrate("phase=2", "-e", "settings_scheduler=parallel")
    assert done.returncode != 0
    assert "write `settings_scheduler: celery`" in " ".join(done.stdout.split())


def test_phase_3_archives_old_logs_once(migrate: Migrate, fleet: Any) -> None:
    host = fleet.one("api")
    host.check_output(f"echo old > {OLD_LOG} && touch -d '2 days ago' {OLD_LOG}")
    assert migrate("phase=2", "-e", "force=true").returncode == 0
    assert changes(migrate("phase=3", "-e", "force=true", "--check")) > 0
    assert host.file(OLD_LOG).exists
    assert changes(migrate("phase=3", "-e", "force=true")) > 0
    assert not host.file(OLD_LOG).exists
    names = host.check_output("cat /var/log/nova/archive/*.tar.gz | tar -tz --ignore-zeros")
    assert "api.log.99" in names.split()
    assert changes(migrate("phase=3", "-e", "force=true")) == 0
