"""Runs maintenance: cleans up, and says what there was, what went and what is left."""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from redis.client import Pipeline

import nova
from nova.domains import DOMAINS
from nova.maintenance.cleanup import Cleanup, CommitSlice
from nova.maintenance.keys import Kind
from nova.maintenance.models import MaintenanceReport, Policy, RedisMemory, WorkerMemory
from nova.maintenance.reports import STORE
from nova.reports import Basis, Omission
from nova.runtime.heartbeat import read_workers
from nova.settings import Settings
from nova.store import Keys

logger = logging.getLogger(__name__)

#: Seconds to wait at most until Redis has given back what was removed, to say what it holds then.
LAZY_FREE_SECONDS = 2.0


def commit_plainly(_: str, effects: Pipeline) -> bool:
    """Commit a slice in a transaction, for a run that is no task."""
    effects.execute()
    return True


def clean(
    client: redis.Redis,
    settings: Settings,
    report_id: str,
    max_age_hours: int = 24,
    *,
    dry_run: bool = False,
    commit_slice: CommitSlice = commit_plainly,
    earlier_starts: int = 0,
) -> MaintenanceReport:
    """Remove what nobody needs any more, and return the report; `record` stores it.

    Args:
        client: Redis.
        settings: the policy.
        report_id: id of the task that runs.
        max_age_hours: what has no retention of its own goes when nobody used it for so long.
        dry_run: find out what would be removed, and remove nothing.
        commit_slice: makes the removal of a day visible; a task's goes through the ledger.
        earlier_starts: how often the same run was started before, for the report.

    Raises:
        redis.RedisError: Redis does not answer. What was removed so far stays removed.
    """
    cleanup = Cleanup(
        client=client,
        policy=Policy.of(settings),
        now=_now(client),
        memory=_memory_of(client.info("memory")),
        max_age_hours=max_age_hours,
        dry_run=dry_run,
        commit_slice=commit_slice,
    )
    cleanup.run()
    report = MaintenanceReport(
        id=report_id,
        generated_at=cleanup.now,
        release=nova.__release__,
        basis=_basis(cleanup, earlier_starts),
        dry_run=dry_run,
        max_age_hours=max_age_hours,
        policy=cleanup.policy,
        kinds=[tally.use(kind) for kind, tally in cleanup.tallies.items()],
        days_removed=cleanup.days_removed,
        memory_before=cleanup.memory,
        memory_after=_settled_memory(client),
        memory_limit_bytes=cleanup.limit,
        over_limit_bytes=cleanup.excess,
        workers=_worker_memory(client),
    )
    level = logging.WARNING if report.over_limit_bytes else logging.INFO
    logger.log(level, "maintenance report %s: %s", report.id, report.headline)
    return report


def record(effects: Pipeline, report: MaintenanceReport) -> None:
    """Record the commands that store a report, and take those that went from their indexes."""
    retention = timedelta(days=report.policy.report_retention_days)
    if not report.dry_run:
        oldest = (report.generated_at - retention).timestamp()
        for name in DOMAINS:
            effects.zremrangebyscore(Keys.reports(name), "-inf", f"({oldest}")
    STORE.record(effects, report, retention)


def _now(client: redis.Redis) -> datetime:
    seconds, microseconds = client.time()
    return datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)


def _memory_of(info: dict[str, Any]) -> RedisMemory:
    return RedisMemory(
        used_bytes=info["used_memory"],
        peak_bytes=info["used_memory_peak"],
        resident_bytes=info["used_memory_rss"],
        fragmentation=info["mem_fragmentation_ratio"],
        maxmemory_bytes=info["maxmemory"] or None,
    )


def _settled_memory(client: redis.Redis) -> RedisMemory:
    """Return Redis' memory when it has given back what was removed, or after two seconds."""
    deadline = time.monotonic() + LAZY_FREE_SECONDS
    while True:
        info = client.info("memory")
        if not info["lazyfree_pending_objects"] or time.monotonic() > deadline:
            return _memory_of(info)
        time.sleep(0.02)


def _worker_memory(client: redis.Redis) -> list[WorkerMemory]:
    return [
        WorkerMemory(
            worker=worker.name,
            main_bytes=worker.memory_bytes,
            child_bytes=worker.child_memory_bytes,
        )
        for worker in read_workers(client)
    ]


def _basis(cleanup: Cleanup, earlier_starts: int) -> Basis:
    counts = {kind: tally.count for kind, tally in cleanup.tallies.items()}
    left_out = [
        Omission(
            what="keys of runs, messages, dead letters, schedule, totals and indexes",
            reason="maintenance removes none of them",
            count=sum(counts[kind] for kind in (Kind.RUNS, Kind.DEAD_LETTERS, Kind.OTHER)),
        )
    ]
    if cleanup.policy.metric_retention_days is None:
        left_out.append(
            Omission(
                what="days of channels and videos",
                reason="NOVA_METRIC_RETENTION_DAYS is not set: all are kept",
                count=counts[Kind.CHANNEL_DAYS] + counts[Kind.VIDEO_DAYS],
            )
        )
    if earlier_starts:
        reason = "what they removed is not counted here"
        left_out.append(
            Omission(what="earlier starts of this run", reason=reason, count=earlier_starts)
        )
    return Basis(
        rows=cleanup.keys_seen,
        sources=["all keys of Redis", "heartbeats of workers"],
        left_out=left_out,
    )
