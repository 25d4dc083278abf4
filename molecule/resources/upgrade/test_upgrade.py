"""A fleet under load goes to another release and back; one that breaks half-way takes itself back.

Nothing is lost, nothing happens twice, and no request fails. `make test` runs these two; the other
ways in which a release can break are in test_broken.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_release_under_load_arrives_on_every_host_and_goes_back(
    base_release: str,
    playbook: Callable[..., Any],
    releases: Callable[..., Path],
    running: Callable[[], set[str]],
    under_load: Callable[[], Any],
    audit: Callable[[], dict[str, Any]],
) -> None:
    """A second deploy changes nothing; a rollback, under load too, brings the one before back."""
    new = releases()
    with under_load():
        done = playbook("deploy", "-e", f"release={new}")
        assert done.code == 0
    [release] = running()
    assert release != base_release
    assert (audit()["action"], audit()["result"]) == ("deploy", "ok")

    again = playbook("deploy", "-e", f"release={new}")
    assert (again.code, again.changed) == (0, {})

    with under_load():
        done = playbook("rollback")
        assert done.code == 0
    assert running() == {base_release}


def test_a_release_that_fails_on_the_second_host_leaves_the_first_one_too(
    check_broken: Callable[[str], None],
) -> None:
    """The first host was switched and passed its gate; it goes back all the same."""
    check_broken("fails on the second host")
