"""A release that breaks takes itself back, in whatever way it is broken."""

from collections.abc import Callable

import pytest

from scripts.lab.variants import BROKEN


@pytest.mark.parametrize("what", sorted(BROKEN.keys() - {"fails on the second host"}))
def test_a_release_that_is_broken_takes_itself_back(
    what: str, check_broken: Callable[[str], None]
) -> None:
    """That of the second host is in test_upgrade.py."""
    check_broken(what)
