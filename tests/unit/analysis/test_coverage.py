"""Topics of competitors: which we miss, and which we share."""

from hypothesis import given
from hypothesis import strategies as st

from nova.analysis.coverage import Covered, Title, find_coverage
from nova.own_channels import OwnChannels

US = OwnChannels(frozenset(["Us"]), "a test", {})
WORDS = st.sampled_from(["robots", "cats", "dogs", "mars", "tea"])
TITLES = st.dictionaries(
    st.tuples(st.sampled_from("ABC"), st.lists(WORDS, min_size=1, max_size=3).map(" ".join)),
    st.none() | st.integers(0, 1000).map(float),
    max_size=12,
)


def cover(theirs: dict[Title, float | None], ours: list[Title]) -> dict[str, Covered]:
    return {topic.name: topic for topic in find_coverage(theirs, ours, US)}


def test_what_our_titles_carry_is_shared_and_the_rest_is_missed() -> None:
    theirs: dict[Title, float | None] = {
        ("A", "Robots: now"): 100,
        ("B", "More of robots"): 300,
        ("B", "Cats!"): None,
        ("A", "The cats"): 7,
    }
    found = cover(theirs, [("Us", "My Robot")])
    assert set(found) == {"robots", "cats"}
    assert found["robots"].covered_by == {"Us"}
    assert found["cats"].covered_by == set()
    assert found["robots"].median_views == 200
    assert found["cats"].median_views == 7, "unknown views have no part"
    assert found["cats"].channels == {"A", "B"}


def test_one_title_of_competitors_is_no_topic_even_with_ours_beside_it() -> None:
    assert cover({("A", "Robots"): 1}, [("Us", "Robots"), ("Us", "Robots!")]) == {}


def test_topics_of_the_same_titles_come_together() -> None:
    theirs: dict[Title, float | None] = {
        ("A", "tea of mars"): 1,
        ("A", "tea for mars!"): 2,
        ("B", "mars"): 3,
    }
    found = cover(theirs, [])
    assert set(found) == {"mars"}
    assert found["mars"].also == ["tea"]


def test_more_channels_come_first_then_more_videos() -> None:
    theirs: dict[Title, float | None] = dict.fromkeys(
        [("A", "tea [1]"), ("A", "tea [2]"), ("A", "tea [3]"), ("A", "dogs"), ("B", "dogs")], 5.0
    )
    theirs |= dict.fromkeys([("B", "cats [1]"), ("B", "cats [2]")], 9.0)
    assert [topic.name for topic in find_coverage(theirs, [], US)] == ["dogs", "tea", "cats"]


@given(TITLES, st.lists(st.tuples(st.just("Us"), WORDS), max_size=3))
def test_order_does_not_matter_and_shared_and_missed_are_told_apart(
    theirs: dict[Title, float | None], ours: list[Title]
) -> None:
    found = find_coverage(theirs, ours, US)
    backwards = {title: theirs[title] for title in reversed(theirs)}
    assert find_coverage(backwards, ours[::-1], US) == found
    said = {title for _, title in ours}
    for topic in found:
        assert len(topic.titles) >= 2
        assert topic.titles <= theirs.keys()
        assert topic.channels == {channel for channel, _ in topic.titles}
        assert bool(topic.covered_by) == (topic.name in said)
