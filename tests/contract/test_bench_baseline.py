"""The benchmark of the playbooks names tasks and files that are there; its baseline is frozen."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.fleet_size.sides import SIDES, Side

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "bench" / "baseline" / "playbooks" / "roles"
ROLES = {"nova": ROOT / "ansible" / "roles", "mitogen": ROOT / "ansible" / "roles"}
#: The digest of the baseline's files, but for its README, which says when they may change: where
#: Nova's end state does. The test then shows the new one.
FROZEN = "4ddac22ac131223ae86887824811b4cea52a241deac47db7159087fd20bf58f6"


def test_the_baseline_is_frozen() -> None:
    """Numbers of two checkouts compare only if both were measured against the same."""
    folder = ROOT / "bench" / "baseline"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    total = hashlib.sha256()
    for path in files:
        total.update(str(path.relative_to(folder)).encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    assert total.hexdigest() == FROZEN


def tasks(role: Path) -> list[dict[str, Any]]:
    """All tasks of a role."""
    return [t for file in (role / "tasks").glob("*.yml") for t in yaml.safe_load(file.read_text())]


@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
def test_the_install_step_consists_of_tasks_that_there_are(side: Side) -> None:
    """A task that was renamed would else take no time."""
    for label in side.install:
        role, name = label.split(" : ")
        folder = ROLES.get(side.name, BASELINE) / role
        assert name in [task["name"] for task in tasks(folder)]
    assert side.build in side.install


def test_every_task_of_the_install_step_of_the_baseline_counts() -> None:
    """And so does every one of the release that hosts get from Nova's own role."""
    baseline = yaml.safe_load((BASELINE / "application/tasks/install.yml").read_text())
    assert [f"application : {task['name']}" for task in baseline] == list(SIDES["baseline"].install)
    nova = yaml.safe_load((ROLES["nova"] / "release/tasks/install.yml").read_text())
    assert {f"release : {task['name']}" for task in nova} < set(SIDES["nova"].install)


def test_the_baseline_copies_every_unit() -> None:
    [copied] = [
        task["loop"] for task in tasks(BASELINE / "application") if task["name"] == "Copy the units"
    ]
    assert copied == sorted(path.name for path in (ROOT / "deployment" / "systemd").iterdir())


def test_the_baseline_has_ansibles_defaults() -> None:
    """Whoever sets something there makes it another baseline."""
    lines = (ROOT / "bench" / "baseline" / "ansible.cfg").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["[defaults]"]
