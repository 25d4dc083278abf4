"""A release that breaks takes itself back, in whatever way it is broken."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.lab.variants import BROKEN


@pytest.mark.parametrize("what", sorted(BROKEN.keys() - {"fails on the second host"}))
def test_a_release_that_is_broken_takes_itself_back(
    what: str, check_broken: Callable[[str], None]
) -> None:
    """That of the second host is in test_upgrade.py."""
    check_broken(what)


def test_a_batch_of_which_one_host_fails_goes_back_whole(
    check_broken: Callable[..., None],
) -> None:
    """nova3 is switched beside the one that fails, and passes: it goes back too, and the first."""
    check_broken("fails on the second host", "-e", '{"batches": [1, 2]}')


@pytest.mark.parametrize(("event", "is_voided"), [("before-host", False), ("after-host", True)])
def test_an_operators_hook_takes_the_fleet_back(
    event: str,
    is_voided: bool,
    base_release: str,
    playbook: Callable[..., Any],
    releases: Callable[..., Path],
    running: Callable[[], set[str]],
    fleet: Any,
    tmp_path: Path,
) -> None:
    """It refuses the second host. Only what it says behind the gate is about the release."""
    hook = tmp_path / event
    hook.write_text("#!/bin/sh\necho 'it is Friday' >&2\n[ $NOVA_ROLL_HOSTS != nova2 ]\n")
    hook.chmod(0o755)
    done = playbook("deploy", "-e", f"release={releases()}", "-e", f"rollout_hooks={tmp_path}")
    assert done.code != 0
    assert "it is Friday" in done.words
    assert running() == {base_release}
    [tried] = set(re.findall(r"deploy (\S+) failed on", done.words))
    judged = {found["id"]: found["state"] for found in fleet.ask_json("nova release list --json")}
    assert (judged.get(tried) == "voided") == is_voided
