"""The playbook on a converged fleet: check mode truthfully says that there is nothing to do."""

from typing import Any

from scripts.lab.plays import play

CHECK = ("--check", "--diff")


def test_check_after_converge_changes_nothing(fleet: Any) -> None:
    """`--check --diff` visits every host and finds nothing to change on any."""
    assert play("site", *CHECK).changes == dict.fromkeys(fleet.hosts("nova"), 0)


def test_limit_visits_one_host_only(fleet: Any) -> None:
    """`--limit HOST` works by itself and leaves the others alone."""
    host = list(fleet.hosts("nova"))[-1]
    assert play("site", *CHECK, "--limit", host).changes == {host: 0}
