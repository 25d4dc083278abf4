"""Where rollback.yml goes to when it is given no release.

`nova` is a program of the test's own, and what the survey says is given; nothing is rolled.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, ansible_playbook

Target = Callable[..., str]
TAKE_OVER = ("-e", "take_over=true")
#: The fleet ran 0.9 and then 1.0, both of them well; 2.0 was never called good.
PREVIOUS = """case "$*" in
    "release previous --before=2.0") echo 1.0;;
    "release previous --before=1.0") echo 0.9;;
    *) exit 2;;
esac"""


def surveyed(release: str, saved: str | None = None) -> dict[str, Any]:
    """What the survey says of a host; `saved` is what an unfinished roll found there."""
    releases = ["2.0", "1.0", "0.9"]
    pending = saved is not None
    return {"release": release, "releases": releases, "pending": pending, "saved": saved or ""}


@pytest.fixture
def target(tmp_path: Path, programs: Path) -> Target:
    """Choose the release for hosts with these surveys; return what is printed."""
    for name, script in {"nova": PREVIOUS, "cat": "echo '{}'"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    def choose(*surveys: dict[str, Any], options: tuple[str, ...] = ()) -> str:
        hosts = {f"nova{number}": {"found": found} for number, found in enumerate(surveys, 1)}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"nova": {"hosts": hosts, "vars": local}}))
        [survey, *_] = yaml.safe_load((ANSIBLE / "playbooks" / "rollback.yml").read_text())
        survey |= {"become": False, "environment": {"PATH": f"{programs}:{os.environ['PATH']}"}}
        survey["tasks"][0] = {"ansible.builtin.set_fact": {"base_survey": "{{ found }}"}}
        survey["tasks"].append({"ansible.builtin.debug": {"msg": "goes to {{ release_id }}."}})
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump([survey]))
        done = ansible_playbook(f"--inventory={inventory}", playbook, *options)
        return f"exit {done.returncode} " + " ".join((done.stdout + done.stderr).split())

    return choose


def test_a_fleet_that_runs_goes_to_the_release_before(target: Target) -> None:
    assert "goes to 0.9." in target(surveyed("1.0"), surveyed("1.0"))


@pytest.mark.parametrize(
    "surveys",
    [
        [surveyed("2.0", "1.0"), surveyed("1.0")],
        [surveyed("1.0", "1.0"), surveyed("2.0", "1.0")],
        [surveyed("2.0", "1.0"), surveyed("2.0", "1.0")],
        [surveyed("1.0"), surveyed("1.0", "1.0")],
        [surveyed("1.0"), surveyed("1.0", "")],
    ],
    ids=["switched", "next one saved", "all switched", "saved", "new host"],
)
def test_a_fleet_that_was_left_in_the_middle_of_a_roll_goes_to_what_ran_before_that(
    target: Target, surveys: list[dict[str, Any]]
) -> None:
    """Not one further, where no host had left the release that it ran."""
    for options in ((), TAKE_OVER):
        said = target(*surveys, options=options)
        assert "goes to 1.0." in said, said[-1500:]


def test_a_roll_that_was_interrupted_before_any_host_is_not_taken_for_one_that_ended(
    target: Target,
) -> None:
    """1.0 runs well, and 0.9 would be one too far; a release that is named is taken."""
    fleet = (surveyed("1.0"), surveyed("1.0"))
    said = target(*fleet, options=TAKE_OVER)
    assert "exit 2" in said
    assert "nothing was changed: no host was left in the middle of a roll, nova1 runs 1.0" in said
    assert "-e release=ID" in said
    assert "goes to" not in said
    assert "goes to 1.0." in target(*fleet, options=(*TAKE_OVER, "-e", "release=1.0"))
