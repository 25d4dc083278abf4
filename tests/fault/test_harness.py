"""The harness itself: what it calls a failure, and that it leaves nothing behind."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_until
from tests.fault.harness import STOCK, Lab, Outcome, run
from tests.fault.processes import ROOT, HarnessError, interrupts_wait


@pytest.mark.parametrize(
    ("outcome", "failures"),
    [
        (Outcome("x", recovery_seconds=1, bound_seconds=2), []),
        (Outcome("x", recovery_seconds=1, bound_seconds=2, repeated=3), []),
        (Outcome("x", recovery_seconds=3, bound_seconds=2), ["recovered too late"]),
        (Outcome("x", recovery_seconds=1, bound_seconds=2, doubled=1), ["1 doubled"]),
        (Outcome("x", lost=2, bound_seconds=2), ["2 lost"]),
        (Outcome("x", bound_seconds=2), ["no recovery"]),
        (Outcome("x", recovery_seconds=1, bound_seconds=2, problems=["late"]), ["late"]),
    ],
)
def test_a_scenario_fails_for_what_is_lost_doubled_or_late(
    outcome: Outcome, failures: list[str]
) -> None:
    assert outcome.failures == failures
    assert outcome.passed == (not failures)


def test_the_ledger_counts_each_task_by_its_number() -> None:
    """Three tasks: one done, one done twice, one lost; a fourth was never acknowledged."""

    def write_a_ledger(lab: Lab) -> Outcome:
        lab.start_redis()
        for number in (1, 2, 3, 4):
            lab.witness.publishing(number)
        for number in (1, 2, 3):
            lab.witness.acknowledged(number)
        for number in (1, 2, 2):
            lab.witness.started(number)
            lab.witness.effect(number)
            lab.witness.finished(number)
        return lab.outcome("written", bound_seconds=1)

    found = run("written", write_a_ledger, STOCK)
    assert (found.published, found.acknowledged, found.effects) == (4, 3, 3)
    assert (found.repeated, found.doubled, found.lost) == (1, 1, 1)
    assert found.recovery_seconds is None


def test_a_scenario_that_the_harness_cannot_run_does_not_pass() -> None:
    def break_off(_: Lab) -> Outcome:
        raise HarnessError("no ground to stand on")

    found = run("broken", break_off, STOCK)
    assert not found.passed
    assert "broken off: no ground to stand on" in found.problems


def command_line(process: psutil.Process) -> str:
    """Return a process' command; empty if it has ended meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_no_file(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fault", "--stock", "--only", "long-task"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        watched = psutil.Process(process.pid)
        started: set[psutil.Process] = set()

        def has_a_worker() -> bool:
            started.update(watched.children(recursive=True))
            return any("worker-1" in command_line(found) for found in started)

        wait_until(has_a_worker)
        process.send_signal(number)
        assert process.wait(timeout=30) != 0
    assert [found for found in started if found.is_running()] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_a_process_is_known(number: signal.Signals) -> None:
    """It comes then, and all that came in the meantime; afterwards they come at once again."""
    before = signal.signal(number, signal.default_int_handler)
    steps = []

    def start() -> None:
        with interrupts_wait():
            signal.raise_signal(number)
            steps.append("went on")

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)
    assert steps == ["went on"]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What has an outcome already is not run again; what has none is, and leaves its outcome."""
    kept = Outcome("long-task", published=12345, recovery_seconds=1, bound_seconds=2)
    (tmp_path / "stock-short-long-task.json").write_text(json.dumps(dataclasses.asdict(kept)))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fault", "--stock", "--json"),
            *("--resume", str(tmp_path), "--only", "long-task", "api-kill"),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    recalled, made = json.loads(done.stdout)
    assert Outcome(**recalled) == kept
    assert made == json.loads((tmp_path / "stock-short-api-kill.json").read_text())
    assert made["acknowledged"] > 0
