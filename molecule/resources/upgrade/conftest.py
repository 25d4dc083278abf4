"""Playbooks, releases, and a fleet to start from."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.lab.variants import Patch, make

Playbook = Callable[..., "subprocess.CompletedProcess[str]"]
#: Seconds for the gate: hosts of the lab share two cores with all others, and break on purpose.
GATE_SECONDS = 60


@pytest.fixture(scope="session")
def playbook(root: Path) -> Playbook:
    """Run a playbook on the scenario's inventory."""

    def run(name: str, *options: str) -> "subprocess.CompletedProcess[str]":
        path = root / "ansible" / "playbooks" / f"{name}.yml"
        extra = ("-e", f"rollout_gate_seconds={GATE_SECONDS}")
        return subprocess.run(
            ["ansible-playbook", str(path), *extra, *options],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a release of this checkout, patched."""

    def make_release(*patches: Patch) -> Path:
        return make(tmp_path_factory.mktemp("release") / "nova", patches)

    return make_release


@pytest.fixture(scope="session")
def running(fleet: Any) -> Callable[[], set[str]]:
    """Return the releases that are installed on any host, or run in any of its workers."""

    def ask() -> set[str]:
        installed = {
            host.check_output("basename $(readlink -f /opt/nova/current)")
            for host in fleet.hosts("nova").values()
        }
        return installed | {worker["release"] for worker in fleet.status()["workers"]}

    return ask


@pytest.fixture(scope="session")
def base_release(
    playbook: Playbook, releases: Callable[..., Path], running: Callable[[], set[str]]
) -> str:
    """The release that every test starts from: the checkout, with a task that counts."""
    done = playbook("deploy", "-e", f"release={releases()}")
    assert done.returncode == 0, done.stdout[-8000:]
    [release] = running()
    return release
