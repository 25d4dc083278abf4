"""What is found wrong with a fleet."""

from datetime import UTC, datetime
from typing import Any

import pytest

from nova.operations.health import Expected, Finding, judge
from nova.queues import QUEUES
from nova.runtime.deliveries import by_queue
from nova.runtime.fleet import Fleet
from nova.runtime.heartbeat import WorkerHeartbeat
from nova.runtime.leader import LeaderInfo


def worker(name: str, *queues: str, **fields: Any) -> WorkerHeartbeat:
    now = datetime.now(UTC)
    basis = {"name": name, "pid": 1, "release": "1", "concurrency": 2, "active": 0}
    return WorkerHeartbeat.model_validate(
        basis | {"queues": list(queues), "started_at": now, "at": now} | fields
    )


def fleet(*workers: WorkerHeartbeat, beat: LeaderInfo | None = None) -> Fleet:
    depths = dict.fromkeys(QUEUES, 0)
    return Fleet(
        release="1", workers=list(workers), queues=depths, dead_letters=by_queue([]), beat=beat
    )


ALL = worker("all@one", *QUEUES)
LEADER = LeaderInfo("one", 1, "1")


def lines(findings: list[Finding]) -> list[str]:
    return [finding.line() for finding in findings]


def test_a_fleet_that_is_well_has_no_findings() -> None:
    expected = Expected(["all@one"], "1")
    assert judge(fleet(ALL, beat=LEADER), expected) == []


def test_a_worker_that_is_expected_and_away_or_drained_is_one_line() -> None:
    drained = worker("trends@two", "trends", state="drained")
    found = judge(fleet(ALL, drained, beat=LEADER), Expected(["trends@two", "trends@three"]))
    assert lines(found) == [
        "worker trends@three: it is not online",
        "worker trends@two: it is drained",
    ]
    assert [finding.is_refused for finding in found] == [True, False]


def test_a_drained_worker_that_nobody_expects_is_fine_if_its_queues_have_another() -> None:
    """What was stopped on purpose stays so."""
    drained = worker("trends@two", "trends", state="drained")
    assert judge(fleet(ALL, drained, beat=LEADER), Expected()) == []


@pytest.mark.parametrize("state", ["drained", "draining", "stopping"])
def test_a_queue_whose_only_worker_takes_nothing_is_without(state: str) -> None:
    found = judge(fleet(worker("all@one", *QUEUES, state=state), beat=LEADER), Expected())
    assert lines(found) == [f"queue {queue}: no worker takes tasks from it" for queue in QUEUES]


def test_a_schedule_that_stands_still_is_refused_unless_it_is_meant_to() -> None:
    assert lines(judge(fleet(ALL), Expected())) == ["beat: none leads; the schedule stands still"]
    assert judge(fleet(ALL), Expected(beat=False)) == []


def test_releases_that_differ_are_told_and_refused_only_if_one_is_named() -> None:
    mixed = fleet(ALL, worker("trends@two", "trends", release="2"), beat=LEADER)
    [told] = judge(mixed, Expected())
    assert not told.is_refused
    assert told.detail == "they differ: 1 on beat, worker all@one; 2 on worker trends@two"
    refused = judge(mixed, Expected(release="2"))
    assert lines(refused) == [
        "worker all@one: it runs release 1, not 2",
        "beat: it runs release 1, not 2",
    ]
    assert all(finding.is_refused for finding in refused)
