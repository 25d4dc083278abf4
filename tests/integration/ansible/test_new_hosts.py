"""A new host is not brought up without those that must let it in. Nothing here needs a lab host.

What a host says of itself is given: whether it has a release, and whether a frontend has haproxy.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook

OLD: dict[str, Any] = {"base_survey": {"release": "1.0-0123abcd"}}
NEW: dict[str, Any] = {"base_survey": {"release": ""}}
#: r1 has Redis, r1 and n2 the API, f1 and f2 are frontends; n2, n3 and f2 are new.
FLEET: dict[str, Any] = {
    "nova": {
        "hosts": {"r1": OLD, "n2": NEW, "n3": NEW, "n4": OLD},
        "children": {
            "redis": {"hosts": {"r1": {}}},
            "api": {"hosts": {"r1": {}, "n2": {}}},
        },
    },
    "frontend": {
        "hosts": {"f1": {"frontend_found": {"rc": 0}}, "f2": {"frontend_found": {"rc": 1}}}
    },
}


def check(folder: Path, *options: str, firewall: bool = True) -> str:
    """Run the check; return what Ansible printed."""
    variables = {"ansible_connection": "local", "firewall_enabled": firewall}
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump(FLEET | {"all": {"vars": variables}}))
    playbook = ANSIBLE / "playbooks" / "new-hosts.yml"
    done = ansible_playbook(f"--inventory={inventory}", playbook, *options)
    return " ".join((done.stdout + done.stderr).split()) + f" code={done.returncode}"


@pytest.mark.parametrize(
    ("limit", "firewall", "missing", "better"),
    [
        ("n3", True, "n3 is new, and r1, which", "n3,redis"),
        ("n2", True, "n2 is new, and f1, f2, r1, which", "n2,redis,frontend"),
        ("n2", False, "n2 is new, and f1, f2, which", "n2,frontend"),
        ("f2", True, "f2 is new, and n2, r1, which", "f2,api"),
        # With a comma anywhere, Ansible splits at commas alone.
        ("n3:n4", True, "n3 is new, and r1, which", "n3:n4:redis"),
    ],
)
def test_a_new_host_that_would_not_be_let_in_is_refused_with_the_limit_that_works(
    tmp_path: Path, limit: str, firewall: bool, missing: str, better: str
) -> None:
    output = check(tmp_path, "--limit", limit, firewall=firewall)
    assert missing in output
    assert f"run it with --limit '{better}'" in output


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "n2,redis,frontend"),
        ("--limit", "n4"),
        ("--limit", "f1"),
        ("--limit", "n3", "-e", "alone=true"),
        (),
    ],
    ids=["with all that it needs", "an old host", "an old frontend", "forced", "everybody"],
)
def test_others_are_not_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert check(tmp_path, *options).endswith("code=0")


def test_a_new_host_without_firewalls_and_frontends_needs_nobody(tmp_path: Path) -> None:
    assert check(tmp_path, "--limit", "n3", firewall=False).endswith("code=0")


def test_preflight_ends_with_it() -> None:
    plays = yaml.safe_load((ANSIBLE / "playbooks" / "preflight.yml").read_text())
    assert plays[-1]["ansible.builtin.import_playbook"] == "new-hosts.yml"
