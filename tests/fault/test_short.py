"""The short forms of the fault scenarios, and that the harness can see stock Celery fail."""

from collections.abc import Callable

import pytest

from tests.fault.harness import NOVA, STOCK, Outcome, run
from tests.fault.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_nova_loses_nothing_doubles_nothing_and_is_back_in_time(name: str) -> None:
    outcome = run(name, SCENARIOS[name], NOVA)
    assert outcome.passed, outcome


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        # In neither queue nor `unacked`: Redis sent it to a process that never read it.
        ("freeze-kill", lambda outcome: outcome.lost == 3),
        # The visibility timeout passes while the task runs, or waits for its ETA.
        ("long-task", lambda outcome: outcome.repeated >= 1),
        ("long-eta", lambda outcome: outcome.doubled >= 1),
        # Nothing stops the worker that wakes late.
        ("freeze-wake", lambda outcome: outcome.doubled == 1),
        # Whose time is over is decided by the clock of the one who looks.
        ("clock-worker", lambda outcome: outcome.repeated >= 1),
    ],
)
def test_the_harness_sees_stock_celery_fail(name: str, fails: Callable[[Outcome], bool]) -> None:
    """As it must by its sources; a harness that saw nothing here would prove nothing above."""
    outcome = run(name, SCENARIOS[name], STOCK)
    assert not outcome.problems or outcome.acknowledged, outcome
    assert fails(outcome), outcome
