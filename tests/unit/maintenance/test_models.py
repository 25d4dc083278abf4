"""What people read about a run."""

import pytest

from nova.maintenance.keys import Kind, Prefix, Tally, prefixes
from nova.maintenance.models import Amount, Policy, in_bytes
from nova.settings import Settings


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (1_000_000, "1.0 MB"), (2**31, "2,147.5 MB")],
)
def test_sizes_are_short(size: int, text: str) -> None:
    assert in_bytes(size) == text


def test_the_policy_is_that_of_the_settings() -> None:
    values = {"REDIS_URL": "redis://localhost", "NOVA_CACHE_MAX_MB": 7}
    policy = Policy.of(Settings.model_validate(values))
    assert policy.cache_max_mb == 7
    assert policy.metric_retention_days is None, "nobody's data goes unless somebody says so"


def test_no_more_is_left_than_nothing() -> None:
    """More may have gone than there was at the beginning, and sizes are estimates."""
    tally = Tally(count=1, bytes=100)
    tally.remove(2, 150)
    use = tally.use(Kind.PAGES)
    assert use.removed == Amount(count=2, bytes=150)
    assert use.after == Amount(count=0, bytes=0)


def test_every_key_has_a_kind_and_no_row_hides_a_later_one() -> None:
    table = prefixes()
    assert table[-1] == Prefix(Kind.OTHER, "")
    texts = [row.prefix for row in table]
    hidden = [
        (early, late)
        for number, early in enumerate(texts)
        for late in texts[number + 1 :]
        if late.startswith(early)
    ]
    assert hidden == []


def test_only_leftovers_and_reports_may_be_removed_by_the_walk() -> None:
    """What the runtime needs has no rule by which it goes."""
    removable = {row.kind for row in prefixes() if row.rule != "keep"}
    assert removable == {Kind.PAGES, Kind.RESULTS, Kind.REPORTS, Kind.STAGING, Kind.WORKERS}
    assert {row.kind for row in prefixes()} == set(Kind)
