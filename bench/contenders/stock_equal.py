"""Celery's own parts, with Nova's settings for safety: the measure of all others.

Time limits, results and recycling of pool processes are the same too, and a unit test compares
them with Nova's; what differs is the code of Nova alone.
"""

from typing import Any

from celery import Celery, Task

from bench.contenders.celery_tasks import QUEUE, CelerySystem
from bench.contenders.work import redis_url

#: Settings that are Nova's, word for word.
EQUAL: dict[str, Any] = {
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "result_expires": 24 * 3600,
    "redis_socket_timeout": 5,
    "redis_socket_connect_timeout": 2,
    "redis_socket_keepalive": True,
    "task_serializer": "json",
    "result_serializer": "json",
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_track_started": False,
    "task_ignore_result": False,
    "worker_prefetch_multiplier": 1,
    "worker_max_tasks_per_child": 100,
    "worker_max_memory_per_child": 500_000,
    "worker_direct": True,
    "worker_send_task_events": False,
    "timezone": "UTC",
}
#: Options of the broker's connections that are Nova's.
EQUAL_TRANSPORT_OPTIONS: dict[str, Any] = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
}


class LimitedTask(Task):  # type: ignore[misc]  # celery ships no types
    """Task with the time limits of Nova's queue `maintenance`."""

    soft_time_limit = 540
    time_limit = 600


def create_app() -> Celery:
    """Return the app; nothing connects yet."""
    celery_app = Celery("stock_equal", task_cls=LimitedTask)
    celery_app.conf.update(
        EQUAL,
        broker_url=redis_url(),
        broker_transport_options=EQUAL_TRANSPORT_OPTIONS,
        result_backend=redis_url(),
        task_default_queue=QUEUE,
    )
    return celery_app


app = create_app()
system = CelerySystem(app)
