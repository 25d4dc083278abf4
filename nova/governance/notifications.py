"""Who is notified of a report: decided by the run, sent by a task of its own.

The run publishes one task for each target with the same commit that makes its report visible, so
none is lost and none is sent for a report that nobody sees. What the target says to it is that
task's matter, and never the run's.
"""

from collections.abc import Callable

import redis
from redis.client import Pipeline

from nova.governance.models import Flag, PublishedNotification, Report
from nova.governance.notices import CHANNELS_NAMED, notice_of, topics_due
from nova.governance.reports import get_report, list_channels
from nova.governance.sending import send
from nova.governance.watch import Notify, load_watch
from nova.settings import Settings

SEND_TASK = "nova.governance.send_notification_task"

#: Records among the effects of a run that a target is to be notified of a report; returns the id
#: of the task that does it.
Outbox = Callable[[Pipeline, str, str], str]


def add_notifications(effects: Pipeline, report: Report, notify: Notify, outbox: Outbox) -> Report:
    """Publish what there is to tell of a report; return the report with what was published."""
    topics = topics_due(report, notify)
    if not topics:
        return report
    published = [
        PublishedNotification(
            target=target.name,
            kind=target.kind,
            task_id=outbox(effects, target.name, report.id),
            about=topics,
        )
        for target in notify.targets
    ]
    return report.model_copy(update={"notifications": published})


def send_notification(
    client: redis.Redis, settings: Settings, target_name: str, report_id: str, key: str
) -> str:
    """Notify a target of a stored report, once; return one line that says what became of it.

    Args:
        client: Redis with the report.
        settings: where the watch file is.
        target_name: who is notified.
        report_id: what of.
        key: the same whenever this is sent again.

    Raises:
        NotFoundError: the report is gone.
        ConfigurationError: the watch file is wrong, or does not have the target any more.
        TargetAwayError, NotificationError: it was not sent; see `sending.send`.
    """
    watch = load_watch(settings)
    target = watch.target(target_name)
    report = get_report(client, report_id)
    published = [note for note in report.notifications if note.target == target_name]
    topics = published[0].about if published else topics_due(report, watch.notify)
    flagged = {
        flag: list_channels(client, report.id, flag, limit=CHANNELS_NAMED)
        for flag in map(Flag, watch.notify.flags)
    }
    return send(client, settings, target, notice_of(report, topics, flagged), key)
