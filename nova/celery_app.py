"""The Celery app, built from the queue table, the beat table and the settings.

`celery -A nova.celery_app ...` finds it here.
"""

import logging
from typing import Any

from kombu import Exchange, Queue

import nova
from nova import logs
from nova.domains import DOMAINS
from nova.errors import ConfigurationError
from nova.queues import DEFAULT_QUEUE, QUEUES
from nova.runtime import drain, handover, heartbeat, leases, notify, pool, watchdog
from nova.runtime.app import NovaCelery
from nova.runtime.connections import broker_connection, result_connection
from nova.runtime.task import NovaTask
from nova.schedule import beat_schedule, catch_up_policies
from nova.settings import Settings, get_settings


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        **broker_connection(settings),
        **result_connection(settings),
        "result_expires": settings.result_expires_hours * 3600,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_routes": {f"nova.{name}.*": {"queue": name} for name in QUEUES},
        "task_default_queue": DEFAULT_QUEUE,
        "task_default_exchange": DEFAULT_QUEUE,
        "task_default_routing_key": DEFAULT_QUEUE,
        # A misspelt queue is an error, not a list that nobody reads.
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # The claim of a run tells that it has started, at no cost.
        "task_track_started": "transport" in settings.stock_parts,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 100,
        # KiB, of the most that a process ever held.
        "worker_max_memory_per_child": settings.worker_memory_limit_mb * 1_000_000 // 1024,
        "worker_pool": "nova.runtime.pool:TaskPool",
        # Each worker has a queue of its own, on which one can ask for its health.
        "worker_direct": True,
        "worker_log_format": logs.FORMAT,
        "beat_schedule": beat_schedule(),
        "nova_beat_catch_up": catch_up_policies(),
        # beat sleeps so long at most. A SIGTERM that comes as it falls asleep waits for its end.
        "beat_max_loop_interval": 1,
        "beat_scheduler": f"nova.runtime.scheduler:{_scheduler(settings)}",
        "timezone": "UTC",
        "include": [f"nova.{name}.tasks" for name in DOMAINS],
    }


def _scheduler(settings: Settings) -> str:
    if settings.scheduler == "legacy":
        return "IdleScheduler"
    return "NotifyingScheduler" if "scheduler" in settings.stock_parts else "LeaderScheduler"


def _claims(settings: Settings) -> dict[str, Any]:
    """Configure how workers come to their messages; docs/delivery-protocol.md tells why."""
    if "transport" in settings.stock_parts:
        # A lost connection gives the message back; its task must not go on beside the copy.
        return {"worker_cancel_long_running_tasks_on_connection_loss": True}
    return {
        "worker_consumer": "nova.runtime.consumer:NovaConsumer",
        # A Redis that refuses something is no reason to end: it is full, or lacks replicas.
        "broker_channel_error_retry": True,
        # Claims outlive connections, and so do their tasks.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # What still runs after a reconnect is counted by the transport.
        "worker_enable_prefetch_count_reduction": False,
    }


def _create_app() -> NovaCelery:
    try:
        settings = get_settings()
    except ConfigurationError as error:
        # Celery would print a stack trace for any other exception while it loads an app.
        raise SystemExit(f"nova: {error}") from None
    celery_app = NovaCelery("nova", settings)
    celery_app.events_cls = "nova.runtime.events:Events"
    celery_app.conf.update(_configuration(settings) | _claims(settings))
    if "transport" in settings.stock_parts:
        celery_app.steps["worker"].add(drain.StockStopStep)
    else:
        celery_app.amqp_cls = "nova.runtime.consumer:NovaAMQP"
        celery_app.steps["worker"] |= {leases.LeaseStep, drain.DrainStep}
    logs.install(settings)
    notify.install(celery_app)
    pool.install()
    watchdog.install(celery_app)
    handover.install(celery_app)
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
