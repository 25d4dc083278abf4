"""The Celery class of Nova's app: what happens when a task is published."""

from typing import Any

from celery import Celery
from celery.utils import uuid

from nova.errors import InputError
from nova.queues import queue_of_task
from nova.runtime import publishing
from nova.runtime.arguments import check_arguments
from nova.runtime.claims import RUN_EXPIRES_SECONDS
from nova.runtime.issued import remember
from nova.runtime.task import NovaTask
from nova.settings import Settings
from nova.store import connect, redis_errors


class NovaCelery(Celery):  # type: ignore[misc]  # celery ships no types
    """Celery that publishes with a confirmation or a clear error, in bounded time."""

    task_cls = NovaTask

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name)
        self._settings = settings
        self._notes = connect(settings, timeout_seconds=publishing.ATTEMPT_SECONDS)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """Return a connection to publish with; it waits less long than one to consume with."""
        shorter = {"socket_timeout": publishing.ATTEMPT_SECONDS}
        transport_options = shorter | (options.pop("transport_options", None) or {})
        return super().connection_for_write(url, transport_options=transport_options, **options)

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *,
        task_id: str | None = None,
        queue: Any = None,
        producer: Any = None,
        headers: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Publish a task; every publisher ends here: `delay`, `apply_async`, retries.

        A signal would not do for the note about the task: Celery logs the errors of signal
        handlers and publishes all the same.

        Raises:
            UnconfirmedPublishError: the task may have been published, or not; to publish it again
                with the same id is safe.
            UnavailableError: Redis does not take it; nothing was published.
            InputError: its arguments are wrong, or it has a priority; nothing was published.
            ConflictError: something else was asked for under this task id; nothing was published.
        """
        self._check_headers(headers or {})
        task = options.get("task_type") or self.known_task(name)
        check_arguments(task, args, kwargs, retries=options.get("retries", 0))
        task_id = task_id or uuid()
        headers = (headers or {}) | {publishing.PUBLICATION_HEADER: uuid()}
        options |= {"task_id": task_id, "queue": queue, "headers": headers, "retry": False}

        def attempt(seconds_left: float) -> Any:
            self._note_for_stock(task_id, name, queue)
            if producer is not None or "connection" in options:
                return super(NovaCelery, self).send_task(
                    name, args, kwargs, producer=producer, **options
                )
            # Not from the pool of producers, which waits for a connection without an end.
            with self.pool.acquire(block=True, timeout=seconds_left) as connection:
                own = self.amqp.Producer(connection, auto_declare=False)
                return super(NovaCelery, self).send_task(
                    name, args, kwargs, producer=own, **options
                )

        return publishing.publish(self._settings, task_id, attempt)

    def known_task(self, name: str) -> Any:
        """Return the task of a name; None if this release has none: it is published unchecked.

        The modules of the setting `include` are imported when the first name is not known yet.
        """
        if name not in self.tasks:
            self.loader.import_default_modules()
        return self.tasks.get(name)

    def _check_headers(self, headers: dict[str, Any]) -> None:
        if publishing.ASKED_HEADER in headers and "transport" in self._settings.stock_parts:
            raise InputError(
                "only Nova's own transport publishes once what is asked for twice, and "
                "NOVA_STOCK_PARTS has replaced it; ask without Idempotency-Key"
            )

    def _note_for_stock(self, task_id: str, name: str, queue: Any) -> None:
        """Leave the note that kombu's own transport does not leave."""
        if "transport" in self._settings.stock_parts:
            noted = str(getattr(queue, "name", queue) or queue_of_task(name).name)
            with redis_errors(self._settings):
                remember(self._notes, task_id, name, noted, RUN_EXPIRES_SECONDS)
