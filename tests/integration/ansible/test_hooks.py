"""An operator's hooks run in the middle of a roll, and what they say counts.

Each test runs a part of the role `rollout` with Ansible itself; nothing here needs a lab host.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from tests.integration.ansible.conftest import ROOT

Run = Callable[..., str]


def write(hook: Path, script: str) -> None:
    """Make a hook."""
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def test_a_hook_learns_what_is_done_where(
    run: Run, hooks: Path, programs: Path, tmp_path: Path
) -> None:
    """Once for the roll, with all hosts; once for each host, with that host."""
    write(programs / "nova-host", "exit 0")
    for name in ("before", "before-host", "after-host"):
        write(hooks / name, f"env | grep ^NOVA_ROLL_ | sort >> '{tmp_path}/{name}'")
    assert run("begin").startswith("exit 0")
    assert (tmp_path / "before").read_text().splitlines() == [
        "NOVA_ROLL_ACTION=deploy",
        "NOVA_ROLL_BY=me@here",
        "NOVA_ROLL_DETAIL=",
        "NOVA_ROLL_FROM=",
        "NOVA_ROLL_HOSTS=nova1 nova2",
        "NOVA_ROLL_RESULT=",
        "NOVA_ROLL_TO=2.0-new",
    ]
    assert run("leave").startswith("exit 0")
    assert run("rejoin", rollout_from="1.0-old").startswith("exit 0")
    assert (tmp_path / "before-host").read_text().splitlines().count("NOVA_ROLL_FROM=") == 2
    after = (tmp_path / "after-host").read_text().splitlines()
    assert after.count("NOVA_ROLL_FROM=1.0-old") == 2
    hosts = {line for line in after if "HOSTS" in line}
    assert hosts == {"NOVA_ROLL_HOSTS=nova1", "NOVA_ROLL_HOSTS=nova2"}


def test_a_hook_that_refuses_ends_the_roll_before_anything_is_changed(
    run: Run, hooks: Path
) -> None:
    write(hooks / "before", "echo 'it is Friday' >&2; exit 3")
    said = run("begin")
    assert said.startswith("exit 2")
    assert f"nothing was changed: {hooks}/before ended with 3: it is Friday" in said


def test_the_folder_is_meant_as_seen_from_where_the_operator_stands(run: Run, hooks: Path) -> None:
    write(hooks / "before", "echo 'it is Friday' >&2; exit 3")
    said = run("begin", rollout_hooks=os.path.relpath(hooks, ROOT))
    assert "nothing was changed" in said
    assert "it is Friday" in said


def test_a_hook_that_cannot_be_run_is_no_hook_that_agrees(run: Run, hooks: Path) -> None:
    (hooks / "before").write_text("#!/bin/sh\n")
    said = run("begin")
    assert said.startswith("exit 2")
    assert "is it executable" in said


def test_the_last_hook_learns_the_outcome_and_can_change_nothing(
    run: Run, hooks: Path, tmp_path: Path
) -> None:
    write(hooks / "after", f"env > '{tmp_path}/after'; echo 'no pager' >&2; exit 1")
    said = run("end", rollout_failed_in="stage", rollout_failure="no space", rollout_logs=[])
    environment = (tmp_path / "after").read_text().splitlines()
    assert "NOVA_ROLL_RESULT=refused" in environment
    assert "NOVA_ROLL_DETAIL=no space" in environment
    assert "after ended with 1: no pager" in said
    assert "deploy 2.0-new failed on nova1, nova2" in said


def test_a_roll_that_went_well_stays_so_for_every_host_whatever_the_last_hook_says(
    run: Run, hooks: Path, programs: Path
) -> None:
    """Plays that come after it, of rotate-passwords.yml for example, find all hosts."""
    write(hooks / "after", "echo 'no pager' >&2; exit 1")
    for program in ("nova", "nova-host"):
        write(programs / program, "exit 0")
    said = run("end")
    assert said.startswith("exit 0"), said[-1500:]
    assert "after ended with 1: no pager" in said
    assert re.search(r"nova2 : ok=\d+ changed=\d+ unreachable=0 failed=0", said)


def test_no_hook_runs_in_a_check(run: Run, hooks: Path, tmp_path: Path) -> None:
    write(hooks / "before", f"touch '{tmp_path}/ran'")
    assert run("begin", options=("--check",)).startswith("exit 0")
    assert not (tmp_path / "ran").exists()
