"""THE beat table: what runs by itself, and when. All times are UTC."""

from dataclasses import dataclass
from typing import Any, Literal

from celery.schedules import crontab

from nova.queues import queue_of_task

#: What becomes of slots that passed while nobody could publish them: `all` of them are published,
#: only the `latest`, or none (`skip`).
CatchUp = Literal["all", "latest", "skip"]


@dataclass(frozen=True)
class ScheduleEntry:
    """One row of the beat table."""

    name: str
    task: str
    #: Minute, hour, day of month, month, day of week, as in crontab(5).
    cron: str
    catch_up: CatchUp = "latest"

    @property
    def schedule(self) -> crontab:
        """The cron line as Celery's schedule."""
        return crontab.from_string(self.cron)

    @property
    def queue(self) -> str:
        """The queue that the task's name routes to."""
        return queue_of_task(self.task).name


SCHEDULE: tuple[ScheduleEntry, ...] = (
    ScheduleEntry(
        name="nightly-governance-loop",
        task="nova.governance.run_governance_task",
        cron="0 2 * * *",
    ),
    ScheduleEntry(
        name="hourly-memory-cleanup",
        task="nova.maintenance.memory_cleanup_task",
        cron="0 * * * *",
    ),
    ScheduleEntry(
        name="daily-analytics",
        task="nova.analytics.process_daily_metrics_task",
        cron="0 3 * * *",
    ),
    ScheduleEntry(
        name="weekly-competitor-analysis",
        task="nova.analysis.competitor_analysis_task",
        cron="0 4 * * 0",
    ),
    ScheduleEntry(
        name="daily-trend-scan",
        task="nova.trends.daily_trend_scan_task",
        cron="0 6 * * *",
    ),
)


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Return the table in the form that Celery's `beat_schedule` setting takes."""
    return {
        entry.name: {
            "task": entry.task,
            "schedule": entry.schedule,
            "options": {"queue": entry.queue},
        }
        for entry in SCHEDULE
    }


def catch_up_policies() -> dict[str, CatchUp]:
    """Return each entry's policy by its name; Celery's own table has no place for it."""
    return {entry.name: entry.catch_up for entry in SCHEDULE}
