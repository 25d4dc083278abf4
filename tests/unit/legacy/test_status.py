"""When it is safe to go on, and why not: from what the schedulers leave in Redis."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from nova.cli import app
from nova.errors import NotFoundError
from nova.legacy import commands
from nova.legacy.runs import run_id
from nova.legacy.status import MigrationStatus, State, find_report, read_status
from nova.reports import Basis
from nova.runtime.heartbeat import WorkerHeartbeat
from nova.runtime.leader import LEGACY_PLACE, Leader, Place
from nova.runtime.slots import Slots, slot_id
from nova.schedule import SCHEDULE, ScheduleEntry
from nova.settings import SchedulerMode, Settings
from nova.store import Keys
from nova.terminal import console
from nova.trends.models import OwnNote, TrendReport
from nova.trends.reports import STORE

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
MakeSettings = Callable[..., Settings]

#: Its last slot was half an hour ago: no hour ends while a test runs.
MINUTE = (datetime.now(UTC).minute + 30) % 60
HOURLY = ScheduleEntry("hourly", "nova.trends.daily_trend_scan_task", f"{MINUTE} * * * *")
HOURS = 5
SINCE_HOURS = 30


class Migration:
    """A fleet in one mode, all of whose slots ran well; tests spoil it."""

    def __init__(self, client: Client, make_settings: MakeSettings, mode: SchedulerMode) -> None:
        self.client = client
        self.mode = mode
        self.settings = make_settings(NOVA_SCHEDULER=mode)
        self.now = datetime.fromtimestamp(client.time()[0], UTC)
        self.slots = Slots(HOURLY.schedule).between(self.now - timedelta(days=1), self.now, HOURS)
        self.slots.reverse()
        self.lead()
        if mode == "parallel":
            self.lead(LEGACY_PLACE)
        since = self.now - timedelta(hours=SINCE_HOURS)
        client.hset(Keys.BEAT_STATE, "mode_since", int(since.timestamp()))
        self.heartbeat("trends")
        for slot in self.slots:
            self.celery(slot, done="1 committed", status="SUCCESS")
            self.legacy(slot, status="SUCCESS")

    def lead(self, place: Place | None = None) -> None:
        """Take the lead, for long enough."""
        places = {} if place is None else {"place": place}
        assert Leader(self.client, 600, mode=self.mode, **places).look().leads

    def heartbeat(self, queue: str) -> None:
        """Let a worker be online."""
        worker = WorkerHeartbeat(
            name=f"{queue}@a",
            pid=1,
            release="1",
            queues=[queue],
            concurrency=1,
            active=0,
            started_at=self.now,
            at=self.now,
        )
        self.client.zadd(Keys.WORKERS, {worker.name: self.now.timestamp()})
        self.client.set(Keys.worker(worker.name), worker.model_dump_json())

    def celery(self, slot: datetime, **fields: str) -> None:
        """Note a run of beat's task that began a second after its time, in place of any before."""
        key = Keys.issued_task(slot_id(HOURLY.name, slot))
        self._note(key, {"name": HOURLY.task, "began": self.after(slot), **fields})

    def legacy(self, slot: datetime, **fields: str) -> None:
        """Note a run of the loops, in place of any before."""
        own_id = run_id(HOURLY.name, slot, reports_only=self.mode == "parallel")
        self._note(Keys.legacy_run(own_id), {"began": self.after(slot), **fields})

    def after(self, slot: datetime, seconds: float = 1) -> str:
        return str(slot.timestamp() + seconds)

    def _note(self, key: str, fields: dict[str, str]) -> None:
        self.client.delete(key)
        self.client.hset(key, mapping=fields)

    def status(self, **options: Any) -> MigrationStatus:
        """What is said of it."""
        settings = options.pop("settings", self.settings)
        given = {"hours": HOURS, "entries": (HOURLY,), **options}
        return read_status(self.client, settings, **given)


@pytest.fixture
def parallel(client: Client, make_settings: MakeSettings) -> Migration:
    """Loops and beat, side by side."""
    return Migration(client, make_settings, "parallel")


@pytest.mark.parametrize(("mode", "phase"), [("legacy", 1), ("parallel", 2), ("celery", 3)])
def test_a_fleet_that_does_well_may_go_on(
    client: Client, make_settings: MakeSettings, mode: SchedulerMode, phase: int
) -> None:
    """Each slot is told with what each scheduler that runs it did."""
    status = Migration(client, make_settings, mode).status()
    assert (status.reasons, status.is_safe, status.next_phase) == ([], True, phase)
    assert (status.mode, len(status.slots)) == (mode, HOURS)
    for row in status.slots:
        assert (row.legacy is None) == (mode == "celery")
        assert (row.celery is None) == (mode == "legacy")
        for run in (row.legacy, row.celery):
            assert run is None or (run.state, run.late_seconds) == (State.RAN, 1.0)


def test_before_any_scheduler_has_led_nobody_knows(client: Client, settings: Settings) -> None:
    status = read_status(client, settings)
    assert (status.mode, status.next_phase, status.is_safe) == (None, None, False)
    assert status.reasons == [
        "no scheduler has led yet: is celery-beat running, or with legacy the API?"
    ]


@pytest.mark.parametrize(
    ("fields", "state", "reason"),
    [
        (None, State.MISSED, "celery missed hourly of"),
        (
            {"done": "1 acknowledged", "status": "FAILURE", "error": "ValueError: no"},
            State.FAILED,
            ": ValueError: no",
        ),
        ({"done": "1 acknowledged"}, State.FAILED, ": it was killed, perhaps at its time limit"),
        ({"began": ""}, State.WAITING, "celery waiting hourly of"),
    ],
    ids=["missed", "failed", "killed", "waiting"],
)
def test_a_slot_that_beats_task_did_not_do_is_a_reason(
    parallel: Migration, fields: dict[str, str] | None, state: State, reason: str
) -> None:
    slot = parallel.slots[2]
    if fields is None:
        parallel.client.delete(Keys.issued_task(slot_id(HOURLY.name, slot)))
    else:
        parallel.celery(slot, **fields)
        if not fields.get("began", "1"):
            parallel.client.hdel(Keys.issued_task(slot_id(HOURLY.name, slot)), "began")
    status = parallel.status()
    [row] = [row for row in status.slots if row.slot == slot]
    assert row.celery is not None
    assert row.celery.state is state
    [found] = status.reasons
    assert reason in found
    assert not status.is_safe


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"done": "1 committed"}, State.RAN),
        ({"holder": "t", "starts": "1"}, State.RUNNING),
    ],
)
def test_a_run_that_committed_or_still_runs_is_no_reason(
    parallel: Migration, fields: dict[str, str], state: State
) -> None:
    """Also when Redis was away as its end was to be noted."""
    parallel.celery(parallel.slots[0], **fields)
    status = parallel.status()
    assert status.slots[0].celery is not None
    assert status.slots[0].celery.state is state
    assert status.is_safe


def test_what_the_loops_did_badly_is_a_remark(parallel: Migration) -> None:
    """They are what is left behind."""
    missed, failed, lost, *_ = parallel.slots
    own_id = run_id(HOURLY.name, missed, reports_only=True)
    parallel.client.delete(Keys.legacy_run(own_id))
    parallel.legacy(failed, status="FAILURE", error="ValueError: no")
    parallel.legacy(lost, leader="another process")
    status = parallel.status()
    states = [row.legacy.state for row in status.slots[:3] if row.legacy]
    assert states == [State.MISSED, State.FAILED, State.LOST]
    assert f"the loops missed, failed or lost 3 of {HOURS} slots" in status.remarks
    assert status.is_safe


def test_a_late_start_is_a_remark(parallel: Migration) -> None:
    slot = parallel.slots[1]
    began = parallel.after(slot, 61)
    parallel.celery(slot, done="1 committed", status="SUCCESS", began=began)
    status = parallel.status()
    assert f"celery began 1 of {HOURS} slots more than 60 s late" in status.remarks
    assert status.is_safe


def report_of(parallel: Migration, slot: datetime, topics: int) -> tuple[str, str]:
    """Store a report of a slot as beat's task does; return its id and text."""
    own_id = slot_id(HOURLY.name, slot)
    report = TrendReport(
        id=own_id,
        generated_at=slot,
        release="1",
        basis=Basis(),
        day=slot.date(),
        window_days=2,
        sources=[],
        own=OwnNote(basis="setting", channels=[], total=0, videos=0),
        projection=None,
        topics_seen=9,
        opportunities=[],
        opportunities_total=topics,
        covered=[],
        covered_total=0,
    )
    effects = parallel.client.pipeline()
    STORE.record(effects, report, timedelta(days=1))
    effects.execute()
    return own_id, report.model_dump_json()


def test_headlines_are_compared_where_both_ran(parallel: Migration) -> None:
    """And a maintenance run is not: what one removed, the other does not find."""
    client, slot = parallel.client, parallel.slots[1]
    own_id = run_id(HOURLY.name, slot, reports_only=True)
    _, text = report_of(parallel, slot, topics=3)
    client.set(Keys.legacy_report("trends", own_id), text)
    assert parallel.status().slots[1].differs is False
    _, _other = report_of(parallel, slot, topics=4)
    status = parallel.status()
    assert status.slots[1].differs is True
    assert status.slots[1].legacy != status.slots[1].celery
    assert any(remark.startswith("1 slots have another headline") for remark in status.remarks)
    assert status.is_safe
    parallel.legacy(slot, status="FAILURE")
    assert parallel.status().slots[1].differs is None
    cleanup = ScheduleEntry(HOURLY.name, "nova.maintenance.memory_cleanup_task", HOURLY.cron)
    assert {row.differs for row in parallel.status(entries=(cleanup,)).slots} == {None}
    assert find_report(client, own_id)[1].headline == TrendReport.model_validate_json(text).headline


def test_an_entry_without_a_slot_is_a_remark(parallel: Migration) -> None:
    yearly = ScheduleEntry("yearly", HOURLY.task, "0 0 29 2 *")
    status = parallel.status(entries=(HOURLY, yearly))
    assert "yearly had no slot in this time" in status.remarks


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m.client.delete(Keys.BEAT_LEADER), "is celery-beat running?"),
        (lambda m: m.client.delete(Keys.LEGACY_LEADER), "is the API running?"),
        (lambda m: m.client.delete(Keys.WORKERS), "no worker takes the tasks of trends"),
    ],
    ids=["beat", "loops", "worker"],
)
def test_a_part_that_is_away_is_a_reason(
    parallel: Migration, spoil: Callable[[Migration], object], reason: str
) -> None:
    spoil(parallel)
    [found] = parallel.status().reasons
    assert reason in found


def test_the_phase_must_have_lasted(parallel: Migration) -> None:
    status = parallel.status(min_hours=SINCE_HOURS + 1)
    assert status.reasons == [f"parallel for {SINCE_HOURS}.0 hours only; 31 are wanted"]


def test_slots_from_before_the_phase_do_not_count(parallel: Migration) -> None:
    since = parallel.slots[1] + timedelta(minutes=1)
    parallel.client.hset(Keys.BEAT_STATE, "mode_since", int(since.timestamp()))
    assert [row.slot for row in parallel.status().slots] == [parallel.slots[0]]


def test_a_host_with_another_setting_is_a_reason(
    parallel: Migration, make_settings: MakeSettings
) -> None:
    [reason] = parallel.status(settings=make_settings(NOVA_SCHEDULER="celery")).reasons
    assert "NOVA_SCHEDULER is celery on this host, and the fleet runs parallel" in reason


def test_celerys_own_scheduler_cannot_be_judged(
    parallel: Migration, make_settings: MakeSettings
) -> None:
    settings = make_settings(NOVA_SCHEDULER="parallel", NOVA_STOCK_PARTS="scheduler")
    [reason] = parallel.status(settings=settings).reasons
    assert "NOVA_STOCK_PARTS has scheduler" in reason


def test_an_unknown_report_is_one_line(client: Client) -> None:
    with pytest.raises(NotFoundError, match="there is no report none of the loops"):
        find_report(client, "none")


@pytest.fixture
def invoke(parallel: Migration, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run a command in a fleet that runs in parallel; return exit code and output."""
    monkeypatch.setattr(commands, "get_settings", lambda: parallel.settings)
    monkeypatch.setattr(console, "width", 160)

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["migration", *arguments])
        return result.exit_code, result.output

    return run


def test_the_command_exits_with_3_and_says_why_when_it_is_not_safe(
    invoke: Callable[..., tuple[int, str]],
) -> None:
    """The whole table: of most entries no slot ran, and only one queue has a worker."""
    code, output = invoke("status")
    assert code == commands.NOT_SAFE == 3
    assert "not yet: celery missed hourly-memory-cleanup of" in output
    assert "not yet: no worker takes the tasks of governance" in output
    assert "safe to go on" not in output
    code, text = invoke("status", "--json")
    assert code == 3
    answer = json.loads(text)
    assert (answer["mode"], answer["is_safe"], answer["next_phase"]) == ("parallel", False, 2)


def test_the_command_exits_with_0_when_it_is_safe(
    invoke: Callable[..., tuple[int, str]], parallel: Migration
) -> None:
    for queue in {entry.queue for entry in SCHEDULE}:
        parallel.heartbeat(queue)
    code, output = invoke("status", "--hours", "0")
    assert code == 0, output
    assert "mode parallel since" in output
    assert "safe to go on to phase 2" in output
