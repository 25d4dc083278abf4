"""What is stored counts as long as it is the beginning of what there is now."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from nova.analytics.aggregates import Plan, digest, plan
from nova.analytics.models import Part, SpanState

FIRST = date(2026, 3, 1)


def parts(**versions: int) -> list[Part]:
    """Parts of March: `d4=1` is the fourth in its first version."""
    return [
        Part(day=FIRST + timedelta(days=int(name[1:]) - 1), version=str(version))
        for name, version in versions.items()
    ]


def state(of: list[Part]) -> SpanState:
    return SpanState(
        parts=of,
        first_day=of[0].day,
        last_day=of[-1].day,
        days=len(of),
        channels=1,
        rows=1,
        rows_without_category=0,
        distributions=[],
    )


def test_without_anything_stored_all_is_added() -> None:
    assert plan(None, parts(d1=1, d2=1)) == Plan(on_top=False, added=parts(d1=1, d2=1), missed=[])


def test_what_is_up_to_date_is_left_alone() -> None:
    assert plan(state(parts(d1=1, d2=1)), parts(d1=1, d2=1)).is_done


def test_later_days_come_on_top() -> None:
    found = plan(state(parts(d1=1, d2=1)), parts(d1=1, d2=1, d4=1))
    assert found == Plan(on_top=True, added=parts(d4=1), missed=[])


def test_a_changed_or_late_day_makes_all_be_added_anew() -> None:
    """On top it would be counted twice, or out of its order."""
    for now in (parts(d1=2, d3=1), parts(d1=1, d2=1, d3=1)):
        assert plan(state(parts(d1=1, d3=1)), now) == Plan(on_top=False, added=now, missed=[])


def test_days_past_retention_stay_counted() -> None:
    stored = state(parts(d1=1, d2=1, d3=1))
    assert plan(stored, parts(d3=1)).is_done
    assert plan(stored, []).is_done
    assert plan(stored, parts(d3=1, d4=1)).added == parts(d4=1)


def test_a_change_beside_days_past_retention_is_named_and_not_counted() -> None:
    """Anew the days that are gone would be lost; what is later can still be added."""
    found = plan(state(parts(d1=1, d2=1, d4=1)), parts(d2=2, d3=1, d4=1, d5=1))
    assert (found.on_top, found.added) == (True, parts(d5=1))
    assert found.missed == [part.day for part in parts(d2=2, d3=1)]


@given(
    st.dictionaries(st.integers(1, 9), st.integers(1, 2), min_size=1),
    st.dictionaries(st.integers(1, 9), st.integers(1, 2)),
)
def test_every_part_is_counted_once_or_named(before: dict[int, int], now: dict[int, int]) -> None:
    """Whatever changed: all of now's parts are in, in their version, or told; none twice."""
    stored = state(parts(**{f"d{day}": version for day, version in sorted(before.items())}))
    wanted = parts(**{f"d{day}": version for day, version in sorted(now.items())})
    found = plan(stored, wanted)
    counted = [*(stored.parts if found.on_top else []), *found.added]
    days = [part.day for part in counted]
    assert days == sorted(set(days)), "each once, oldest first"
    assert all(part in counted or part.day in found.missed for part in wanted)
    kept = {part.day for part in stored.parts} - {part.day for part in wanted}
    assert kept <= set(days), "nothing that is gone is lost"


def test_a_digest_changes_with_each_part() -> None:
    found = {digest(of) for of in ([], parts(d1=1), parts(d1=2), parts(d2=1), parts(d1=1, d2=1))}
    assert len(found) == 5
