"""What maintenance decides by, and what it reports."""

from datetime import date
from typing import Annotated

from pydantic import Field

from nova.reports import BaseReport, Record
from nova.settings import Settings

#: A year; more would remove nothing that a report's retention does not.
MAX_AGE_HOURS_LIMIT = 365 * 24
MaxAgeHours = Annotated[int, Field(ge=1, le=MAX_AGE_HOURS_LIMIT)]

BYTES_PER_MB = 1_000_000


class Policy(Record):
    """How long what is kept, and how much of it; from the settings. MB are 1,000,000 bytes."""

    report_retention_days: int
    metric_retention_days: int | None = Field(description="null: all days are kept.")
    agent_memory_days: int
    cache_max_mb: int
    redis_memory_limit_mb: int | None = Field(
        description="null: 80 percent of Redis' maxmemory, if it has one."
    )
    worker_memory_limit_mb: int

    @classmethod
    def of(cls, settings: Settings) -> "Policy":
        """Return the policy of these settings."""
        return cls.model_validate({name: getattr(settings, name) for name in cls.model_fields})


class Amount(Record):
    """How many of a kind, and their bytes as Redis estimates them."""

    count: int
    bytes: int


class KindUse(Record):
    """One kind of data in Redis before and after a run."""

    kind: str = Field(examples=["cached pages"])
    before: Amount
    removed: Amount = Field(description="Or would be, in a dry run.")
    after: Amount = Field(description="What was there before less what was removed.")


class RedisMemory(Record):
    """Redis' memory as it says itself (INFO memory)."""

    used_bytes: int
    peak_bytes: int
    resident_bytes: int = Field(description="What the system gave it.")
    fragmentation: float = Field(description="Resident bytes by used bytes, as Redis counts.")
    maxmemory_bytes: int | None = Field(description="Redis' own limit; null if it has none.")


class WorkerMemory(Record):
    """Resident memory of a worker's processes, by its last heartbeat."""

    worker: str
    main_bytes: int | None = Field(description="Its main process; null if it did not say.")
    child_bytes: list[int] = Field(
        description="Each process that runs its tasks, largest first; what they share is counted "
        "in each."
    )


class MaintenanceReport(BaseReport):
    """What one run found and removed; its id is the task's id."""

    dry_run: bool = Field(description="true: nothing was removed.")
    max_age_hours: int
    policy: Policy
    kinds: list[KindUse]
    days_removed: list[date] = Field(description="Days of channels and videos, oldest first.")
    memory_before: RedisMemory
    memory_after: RedisMemory
    memory_limit_bytes: int | None = Field(description="What the policy allows Redis; null: any.")
    over_limit_bytes: int = Field(description="What Redis still held above that; 0: nothing.")
    workers: list[WorkerMemory]

    @property
    def removed(self) -> Amount:
        """All that was removed, or would be."""
        return Amount(
            count=sum(use.removed.count for use in self.kinds),
            bytes=sum(use.removed.bytes for use in self.kinds),
        )

    @property
    def headline(self) -> str:
        """What it did, in one short line."""
        removed, used = self.removed, self.memory_after.used_bytes
        verb = "would remove" if self.dry_run else "removed"
        what = f"{removed.count:,} ({in_bytes(removed.bytes)})" if removed.count else "nothing"
        over = f", {in_bytes(self.over_limit_bytes)} over" if self.over_limit_bytes else ""
        return f"{verb} {what}; Redis uses {in_bytes(used)}{over}"


def in_bytes(size: float) -> str:
    """Return a number of bytes for people: 812 B, 12.3 kB, 4.5 MB."""
    if size < 1000:
        return f"{size:.0f} B"
    if size < BYTES_PER_MB:
        return f"{size / 1000:.1f} kB"
    return f"{size / BYTES_PER_MB:,.1f} MB"
