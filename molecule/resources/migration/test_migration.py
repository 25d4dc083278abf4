"""The way to the legacy loops and back to beat, phase by phase, with the playbook itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.lab.plays import play, play_in_vain

# What the inventory would say in each phase; an inventory of the lab is not written to.
MODES = {"phase=1": "parallel", "phase=2": "celery", "phase=3": "celery", "rollback=true": "legacy"}
OLD_LOG = "/var/log/nova/api.log.99"


def way_of(way: str) -> tuple[str, ...]:
    """Return the options of a way, with the line in the inventory that it asks for."""
    return ("-e", way, "-e", f"settings_scheduler={MODES[way]}")


def migrate(way: str, *options: str) -> dict[str, int]:
    """Go a way, though the lab has no day to wait for; return what was changed."""
    return play("migrate", *way_of(way), "-e", "force=true", *options).changed


@pytest.fixture(scope="module", autouse=True)
def _leave_as_found(fleet: Any) -> Iterator[None]:
    """Later tests want the fleet as site.yml leaves it, though one failed here on the way."""
    yield
    if status(fleet)["mode"] != "celery":
        migrate("phase=2")


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


def go(fleet: Any, way: str, unit: str) -> None:
    """Go one way, which changes something."""
    assert migrate(way) != {}
    found = status(fleet)
    assert found["mode"] == MODES[way]
    assert (found["legacy_leader"] is not None) == (MODES[way] == "parallel")
    assert leader_unit(fleet) == unit


def test_the_whole_way(fleet: Any) -> None:
    """The rollback, phase 1, and phase 2, which is refused before its time unless forced.

    Once more changes nothing.
    """
    assert migrate("rollback=true", "--check") != {}
    assert status(fleet)["mode"] == "celery"
    go(fleet, "rollback=true", "nova-api")
    for host in fleet.hosts("beat").values():
        text = host.check_output("systemctl show -P StatusText celery-beat")
        assert text.startswith("publishing nothing: NOVA_SCHEDULER is legacy")
    go(fleet, "phase=1", "celery-beat")
    done = play_in_vain("migrate", *way_of("phase=2"))
    assert "it is not safe to go to phase 2: parallel for 0." in done.words
    assert status(fleet)["mode"] == "parallel"
    go(fleet, "phase=2", "celery-beat")
    assert migrate("phase=2") == {}


def test_another_line_in_the_inventory_is_refused() -> None:
    done = play_in_vain("migrate", "-e", "phase=2", "-e", "settings_scheduler=parallel")
    assert "write `settings_scheduler: celery`" in done.words


def test_phase_3_archives_old_logs_once(fleet: Any) -> None:
    host = fleet.one("api")
    host.check_output(f"echo old > {OLD_LOG} && touch -d '2 days ago' {OLD_LOG}")
    assert migrate("phase=3", "--check") != {}
    assert host.file(OLD_LOG).exists
    assert migrate("phase=3") != {}
    assert not host.file(OLD_LOG).exists
    names = host.check_output("cat /var/log/nova/archive/*.tar.gz | tar -tz --ignore-zeros")
    assert "api.log.99" in names.split()
    assert migrate("phase=3") == {}
