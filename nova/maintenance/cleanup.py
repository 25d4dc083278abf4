"""What a run removes: leftovers, days, agent memory and fetched pages, a slice at a time.

Each slice decides and removes in one step, or removes what may be fetched again, so one that is
repeated does no harm. Days are business data, and go through the ledger.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import cast

import redis
from redis.client import Pipeline

from nova.fetching import PageCache
from nova.maintenance.keys import Kind, Tallies, walk
from nova.maintenance.models import BYTES_PER_MB, Policy, RedisMemory
from nova.maintenance.retention import days_past_retention
from nova.memory import Memory
from nova.store import Keys

#: Pages that one step frees.
PAGES_AT_A_TIME = 100
#: Of Redis' own limit, where the policy names none: the rest is for messages and their results,
#: which Redis would refuse at its limit.
SHARE_OF_MAXMEMORY = 0.8

#: Makes the effects of one slice visible, once in the life of the run, and returns whether it
#: happened now: `Run.commit_slice`.
CommitSlice = Callable[[str, Pipeline], bool]


@dataclass
class Cleanup:
    """One run; `run` does it all."""

    client: redis.Redis
    policy: Policy
    #: Redis' time: those of all uses and reports that are compared are near it.
    now: datetime
    #: What Redis held when the run began.
    memory: RedisMemory
    max_age_hours: int
    dry_run: bool
    commit_slice: CommitSlice
    tallies: Tallies = field(init=False)
    keys_seen: int = field(init=False)
    days_removed: list[date] = field(init=False, default_factory=list)

    def run(self) -> None:
        """Remove all that may go; in a dry run only find it."""
        reports_before = self.now - timedelta(days=self.policy.report_retention_days)
        self.tallies = walk(
            self.client, self.max_age_hours * 3600, reports_before.timestamp(), self.dry_run
        )
        self.keys_seen = sum(tally.count for tally in self.tallies.values())
        # Of agent memory its entries count, not the few keys in which they lie.
        self.tallies[Kind.MEMORY].count = self.client.zcard(Keys.MEMORY_INDEX)
        self._remove_days()
        self._forget(self.policy.agent_memory_days * 24)
        self._free_pages()
        self._forget(self.max_age_hours, at_least=self.excess)

    @property
    def limit(self) -> int | None:
        """How many bytes the policy allows Redis to use, None for any number."""
        if self.policy.redis_memory_limit_mb is not None:
            return self.policy.redis_memory_limit_mb * BYTES_PER_MB
        maxmemory = self.memory.maxmemory_bytes
        return None if maxmemory is None else int(maxmemory * SHARE_OF_MAXMEMORY)

    @property
    def excess(self) -> int:
        """By how many bytes Redis is over the limit once what was removed is given back.

        Computed, not asked: Redis gives large keys back beside its other work, a moment later.
        """
        if self.limit is None:
            return 0
        removed = sum(tally.removed_bytes for tally in self.tallies.values())
        return max(self.memory.used_bytes - removed - self.limit, 0)

    def _remove_days(self) -> None:
        days = _days_of(self.client, Keys.METRIC_DAYS) | _days_of(self.client, Keys.VIDEO_DAYS)
        keep = self.policy.metric_retention_days
        for day in days_past_retention(days, self.now.date(), keep):
            self._remove_day(day)

    def _remove_day(self, day: date) -> None:
        """Remove a day's channels and videos in one step.

        Nobody can fetch them again, so this goes through the ledger: a worker that was declared
        dead and comes back removes none, whatever it thinks the newest day is. How often the day
        was written stays: loaded again it counts on, and does not look unchanged.
        """
        keys = {Kind.CHANNEL_DAYS: Keys.metric_day(day), Kind.VIDEO_DAYS: Keys.video_day(day)}
        sizes = {kind: self.client.memory_usage(key) for kind, key in keys.items()}
        effects = self.client.pipeline()
        effects.unlink(*keys.values())
        for index in (Keys.METRIC_DAYS, Keys.VIDEO_DAYS):
            effects.zrem(index, day.isoformat())
        if not self.dry_run and not self.commit_slice(f"day {day}", effects):
            return
        self.days_removed.append(day)
        for kind, size in sizes.items():
            if size is not None:
                self.tallies[kind].remove(1, size)

    def _forget(self, hours: float, at_least: int | None = None) -> None:
        """Forget agent memory unused for so long, oldest first: all of it, or so many bytes."""
        memory, tally = Memory(self.client), self.tallies[Kind.MEMORY]
        freed = 0
        while at_least is None or freed < at_least:
            if self.dry_run:
                done = memory.measure_unused(hours, offset=tally.removed)
            else:
                done = memory.forget_unused(hours)
            if not done.entries:
                return
            tally.remove(done.entries, done.stored_bytes)
            freed += done.stored_bytes

    def _free_pages(self) -> None:
        """Free pages, oldest first, until cache and Redis are within their limits."""
        pages, tally = PageCache(self.client), self.tallies[Kind.PAGES]
        while not self.dry_run and pages.drop_expired():
            pass
        wanted = max(self.excess, tally.bytes - self.policy.cache_max_mb * BYTES_PER_MB)
        offset = 0
        while wanted > 0 and (found := pages.oldest(offset, PAGES_AT_A_TIME)):
            chosen = _first_of(found, wanted)
            if self.dry_run:
                offset += len(chosen)
            else:
                pages.free(chosen)
            freed = sum(chosen.values())
            tally.remove(sum(1 for size in chosen.values() if size), freed)
            wanted -= freed


def _days_of(client: redis.Redis, index: str) -> set[date]:
    """Return the days that an index of days names."""
    members = cast(list[bytes], client.zrange(index, 0, -1))
    return {date.fromisoformat(member.decode()) for member in members}


def _first_of(sizes: dict[str, int], wanted: int) -> dict[str, int]:
    """Return as many of the first as it takes to come to `wanted` bytes, or all."""
    chosen, total = {}, 0
    for name, size in sizes.items():
        if total >= wanted:
            break
        chosen[name] = size
        total += size
    return chosen
