"""The loops in real API processes: each slot runs once, whoever dies, and never twice with beat."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.schedules import schedule as interval

from nova.legacy.runs import run_id
from nova.legacy.status import SlotStatus, State, read_status
from nova.runtime.leader import LEGACY_PLACE, SCHEDULE_PLACE, read_leader
from nova.runtime.slots import EPOCH, Slots, slot_id
from nova.schedule import ScheduleEntry
from nova.settings import Settings
from nova.store import Keys
from tests.conftest import wait_until
from tests.integration.legacy.conftest import NOTE_TASK, Fleet, Process, StartFleet

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
EVERY = 1.0
ENTRY = "tick"


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    """The file in which each start of the task is noted."""
    path = tmp_path / "starts"
    path.touch()
    return path


def entries(starts: Path, seconds: float = 0, every: float = EVERY) -> dict[str, Any]:
    """One entry, whose task notes its starts."""
    kwargs = {"file": str(starts), "seconds": seconds}
    return {ENTRY: {"every": every, "task": NOTE_TASK, "kwargs": kwargs}}


def slots_by_id(*, reports_only: bool, every: float = EVERY) -> dict[str, datetime]:
    """The id of each slot's run in the loops, from ten minutes ago until now."""
    step = timedelta(seconds=every)
    newest = (datetime.now(UTC) - EPOCH) // step
    found = [EPOCH + (newest - back) * step for back in range(round(600 / every))]
    return {run_id(ENTRY, slot, reports_only=reports_only): slot for slot in found}


def started(starts: Path, *, reports_only: bool = False) -> list[datetime]:
    """The slots whose runs the loops have started, oldest first."""
    by_id = slots_by_id(reports_only=reports_only)
    return sorted(by_id[line] for line in starts.read_text().split() if line in by_id)


def assert_each_once(slots: list[datetime], every: float = EVERY) -> None:
    """No slot twice, none left out."""
    assert [slot for slot, count in Counter(slots).items() if count > 1] == []
    assert {later - earlier for earlier, later in pairwise(slots)} == {timedelta(seconds=every)}


def effects(client: Client, slots: list[datetime]) -> list[int]:
    """How often the effect of each slot happened."""
    return [int(client.get(f"test:effects:{slot_id(ENTRY, slot)}") or 0) for slot in slots]


def wait_for_starts(starts: Path, process: Process, count: int) -> None:
    """Wait until so many starts more are noted."""
    wanted = len(starts.read_text().split()) + count
    wait_until(lambda: len(starts.read_text().split()) >= wanted, process.log.read_text)


def leads(client: redis.Redis, process: Process) -> bool:
    """Whether a process runs the schedule."""
    info = read_leader(client)
    return info is not None and info.pid == process.pid


def test_with_celery_the_api_runs_no_loop(
    client: Client, start_fleet: StartFleet, starts: Path
) -> None:
    """The default: slots pass, and the API neither leads nor notes anything."""
    api = start_fleet(entries(starts, every=0.2)).api("celery")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert api.serves()
        assert client.keys("nova:legacy:*") == []
        assert read_leader(client) is None
        time.sleep(0.1)
    assert starts.read_text() == ""


def test_legacy_runs_each_slot_once_and_its_effects_happen(
    client: Client, start_fleet: StartFleet, starts: Path
) -> None:
    """The slot has the id that beat would give it, its effect is there, and its end is noted."""
    api = start_fleet(entries(starts)).api("legacy")
    wait_for_starts(starts, api, 4)
    slots = started(starts)
    assert_each_once(slots)
    wait_until(lambda: set(effects(client, slots)) == {1}, api.log.read_text)
    note = client.hgetall(Keys.legacy_run(slot_id(ENTRY, slots[0])))
    assert (note[b"entry"], note[b"kind"], note[b"status"]) == (b"tick", b"full", b"SUCCESS")
    assert note[b"message"] == b"noted"
    assert 0 <= float(note[b"began"]) - slots[0].timestamp() < 2
    assert client.ttl(Keys.legacy_run(slot_id(ENTRY, slots[0]))) > 6 * 24 * 3600
    assert client.hget(Keys.BEAT_STATE, "mode") == b"legacy"


def test_the_api_answers_while_a_loop_runs(
    client: Client, start_fleet: StartFleet, starts: Path
) -> None:
    """A run that takes seconds holds up neither requests nor the lead."""
    api = start_fleet(entries(starts, seconds=8, every=30)).api("legacy")
    # The run of the slot before the first look is caught up at once: its mark is set by hand.
    identity = Slots(interval(30)).identity
    wait_until(lambda: client.hget(Keys.BEAT_SLOTS, ENTRY), api.log.read_text)
    past = (datetime.now(UTC) - timedelta(seconds=31)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    client.hset(Keys.BEAT_SLOTS, ENTRY, f"{past} {identity}")
    wait_for_starts(starts, api, 1)
    for _ in range(20):
        begin = time.monotonic()
        assert api.serves()
        assert time.monotonic() - begin < 1
        assert leads(client, api)
        time.sleep(0.2)


def test_a_failing_run_is_noted_and_the_loop_goes_on(
    client: Client, start_fleet: StartFleet
) -> None:
    fleet = start_fleet({ENTRY: {"every": EVERY, "task": "nova.maintenance.broken_task"}})
    api = fleet.api("legacy")

    def failed() -> list[bytes]:
        keys = client.keys(Keys.legacy_run("*"))
        return [client.hget(key, "error") for key in keys if client.hget(key, "status")]

    wait_until(lambda: len(failed()) >= 3, api.log.read_text)
    assert set(failed()) == {b"ValueError: broken on purpose"}
    assert "Traceback" not in api.log.read_text()


def test_of_two_apis_one_runs_the_loops_and_the_other_takes_over(
    client: Client, start_fleet: StartFleet, starts: Path
) -> None:
    """kill -9 of the first: every slot is taken, none runs twice."""
    fleet = start_fleet(entries(starts))
    first = fleet.api("legacy")
    wait_until(lambda: leads(client, first), first.log.read_text)
    second = fleet.api("legacy")
    wait_until(lambda: second.says("loops stand by"), second.log.read_text)
    wait_for_starts(starts, first, 2)
    first.kill()
    wait_until(lambda: leads(client, second), second.log.read_text)
    wait_for_starts(starts, second, 3)
    slots = started(starts)
    assert_each_once(sorted({*slots, *taken_by(client, first)}))
    assert len(slots) == len(set(slots))


def taken_by(client: Client, process: Process) -> list[datetime]:
    """The slots that a process has taken; one that was killed may not have started the last."""
    notes = [client.hgetall(key) for key in client.keys(Keys.legacy_run("*"))]
    return [
        datetime.fromisoformat(note[b"slot"].decode())
        for note in notes
        if json.loads(note[b"leader"])["pid"] == process.pid
    ]


def test_an_api_that_is_stopped_and_started_goes_on_where_it_ended(
    client: Client, start_fleet: StartFleet, starts: Path
) -> None:
    """What passed meanwhile is caught up by the policy, here all of it."""
    fleet = start_fleet(entries(starts))
    for _ in range(3):
        api = fleet.api("legacy")
        wait_for_starts(starts, api, 2)
        api.stop()
        assert read_leader(client) is None, "a stop gives up the lead"
    assert_each_once(started(starts))
    assert set(effects(client, started(starts))) == {1}


def test_a_run_that_died_with_its_api_is_lost_and_said_to_be(
    client: Client, start_fleet: StartFleet, starts: Path, settings: Settings
) -> None:
    """kill -9 in the middle of a run: it has no effect, and is not started again."""
    fleet = start_fleet(entries(starts, seconds=600))
    api = fleet.api("legacy")
    wait_for_starts(starts, api, 1)
    [slot] = started(starts)
    api.kill()
    wait_until(lambda: read_leader(client) is None)
    again = fleet.api("legacy")
    wait_for_starts(starts, again, 1)
    assert Counter(starts.read_text().split())[slot_id(ENTRY, slot)] == 1
    row = row_of(client, settings, slot)
    assert row.legacy is not None
    assert row.legacy.state is State.LOST


def test_beat_in_legacy_mode_publishes_nothing_and_says_why(
    client: Client, start_fleet: StartFleet, starts: Path
) -> None:
    fleet = start_fleet(entries(starts, every=0.2))
    beat = fleet.beat("legacy")
    wait_until(
        lambda: beat.says("publishing nothing: NOVA_SCHEDULER is legacy"), beat.log.read_text
    )
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert client.keys() == []
        time.sleep(0.1)
    beat.stop()
    assert beat.process.returncode == 0, beat.log.read_text()


def test_from_legacy_to_parallel_and_back_no_slot_is_run_twice_or_not_at_all(
    client: Client, start_fleet: StartFleet, starts: Path
) -> None:
    """Loops, then beat and worker, then loops: one sequence of slots, each effect once."""
    fleet = start_fleet(entries(starts))
    worker = fleet.worker(client)
    api = fleet.api("legacy")
    wait_for_starts(starts, api, 3)
    # Beat stands by while the loops lead, whatever it is set to.
    beat = fleet.beat("celery")
    wait_until(lambda: beat.says("standing by"), beat.log.read_text)
    api.stop()
    wait_until(lambda: leads(client, beat), beat.log.read_text)
    wait_for_starts(starts, beat, 3)
    beat.stop()
    api = fleet.api("legacy")
    wait_for_starts(starts, api, 3)
    slots = started(starts)
    assert_each_once(slots)
    wait_until(lambda: set(effects(client, slots)) == {1}, worker.log.read_text)


class Short(ScheduleEntry):
    """An entry of seconds, as the app under test has it."""

    @property
    def schedule(self) -> Any:
        return interval(EVERY)


def row_of(client: Client, settings: Settings, slot: datetime) -> SlotStatus:
    """What `nova migration status` says of a slot."""
    table = (Short(ENTRY, NOTE_TASK, "", "all"),)
    status = read_status(client, settings, entries=table)
    [row] = [row for row in status.slots if row.slot == slot]
    return row


def both_ran(client: Client, settings: Settings) -> Iterator[SlotStatus]:
    """The slots that both schedulers have run."""
    status = read_status(client, settings, entries=(Short(ENTRY, NOTE_TASK, "", "all"),))
    for row in status.slots:
        if row.legacy and row.celery and row.legacy.state == row.celery.state == State.RAN:
            yield row


def test_in_parallel_each_runs_each_slot_once_and_only_the_task_has_effects(
    client: Client, start_fleet: StartFleet, starts: Path, make_settings: Any
) -> None:
    """A real beat and worker beside the loops of two APIs."""
    fleet = start_fleet(entries(starts))
    worker = fleet.worker(client)
    beat = fleet.beat("parallel")
    api = fleet.api("parallel")
    fleet.api("parallel")
    settings = make_settings(NOVA_SCHEDULER="parallel")
    wait_until(
        lambda: len(list(both_ran(client, settings))) >= 4,
        lambda: api.log.read_text() + beat.log.read_text() + worker.log.read_text(),
    )
    found = read_leader(client, LEGACY_PLACE)
    assert found is not None
    assert found.pid != beat.pid
    assert leads(client, beat)
    by_loops = started(starts, reports_only=True)
    by_tasks = started(starts)
    assert_each_once(by_loops)
    assert_each_once(by_tasks)
    both = [row.slot for row in both_ran(client, settings)]
    assert set(effects(client, both)) == {1}
    beside = [run_id(ENTRY, slot, reports_only=True) for slot in by_loops]
    assert [client.get(f"test:effects:{id_}") for id_ in beside] == [None] * len(beside)
    assert client.hget(Keys.BEAT_STATE, "mode") == b"parallel"
    assert read_leader(client, SCHEDULE_PLACE) != found


def test_a_task_that_failed_is_told_with_its_error(
    client: Client, start_fleet: StartFleet, make_settings: Any
) -> None:
    """Also when its result is kept no more."""
    fleet: Fleet = start_fleet({ENTRY: {"every": EVERY, "task": "nova.maintenance.broken_task"}})
    worker, beat = fleet.worker(client), fleet.beat("celery")
    table = (Short(ENTRY, "nova.maintenance.broken_task", "", "all"),)

    def failed() -> list[SlotStatus]:
        status = read_status(client, make_settings(), entries=table)
        return [row for row in status.slots if row.celery and row.celery.state is State.FAILED]

    wait_until(lambda: len(failed()) >= 2, lambda: beat.log.read_text() + worker.log.read_text())
    run = failed()[0].celery
    assert run is not None
    client.delete(Keys.result(run.run_id))
    assert failed()[0].celery == run
    assert run.error == "ValueError: broken on purpose"
    assert run.began is not None
    assert run.ended is not None
