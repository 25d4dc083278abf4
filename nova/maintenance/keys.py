"""The walk through all keys of Redis: what there is, by kind, and what is left over."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

import redis

from nova.domains import DOMAINS
from nova.maintenance.models import Amount, KindUse
from nova.runtime.scripts import load
from nova.store import Keys

#: Keys that one step of the walk looks at; they block Redis for less than half a millisecond.
KEYS_AT_A_TIME = 100


class Kind(StrEnum):
    """Kinds of data."""

    PAGES = "cached pages"
    MEMORY = "agent memory"
    RESULTS = "task results"
    REPORTS = "reports"
    CHANNEL_DAYS = "channel days"
    VIDEO_DAYS = "video days"
    STAGING = "staging"
    WORKERS = "heartbeats and counters"
    RUNS = "runs"
    DEAD_LETTERS = "dead letters"
    OTHER = "all else"


#: What the walk itself may remove of a kind; see lua/walk.lua.
Rule = Literal["keep", "leftover", "report"]


class Prefix(NamedTuple):
    """Keys that begin so are of this kind, unless a prefix above fits them."""

    kind: Kind
    prefix: str
    rule: Rule = "keep"
    #: For `report`: the domain's index of reports.
    reports_index: str = ""


def prefixes() -> list[Prefix]:
    """Return the table; its last row fits every key.

    A kind that is not named here is never removed by the walk.
    """
    areas = ("metrics", "videos", *DOMAINS)
    reports = [(Keys.report(name, ""), Keys.reports(name)) for name in DOMAINS]
    return [
        # Of these there are most.
        Prefix(Kind.RUNS, Keys.RUN_PREFIX),
        Prefix(Kind.RESULTS, Keys.result(""), "leftover"),
        Prefix(Kind.PAGES, Keys.cached_page(""), "leftover"),
        Prefix(Kind.MEMORY, Keys.memory("")),
        Prefix(Kind.MEMORY, Keys.MEMORY_INDEX),
        Prefix(Kind.RESULTS, Keys.group_result(""), "leftover"),
        *(Prefix(Kind.STAGING, Keys.staging(area), "leftover") for area in areas),
        *(Prefix(Kind.REPORTS, prefix, "report", index) for prefix, index in reports),
        Prefix(Kind.OTHER, Keys.METRIC_DAYS),
        Prefix(Kind.OTHER, Keys.VIDEO_DAYS),
        Prefix(Kind.CHANNEL_DAYS, Keys.METRIC_PREFIX),
        Prefix(Kind.VIDEO_DAYS, Keys.VIDEO_PREFIX),
        Prefix(Kind.WORKERS, Keys.worker(""), "leftover"),
        Prefix(Kind.WORKERS, Keys.WORKER_COUNTS_PREFIX, "leftover"),
        Prefix(Kind.WORKERS, Keys.count_batch(""), "leftover"),
        Prefix(Kind.DEAD_LETTERS, Keys.DEAD_LETTERS_PREFIX),
        Prefix(Kind.OTHER, ""),
    ]


@dataclass
class Tally:
    """What there is of one kind, and what of it was removed, or would be."""

    count: int = 0
    bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0

    def remove(self, count: int, size: int) -> None:
        """Note a removal."""
        self.removed += count
        self.removed_bytes += size

    def use(self, kind: Kind) -> KindUse:
        """Return it as the report shows it."""
        before = Amount(count=self.count, bytes=self.bytes)
        # What came in during the run may have been removed as well, and sizes are estimates.
        removed = Amount(count=self.removed, bytes=self.removed_bytes)
        after = Amount(
            count=max(self.count - self.removed, 0), bytes=max(self.bytes - self.removed_bytes, 0)
        )
        return KindUse(kind=kind, before=before, removed=removed, after=after)


Tallies = Mapping[Kind, Tally]


def walk(client: redis.Redis, old_seconds: float, reports_before: float, dry_run: bool) -> Tallies:
    """Count all keys by kind, and remove what is left over and the reports past their retention.

    Each step looks at a hundred keys and decides and removes at once, so nothing can come in
    between. Whoever does it again removes nothing more.

    Args:
        client: Redis.
        old_seconds: what nobody used for so long may be left over.
        reports_before: Unix time; reports made before it go.
        dry_run: only count.
    """
    table = prefixes()
    words: list[str] = []
    for row in table:
        words += (row.prefix, row.rule, row.reports_index)
    tallies = {kind: Tally() for kind in Kind}
    script = load(client, "walk")
    mode = "look" if dry_run else "remove"
    options = (KEYS_AT_A_TIME, old_seconds, reports_before, mode)
    cursor = b"0"
    while True:
        cursor, found = script(args=[cursor, *options, *words])
        for row, (count, size, removed, removed_bytes) in zip(table, found, strict=True):
            tally = tallies[row.kind]
            tally.count += count
            tally.bytes += size
            tally.remove(removed, removed_bytes)
        if cursor == b"0":
            return tallies
