"""The Celery app, built from the queue table, the beat table and the settings.

`celery -A nova.celery_app ...` finds it here.
"""

import logging
from typing import Any

from kombu import Exchange, Queue

import nova
from nova import logs
from nova.errors import ConfigurationError
from nova.queues import DEFAULT_QUEUE, QUEUES
from nova.runtime import heartbeat, notify
from nova.runtime.app import NovaCelery
from nova.runtime.task import NovaTask
from nova.schedule import beat_schedule
from nova.settings import Settings, get_settings
from nova.store import (
    HEALTH_CHECK_INTERVAL_SECONDS,
    SOCKET_CONNECT_TIMEOUT_SECONDS,
    SOCKET_TIMEOUT_SECONDS,
)


def _configuration(settings: Settings) -> dict[str, Any]:
    # Without timeouts a synchronous command waits for ever on a Redis that froze.
    transport_options = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_INTERVAL_SECONDS,
    }
    return {
        "broker_url": settings.redis_dsn,
        "broker_transport_options": transport_options,
        # A Redis that is away is waited for, at start and later, for as long as it takes.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "result_backend": settings.redis_dsn,
        "result_expires": settings.result_expires_hours * 3600,
        "redis_socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "redis_socket_connect_timeout": SOCKET_CONNECT_TIMEOUT_SECONDS,
        "redis_socket_keepalive": True,
        "redis_retry_on_timeout": True,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_routes": {f"nova.{name}.*": {"queue": name} for name in QUEUES},
        "task_default_queue": DEFAULT_QUEUE,
        "task_default_exchange": DEFAULT_QUEUE,
        "task_default_routing_key": DEFAULT_QUEUE,
        # A misspelt queue is an error, not a list that nobody reads.
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A lost connection gives the message back; its task must not go on beside the copy.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "task_track_started": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 100,
        # Each worker has a queue of its own, on which one can ask for its health.
        "worker_direct": True,
        "worker_log_format": logs.FORMAT,
        "beat_schedule": beat_schedule(),
        # beat sleeps so long at most. A SIGTERM that comes as it falls asleep waits for its end.
        "beat_max_loop_interval": 5,
        "beat_scheduler": "nova.runtime.scheduler:NotifyingScheduler",
        "timezone": "UTC",
        "include": ["nova.governance.tasks"],
    }


def _create_app() -> NovaCelery:
    try:
        settings = get_settings()
    except ConfigurationError as error:
        # Celery would print a stack trace for any other exception while it loads an app.
        raise SystemExit(f"nova: {error}") from None
    celery_app = NovaCelery("nova", settings)
    celery_app.conf.update(_configuration(settings))
    logs.install(settings)
    notify.install(celery_app)
    celery_app.steps["consumer"].add(heartbeat.HeartbeatStep)
    return celery_app


app = _create_app()


@app.task(name="nova.health_check", bind=True)  # type: ignore[untyped-decorator]
def health_check(self: NovaTask) -> dict[str, Any]:
    """Answer that a worker works, which one, and which release it runs."""
    logging.getLogger(__name__).info("health check")
    return {
        "status": "healthy",
        "worker": True,
        "release": nova.__release__,
        "worker_name": self.request.hostname,
    }
