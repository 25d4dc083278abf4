"""The beat table says what the guide says."""

from datetime import UTC, datetime

from nova.queues import QUEUES
from nova.schedule import SCHEDULE, beat_schedule, catch_up_policies


def test_governance_runs_nightly_at_two_utc_on_its_queue() -> None:
    entry = beat_schedule()["nightly-governance-loop"]
    assert entry["task"] == "nova.governance.run_governance_task"
    assert entry["options"] == {"queue": "governance"}
    schedule = entry["schedule"]
    schedule.nowfun = lambda: datetime(2026, 1, 1, 1, 0, tzinfo=UTC)
    wait = schedule.remaining_estimate(datetime(2026, 1, 1, 0, 0, tzinfo=UTC))
    assert wait.total_seconds() == 3600


def test_every_entry_goes_to_a_queue_that_exists() -> None:
    assert {entry.queue for entry in SCHEDULE} <= set(QUEUES)


def test_a_night_that_was_missed_is_caught_up_once() -> None:
    assert catch_up_policies()["nightly-governance-loop"] == "latest"


def test_memory_is_cleaned_up_hourly() -> None:
    entry = beat_schedule()["hourly-memory-cleanup"]
    assert entry["task"] == "nova.maintenance.memory_cleanup_task"
    assert entry["options"] == {"queue": "maintenance"}
    assert (len(entry["schedule"].hour), entry["schedule"].minute) == (24, {0})


def test_competitors_are_analysed_on_sundays_at_four_utc() -> None:
    entry = beat_schedule()["weekly-competitor-analysis"]
    assert entry["task"] == "nova.analysis.competitor_analysis_task"
    assert entry["options"] == {"queue": "analysis"}
    schedule = entry["schedule"]
    sunday = datetime(2026, 3, 1, 4, tzinfo=UTC)
    assert sunday.strftime("%A") == "Sunday"
    schedule.nowfun = lambda: sunday
    week = schedule.remaining_estimate(sunday)
    assert week.days == 7
    assert week.seconds == 0


def test_analytics_runs_daily_at_three_utc() -> None:
    """A night that was missed is caught up once: a run looks at all days that have changed."""
    entry = beat_schedule()["daily-analytics"]
    assert entry["task"] == "nova.analytics.process_daily_metrics_task"
    assert entry["options"] == {"queue": "analytics"}
    assert (entry["schedule"].hour, entry["schedule"].minute) == ({3}, {0})
    assert len(entry["schedule"].day_of_week) == 7
    assert catch_up_policies()["daily-analytics"] == "latest"
