"""The Celery class of Nova's app: what happens when a task is published."""

from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.utils import uuid

from nova.queues import queue_of_task
from nova.runtime.issued import IssuedTask, remember
from nova.runtime.task import NovaTask
from nova.settings import Settings
from nova.store import connect


class NovaCelery(Celery):  # type: ignore[misc]  # celery ships no types
    """Celery that leaves a note about every task before its message goes out.

    A signal would not do: Celery logs the errors of signal handlers and publishes all the same,
    and then a task would run whose id looks as if it had never been issued.
    """

    task_cls = NovaTask

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name)
        self._notes = connect(settings)
        self._note_expires_seconds = settings.result_expires_hours * 3600

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *,
        task_id: str | None = None,
        queue: Any = None,
        **options: Any,
    ) -> Any:
        """Publish a task; every publisher ends here: `delay`, `apply_async`, retries, beat.

        Raises:
            redis.RedisError: the note could not be left; nothing was published.
        """
        task_id = task_id or uuid()
        note = IssuedTask(
            task_id=task_id,
            name=name,
            queue=str(getattr(queue, "name", queue) or queue_of_task(name).name),
            published_at=datetime.now(UTC),
        )
        remember(self._notes, note, self._note_expires_seconds)
        return super().send_task(name, args, kwargs, task_id=task_id, queue=queue, **options)
