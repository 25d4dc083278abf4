"""The store of a domain's reports, on a real Redis."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis

from nova.errors import NotFoundError
from nova.governance.models import Report
from nova.reports import BaseReport, Basis, ListedReport, Omission, Page, ReportStore
from nova.store import Keys

NOW = datetime.now(UTC)
MONTH = timedelta(days=30)


class Toys(BaseReport):
    """A report of a domain that there is not."""

    toys: int

    @property
    def headline(self) -> str:
        """What it found."""
        return f"{self.toys} toys"


class ToyLine(ListedReport):
    """What its lists show besides."""

    toys: int


STORE = ReportStore("toys", Toys, ToyLine)
BASIS = Basis(rows=3, left_out=[Omission(what="source heise", reason="did not answer")])


def toys(report_id: str, hours_ago: int = 0, number: int = 1) -> Toys:
    generated_at = NOW - timedelta(hours=hours_ago)
    return Toys(id=report_id, generated_at=generated_at, release="r", basis=BASIS, toys=number)


@pytest.fixture
def store(client: redis.Redis) -> Callable[[Toys], None]:
    """Store a report, as a task's commit does."""

    def record(report: Toys) -> None:
        effects = client.pipeline()
        STORE.record(effects, report, MONTH)
        effects.execute()

    return record


def test_a_stored_report_is_read_as_it_was_and_expires(
    client: redis.Redis, store: Callable[[Toys], None]
) -> None:
    store(toys("a"))
    assert STORE.get(client, "a") == toys("a")
    assert set(client.keys()) == {b"nova:toys:report:a", b"nova:toys:reports"}
    assert 0 < client.ttl("nova:toys:report:a") <= MONTH.total_seconds()


def test_latest_is_the_report_that_was_made_last_not_stored_last(
    client: redis.Redis, store: Callable[[Toys], None]
) -> None:
    store(toys("new"))
    store(toys("old", hours_ago=1))
    assert STORE.get(client).id == STORE.get(client, "latest").id == "new"


def test_lists_are_newest_first_in_pages_with_the_domains_own_lines(
    client: redis.Redis, store: Callable[[Toys], None]
) -> None:
    for number in range(5):
        store(toys(f"r{number}", hours_ago=number, number=number))
    page = STORE.list(client, offset=1, limit=2)
    assert isinstance(page, Page)
    assert page.total == 5
    assert [(line.id, line.headline, line.toys) for line in page.reports] == [
        ("r1", "1 toys", 1),
        ("r2", "2 toys", 2),
    ]
    assert STORE.list(client, offset=5).reports == STORE.list(client, limit=0).reports == []


def test_a_run_that_is_started_again_replaces_its_report(
    client: redis.Redis, store: Callable[[Toys], None]
) -> None:
    store(toys("a", number=1))
    store(toys("a", number=2))
    assert (STORE.get(client).toys, STORE.list(client).total) == (2, 1)


def test_what_is_past_its_retention_leaves_the_index_with_the_next_report(
    client: redis.Redis, store: Callable[[Toys], None]
) -> None:
    client.zadd(Keys.reports("toys"), {"old": (NOW - MONTH - timedelta(hours=1)).timestamp()})
    client.zadd(Keys.reports("toys"), {"kept": (NOW - MONTH + timedelta(hours=1)).timestamp()})
    store(toys("new"))
    assert client.zrange(Keys.reports("toys"), 0, -1) == [b"kept", b"new"]
    assert [line.id for line in STORE.list(client).reports] == ["new"], "kept has expired"


def test_without_a_report_one_line_says_how_to_get_one(client: redis.Redis) -> None:
    with pytest.raises(NotFoundError, match="no toys report yet; run: nova trigger toys"):
        STORE.get(client)
    with pytest.raises(NotFoundError, match="no toys report x; see: nova report list"):
        STORE.get(client, "x")


def test_an_id_that_ends_another_keys_name_is_not_a_report(
    client: redis.Redis, store: Callable[[Toys], None]
) -> None:
    """Governance keeps the scores of report R under the key of a report `R:scores`."""
    store(toys("a"))
    client.zadd(Keys.report("toys", "a:scores"), {"channel": 1.0})
    assert STORE.find(client, "a:scores") is None


def test_a_governance_report_from_before_the_basis_is_still_read() -> None:
    days = {"days_used": ["2026-03-01"], "days_missing": ["2026-03-02"]}
    counts = dict.fromkeys(("promote", "watch", "retire", "none", "not_judged", "ignored"), 0)
    enforcement = {"auto_actions": False, "note": "", "taken": [], "deferred": []}
    stored = {
        "id": "old",
        "generated_at": "2026-03-03T02:00:00Z",
        "release": "0.3.0",
        "window": {"start": "2026-03-01", "end": "2026-03-02", **days},
        "policy": {"source": "packaged policy", "digest": "d"},
        "channels_seen": 0,
        "channels_judged": 0,
        "metrics": [],
        "counts": counts,
        "top": [],
        "bottom": [],
        "enforcement": enforcement | {"deferred_total": 0},
        "overrides": [],
    }
    report = Report.model_validate(stored)
    assert report.basis == Basis.model_validate(days)
    assert Report.model_validate_json(report.model_dump_json()) == report
