"""THE beat table: what runs by itself, and when. All times are UTC."""

from dataclasses import dataclass
from typing import Any

from celery.schedules import crontab

from nova.queues import queue_of_task


@dataclass(frozen=True)
class ScheduleEntry:
    """One row of the beat table."""

    name: str
    task: str
    #: Minute, hour, day of month, month, day of week, as in crontab(5).
    cron: str

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
