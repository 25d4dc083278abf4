"""The playbook on a converged fleet: check mode truthfully says that there is nothing to do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest


def check(root: Path, *arguments: str) -> dict[str, dict[str, int]]:
    """Run site.yml in check mode; return the recap: host -> counter -> number."""
    command = [
        "ansible-playbook",
        "--check",
        "--diff",
        *arguments,
        str(root / "ansible" / "playbooks" / "site.yml"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    recap = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).partition("PLAY RECAP")[2]
    return {
        line.split()[0]: {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
        for line in recap.splitlines()
        if "changed=" in line
    }


@pytest.fixture(scope="module")
def recap(root: Path) -> dict[str, dict[str, int]]:
    """The recap of a check on all hosts."""
    return check(root)


def test_check_after_converge_changes_nothing(recap: dict[str, dict[str, int]], fleet: Any) -> None:
    """`--check --diff` visits every host and finds nothing to change on any."""
    assert {host: counters["changed"] for host, counters in recap.items()} == dict.fromkeys(
        fleet.hosts("nova"), 0
    )


def test_limit_visits_one_host_only(root: Path, fleet: Any) -> None:
    """`--limit HOST` works by itself and leaves the others alone."""
    host = list(fleet.hosts("nova"))[-1]
    limited = check(root, "--limit", host)
    assert list(limited) == [host]
    assert limited[host]["changed"] == 0
