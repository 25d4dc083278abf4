"""What the role migration asks, refuses and tidies up; the hosts are this machine.

`nova migration status` is a program of the test's own, which answers what the test wants.
"""

import json
import os
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook, run_playbook

NOW = 1_790_000_000  # 2026-09-21T14:13:20Z
HOUR = 3600
#: Of `nova migration status`: safe, not safe, and nobody knows.
EXIT_CODES = {True: 0, False: 3, None: 1}

Play = Callable[..., str]


def status(mode: str | None, *, is_safe: bool = True, hours: float = 30) -> dict[str, Any]:
    """An answer of `nova migration status --json`."""
    leader = {"host": "a", "pid": 1, "release": "1"}
    return {
        "at": "2026-09-21T14:13:20.250000Z",
        "mode": mode,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - hours * HOUR)),
        "leader": leader,
        "legacy_leader": leader if mode == "parallel" else None,
        "slots": [],
        "is_safe": is_safe,
        "reasons": [] if is_safe else ["celery missed nightly-governance-loop of 2026-09-21 02:00"],
    }


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run a part of the role, and return what Ansible printed, in one line."""

    def run(
        part: str,
        answer: dict[str, Any],
        *,
        phase: int,
        scheduler: str = "celery",
        options: tuple[str, ...] = (),
        **variables: Any,
    ) -> str:
        program = tmp_path / "bin" / "nova"
        program.parent.mkdir(exist_ok=True)
        (tmp_path / "answer").write_text(json.dumps(answer))
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/answer\n'
            f"exit {EXIT_CODES[answer['is_safe']]}\n"
        )
        program.chmod(0o755)
        common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"a": {}}, "vars": common}}))
        given = {"migration_phase": phase, "migration_scheduler": scheduler, **variables}
        include = {"name": "migration", "tasks_from": part}
        plays = [
            {
                "hosts": "all",
                "gather_facts": False,
                "vars": given,
                "environment": {"PATH": f"{program.parent}:{os.environ['PATH']}"},
                "tasks": [{"ansible.builtin.include_role": include}],
            }
        ]
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump(plays))
        logs = json.dumps({"__migration_log_dir": str(tmp_path / "logs")})
        return run_playbook(f"--inventory={inventory}", "-e", logs, *options, playbook)

    return run


def test_a_phase_that_the_inventory_does_not_say_is_refused_with_the_line(play: Play) -> None:
    output = play("preflight", status("legacy"), phase=1, scheduler="celery")
    assert "settings_scheduler is celery for a, and this needs parallel" in output
    assert "write `settings_scheduler: parallel` into group_vars/nova/settings.yml" in output


@pytest.mark.parametrize(
    ("phase", "scheduler"), [(0, "legacy"), (1, "parallel"), (2, "celery"), (3, "celery")]
)
def test_a_phase_that_the_inventory_says_passes(play: Play, phase: int, scheduler: str) -> None:
    output = play("preflight", status("legacy"), phase=phase, scheduler=scheduler)
    assert "failed=0" in output


@pytest.mark.parametrize(("mode", "phase"), [("legacy", 1), ("parallel", 2), ("celery", 3)])
def test_an_unsafe_phase_is_refused_with_the_reason_unless_forced(
    play: Play, mode: str, phase: int
) -> None:
    unsafe = status(mode, is_safe=False)
    output = play("gate", unsafe, phase=phase)
    assert f"it is not safe to go to phase {phase}: celery missed nightly-governance" in output
    assert "failed=1" in output
    assert "failed=0" in play("gate", unsafe, phase=phase, migration_force=True)
    assert "failed=0" in play("gate", status(mode), phase=phase)


@pytest.mark.parametrize(
    ("mode", "phase"),
    [("parallel", 1), ("celery", 2), ("celery", 1), ("parallel", 0), ("celery", 0), (None, 2)],
)
def test_a_way_back_or_to_where_the_fleet_is_needs_no_safety(
    play: Play, mode: str | None, phase: int
) -> None:
    """So a second run of a phase passes, and a rollback always does."""
    assert "failed=0" in play("gate", status(mode, is_safe=False), phase=phase)


@pytest.mark.parametrize(
    ("mode", "phase", "comes_next"), [("legacy", 2, 1), ("legacy", 3, 1), ("parallel", 3, 2)]
)
def test_a_phase_left_out_is_refused(play: Play, mode: str, phase: int, comes_next: int) -> None:
    output = play("gate", status(mode), phase=phase)
    assert f"the fleet runs {mode}, and phase {comes_next} comes next, not {phase}" in output


def test_the_gate_asks_for_the_hours_that_are_wanted_also_in_check_mode(
    play: Play, tmp_path: Path
) -> None:
    unsafe = status("parallel", is_safe=False)
    output = play("gate", unsafe, phase=2, migration_min_hours=48, options=("--check",))
    assert "it is not safe" in output
    assert "--min-hours 48" in (tmp_path / "asked").read_text()


def test_a_run_that_a_restart_would_end_is_waited_for(play: Play) -> None:
    """And when it does not end, nothing is changed unless forced."""
    runs = status("legacy") | {"slots": [{"legacy": {"state": "running"}}, {"legacy": None}]}
    once = ("-e", "__migration_retries=1")
    output = play("gate", runs, phase=1, options=once)
    assert "a loop is in the middle of a run, which would be lost" in output
    assert "failed=0" in play("gate", runs, phase=1, migration_force=True, options=once)


def test_an_answer_that_is_none_stops_the_run(play: Play) -> None:
    """Redis is away, so nobody knows: exit code 1."""
    output = play("gate", {"error": "Redis does not answer", "is_safe": None}, phase=2)
    assert "Redis does not answer" in output
    assert "failed=1" in output


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder of logs: two that were rotated before phase 2, one after, one in use."""
    folder = tmp_path / "logs"
    folder.mkdir()
    ages = {"api.log.1": 40, "celery-beat.log.2.gz": 90, "api.log.2.gz": 0.5, "api.log": 40}
    for name, hours in ages.items():
        file = folder / name
        file.write_text(f"{name}\n")
        os.utime(file, (time.time() - hours * HOUR,) * 2)
    return folder


def archived(logs: Path) -> dict[str, str]:
    """Name -> content of what is in the archives."""
    found = {}
    for path in (logs / "archive").glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                assert content is not None
                found[member.name] = content.read().decode()
    return found


def test_old_logs_are_archived_once(play: Play, logs: Path) -> None:
    """What was written since phase 2 stays, and a second run changes nothing."""
    output = play("archive", status("celery", hours=30), phase=3)
    assert "failed=0" in output
    assert archived(logs) == {n: f"{n}\n" for n in ("api.log.1", "celery-beat.log.2.gz")}
    assert sorted(f.name for f in logs.glob("*.*")) == ["api.log", "api.log.2.gz"]
    assert "changed=0" in play("archive", status("celery", hours=30), phase=3)


def test_check_mode_says_what_it_would_archive_and_touches_nothing(play: Play, logs: Path) -> None:
    before = sorted(file.name for file in logs.iterdir())
    output = play("archive", status("celery", hours=30), phase=3, options=("--check",))
    assert "failed=0" in output
    assert "changed=0" not in output
    assert sorted(file.name for file in logs.iterdir()) == before


def test_files_that_are_rotated_later_to_the_same_names_are_archived_too(
    play: Play, logs: Path
) -> None:
    """A quiet worker's log becomes one; its name is in the first archive already."""
    play("archive", status("celery", hours=30), phase=3)
    for name in ("api.log.1", "celery-beat.log.2.gz"):
        (logs / name).write_text("later\n")
        os.utime(logs / name, (time.time() - 35 * HOUR,) * 2)
    assert "failed=0" in play("archive", status("celery", hours=30), phase=3)
    contents = []
    for path in (logs / "archive").glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            contents += [archive.extractfile(member).read() for member in archive]  # type: ignore[union-attr]
    assert sorted(contents) == [b"api.log.1\n", b"celery-beat.log.2.gz\n", b"later\n", b"later\n"]


def test_an_archive_that_was_interrupted_is_completed(play: Play, logs: Path) -> None:
    """The archive was whole and some files were not removed yet: nothing is lost."""
    play("archive", status("celery", hours=30), phase=3)
    left = logs / "api.log.1"
    left.write_text("api.log.1\n")
    os.utime(left, (time.time() - 40 * HOUR,) * 2)
    assert "failed=0" in play("archive", status("celery", hours=30), phase=3)
    assert not left.exists()
    assert set(archived(logs)) == {"api.log.1", "celery-beat.log.2.gz"}


@pytest.mark.parametrize(
    "way", [(), ("-e", "phase=4"), ("-e", "phase=1", "-e", "rollback=true")], ids=str
)
def test_the_playbook_wants_one_way_before_it_talks_to_any_host(way: tuple[str, ...]) -> None:
    """The hosts of the example inventory do not exist."""
    inventory = ANSIBLE / "inventories" / "production"
    done = ansible_playbook("-i", inventory, ANSIBLE / "playbooks" / "migrate.yml", *way)
    assert done.returncode != 0
    output = " ".join(done.stdout.split())
    assert "say where to go: either phase as 1, 2 or 3 (-e phase=1), or rollback" in output


def test_verify_passes_when_the_mode_and_its_leaders_are_there(play: Play) -> None:
    assert "failed=0" in play("verify", status("parallel"), phase=1)


def test_verify_does_not_pass_with_loops_that_still_run(play: Play) -> None:
    """Beat alone is wanted, and an API still reports beside it."""
    still = status("celery") | {"legacy_leader": {"host": "a", "pid": 1, "release": "1"}}
    assert "failed=1" in play("verify", still, phase=2, options=("-e", "__migration_retries=1"))
