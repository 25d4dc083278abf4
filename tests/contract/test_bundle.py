"""Bundles have what roles install, for the hosts that roles support."""

import re
from pathlib import Path
from typing import Any

import yaml

from scripts import build_release
from scripts.bundle.targets import ARCHITECTURES, RELEASES, ROLES, role_packages


def tasks(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks with those in their blocks."""
    found = []
    for task in entries or []:
        found.append(task)
        for part in ("block", "rescue", "always"):
            found += tasks(task.get(part, []))
    return found


def installed_by(path: Path) -> list[str]:
    """What each task of a file that installs packages names."""
    listed = tasks(yaml.safe_load(path.read_text(encoding="utf-8")))
    calls = [task.get("ansible.builtin.apt", {}) for task in listed]
    return [str(call[key]) for call in calls for key in ("name", "pkg", "deb") if key in call]


def test_roles_install_what_they_say_in_their_variables() -> None:
    """`__<role>_packages` and `<role>_packages`, which a bundle is made from, and nothing else."""
    users = set()
    for role in sorted(path.name for path in ROLES.iterdir()):
        for path in (ROLES / role / "tasks").glob("*.yml"):
            for name in installed_by(path):
                users.add(role)
                named = set(re.findall(r"\b_*[a-z]\w*_packages\b", name))
                assert named <= {f"__{role}_packages", f"{role}_packages"}, path
                assert named, f"{path} installs {name}, of which bundles know nothing"
    assert users >= {"base", "redis"}


def test_the_variables_are_lists_of_names() -> None:
    """Nothing in them has to be worked out by Ansible."""
    found = role_packages()
    assert {"procps", "redis-server", "haproxy"} <= found
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name) for name in found)


def test_bundles_are_for_the_hosts_that_roles_support() -> None:
    base = yaml.safe_load((ROLES / "base" / "vars" / "main.yml").read_text(encoding="utf-8"))
    assert list(RELEASES) == base["__base_supported"]["debian"]
    assert tuple(ARCHITECTURES) == build_release.ARCHITECTURES
