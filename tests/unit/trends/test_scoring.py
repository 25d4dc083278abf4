"""Scores of topics: the formulas by hand, and the rules that hold for any titles."""

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from math import isclose, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nova.own_channels import Income, OwnChannels
from nova.sources import Source
from nova.topics import extract, folded
from nova.trends.listings import Listed, Listing
from nova.trends.scoring import (
    Rates,
    Scored,
    find_rates,
    fold,
    growth,
    most_frequent,
    score,
    score_topics,
    value,
)
from nova.videos import Video, VideoSource

TODAY = date(2026, 3, 14)
NOBODY = OwnChannels(frozenset(), "nobody", {})
#: One title: channel, title, views.
Title = tuple[str, str, int | None]

WORDS = ("cats", "dogs", "volcano", "election", "robots", "guitars")
TITLES = st.lists(
    st.tuples(
        st.sampled_from(["Ann", "Bob", "Cem", "Dee", "Eve"]),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
        st.none() | st.integers(0, 10**9),
    ),
    min_size=1,
    max_size=8,
)
NUMBER = st.floats(0, 1e6)


def listing(name: str, *days: Sequence[Title]) -> Listing:
    """Return what a source showed on consecutive days, the last of which is today."""
    lists = {}
    for ago, titles in enumerate(reversed(days)):
        day = TODAY - timedelta(days=ago)
        found = [
            Listed(name, day, channel, title, channel, views) for channel, title, views in titles
        ]
        lists[day] = list({one.key: one for one in found}.values())
    return Listing(Source(name=name, kind="trending"), lists, TODAY)


def ours(*titles: tuple[str, str], **income: Income) -> OwnChannels:
    """Return our channels with their videos."""
    videos = [Video(title, VideoSource.STUDIO, title, channel) for channel, title in titles]
    names = frozenset(channel for channel, _ in titles) | income.keys()
    earned = (TODAY, TODAY) if income else None
    return OwnChannels(names, "test", income, earned, videos)


def by_name(scored: Sequence[Scored]) -> dict[str, Scored]:
    return {one.topic.name: one for one in scored}


def numbers(scored: Sequence[Scored]) -> list[tuple[object, ...]]:
    """Return all that a report tells of topics."""
    return [
        (
            one.topic.name,
            one.score,
            one.expected,
            one.projected_usd,
            tuple(one.current),
            one.covered_by,
        )
        for one in scored
    ]


@pytest.mark.parametrize(
    ("titles", "expected", "doublings"),
    [
        (0, 0.0, 0.0),
        (1, 0.0, 1.0),  # one title out of nothing is doubled, and no more
        (3, 0.0, 2.0),
        (3, 1.0, 1.0),
        (5, 5.0, 0.0),
        (0, 1.0, -1.0),
    ],
)
def test_growth_is_counted_in_doublings_with_one_title_added_on_both_sides(
    titles: int, expected: float, doublings: float
) -> None:
    assert growth(titles, expected) == doublings


@given(NUMBER, NUMBER, NUMBER, NUMBER)
def test_growth_rises_with_titles_and_falls_with_what_was_expected(
    titles: float, more: float, expected: float, less: float
) -> None:
    assert growth(titles + more, expected) >= growth(titles, expected)
    assert growth(titles, expected + less) <= growth(titles, expected)


@given(
    st.floats(-20, 20),
    st.floats(0, 20),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.floats(0, 50),
    st.floats(0, 50),
)
def test_the_score_rises_with_growth_channels_and_earnings_and_is_never_below_0(
    grown: float, growing: float, channels: int, others: int, worth: float, worthier: float
) -> None:
    base = score(grown, channels, worth)
    assert base >= 0
    assert score(grown + growing, channels, worth) >= base
    assert score(grown, channels + others, worth) >= base
    assert score(grown, channels, worth + worthier) >= base


@given(NUMBER, NUMBER, st.floats(0.01, 1e6))
def test_value_rises_with_projected_earnings(usd: float, more: float, typical: float) -> None:
    assert value(usd + more, typical) >= value(usd, typical) >= 0


def test_value_is_1_for_what_is_typical_and_where_nothing_is_known() -> None:
    assert value(5.0, 5.0) == value(None, 5.0) == value(5.0, 0.0) == 1.0
    assert value(15.0, 5.0) == 2.0


def test_a_topic_is_scored_as_the_document_says() -> None:
    """By hand: 3 of 4 titles now; 1 of 6 before, of which a list of 4 promises 4/6."""
    found = listing(
        "lists",
        [("Ann", "volcano", 1), ("Bob", "guitars", 1), ("Cem", "dogs", 1)],
        [("Ann", "cats", 1), ("Bob", "guitars", 1), ("Cem", "dogs", 1)],
        [("Ann", "volcano", 1), ("Bob", "volcano", 2), ("Cem", "volcano", 3), ("Dee", "cats", 4)],
    )
    volcano = by_name(score_topics([found], NOBODY, None))["volcano"]
    assert isclose(volcano.expected, 4 / 6)
    assert isclose(volcano.growth, log2(4 / (4 / 6 + 1)))
    assert isclose(volcano.score, volcano.growth * log2(1 + 3))
    assert volcano.rises
    assert [one.views for one in volcano.current] == [3, 2, 1], "the most seen comes first"


def test_each_source_is_compared_with_its_own_past() -> None:
    """A long list of one source does not thin out what the other shows."""
    long = [[(f"C{number}", "dogs", None) for number in range(50)] for _ in range(2)]
    short = [[("Ann", "cats", None)], [("Ann", "cats", None)]]
    listings = [listing("long", *long), listing("short", *short)]
    found = by_name(score_topics(listings, NOBODY, None))
    assert found["cats"].expected == 1.0
    assert found["dogs"].expected == 50.0


def test_a_source_without_a_past_or_without_titles_now_does_not_count() -> None:
    new = listing("new", [("Ann", "cats", None), ("Bob", "cats", None)])
    dead = Listing(Source(name="dead", kind="trending"), dict(new.lists), None, "is away")
    old = listing("old", [("Ann", "dogs", None)], [("Ann", "dogs", None)])
    assert new.not_counted == "no title before 2026-03-14 to compare with"
    assert dead.not_counted == "is away"
    assert set(by_name(score_topics([new, dead, old], NOBODY, None))) == {"dogs"}


def test_one_channel_alone_makes_no_rising_topic() -> None:
    before = [("Ann", "dogs", None)]
    now = [("Ann", "cats one", None), ("Ann", "cats two", None), ("Ann", "cats three", None)]
    alone = by_name(score_topics([listing("l", before, now)], NOBODY, None))["cats"]
    assert alone.growth >= 1
    assert not alone.rises
    now.append(("Bob", "cats four", None))
    assert by_name(score_topics([listing("l", before, now)], NOBODY, None))["cats"].rises


@settings(deadline=None)
@given(TITLES, TITLES, TITLES, st.sampled_from(WORDS), st.randoms(use_true_random=False))
def test_the_order_of_sources_and_titles_makes_no_difference(
    before: list[Title],
    now: list[Title],
    other: list[Title],
    word: str,
    shuffler: random.Random,
) -> None:
    own = ours(("Us", word), Ann=Income(5.0, 1000.0))
    listings = [listing("a", before, now), listing("b", other, before)]
    mixed = [
        Listing(
            one.source,
            {day: shuffler.sample(titles, len(titles)) for day, titles in one.lists.items()},
            one.now,
        )
        for one in shuffler.sample(listings, 2)
    ]
    expected = score_topics(listings, own, find_rates(own, listings))
    assert numbers(score_topics(mixed, own, find_rates(own, mixed))) == numbers(expected)


@settings(deadline=None)
@given(TITLES, TITLES, st.sampled_from(WORDS))
def test_one_more_channel_with_the_topic_never_lowers_its_score(
    before: list[Title], now: list[Title], word: str
) -> None:
    """A title on nothing else gives way to one on the topic, so the list stays as long."""
    filler: Title = ("Zoe", "zebras", None)
    with_filler = [*now, ("Ann", word, None), filler]
    with_topic = [*now, ("Ann", word, None), ("Zoe", word, None)]
    base = by_name(score_topics([listing("l", before, with_filler)], NOBODY, None))[word]
    more = by_name(score_topics([listing("l", before, with_topic)], NOBODY, None))[word]
    assert len(more.channels) == len(base.channels) + 1
    assert more.growth > base.growth
    assert more.score >= base.score


@settings(deadline=None)
@given(TITLES, TITLES, TITLES, st.sets(st.sampled_from(["Ann", "BOB", " eve "])))
def test_no_topic_that_our_channels_have_a_title_on_counts_as_missed(
    before: list[Title], now: list[Title], videos: list[Title], names: set[str]
) -> None:
    """Checked with phrases of titles alone: those of our exports, and ours among those listed."""
    exported = ours(*[("Us", title) for _, title, _ in videos])
    own = OwnChannels(exported.names | names, "test", {}, None, exported.videos)
    found = listing("l", before, now)
    scored = score_topics([found], own, None)
    listed = [one for titles in found.lists.values() for one in titles]
    wanted = {folded(name) for name in names}
    our_titles = [video.title for video in own.videos]
    our_titles += [one.title for one in listed if folded(one.channel) in wanted]
    our_phrases = {phrase for title in our_titles for phrase in extract(title)}
    for one in scored:
        assert bool(one.covered_by) == bool(one.topic.phrases & our_phrases)


def test_another_spelling_of_ours_covers_a_topic() -> None:
    now: list[Title] = [("Ann", "Star Wars", None), ("Bob", "Star Wars", None)]
    found = listing("l", [("Ann", "dogs", None)], now)
    topic = by_name(score_topics([found], ours(("Us", "star-war fans")), None))["star wars"]
    assert topic.covered_by == {"Us"}


def parts(scored: Sequence[tuple[Scored, list[Scored]]]) -> Iterator[tuple[str, list[str]]]:
    for leader, others in scored:
        yield leader.topic.name, [other.topic.name for other in others]


def test_topics_in_the_same_titles_are_told_together() -> None:
    """Each title on the prince is on the actress too; the dogs have one of their own."""
    now: list[Title] = [
        ("Ann", "actress: prince", None),
        ("Bob", "prince, actress", None),
        ("Cem", "actress & dogs", None),
        ("Dee", "dogs", None),
    ]
    scored = score_topics([listing("l", [("Ann", "cats", None)], now)], NOBODY, None)
    assert dict(parts(fold(scored))) == {"actress": ["prince"], "dogs": []}


def test_projected_earnings_are_our_rpm_times_the_median_views_with_one_typical_title() -> None:
    rates = Rates(rpm=2.0, rpm_by_category={10: 4.0}, typical_views=1000.0)

    def titles(*views: int | None, category: int | None = None) -> list[Listed]:
        return [Listed("l", TODAY, "v", "t", "c", view, category) for view in views]

    assert rates.typical_usd == 2.0
    assert rates.project(titles(None)) is None
    assert rates.project(titles(3000)) == 2.0 * 2000 / 1000, "one title weighs half"
    assert rates.project(titles(3000, 5000, None)) == 2.0 * 3000 / 1000
    assert rates.project(titles(3000, category=10)) == 4.0 * 2000 / 1000
    assert rates.project(titles(3000, category=11)) == 2.0 * 2000 / 1000


def test_titles_are_compared_with_the_views_of_their_first_day() -> None:
    """The old title has gathered ten times what it began with; both began alike."""
    found = listing("l", [("Ann", "dogs", 100)], [("Ann", "dogs", 1000), ("Bob", "cats", 100)])
    own = ours(Us=Income(2.0, 1000.0))
    rates = find_rates(own, [found])
    assert rates == Rates(2.0, {}, 100.0)
    scored = by_name(score_topics([found], own, rates))
    assert scored["dogs"].projected_usd == scored["cats"].projected_usd == 2.0 * 100 / 1000
    assert scored["dogs"].value == scored["cats"].value == 1.0


def test_the_rpm_of_a_category_is_that_of_our_channels_in_it() -> None:
    def listed(channel: str, category: int | None, views: int | None) -> Listed:
        return Listed("l", TODAY, channel, f"cats {channel}", channel, views, category)

    titles = [listed("ANN", 10, 30), listed("Bob", 20, 10), listed("Cem", 20, None)]
    found = Listing(Source(name="l", kind="trending"), {TODAY: titles}, TODAY)
    own = ours(Ann=Income(4.0, 1000.0), Bob=Income(-1.0, 1000.0), Dee=Income(3.0, 1000.0))
    assert find_rates(own, [found]) == Rates(2.0, {10: 4.0}, 20.0)


def test_without_revenue_or_without_views_nothing_is_projected() -> None:
    seen = listing("l", [("Ann", "cats", 5)])
    unseen = listing("l", [("Ann", "cats", None)])
    earning = ours(Us=Income(1.0, 1000.0))
    assert find_rates(NOBODY, [seen]) is None
    assert find_rates(ours(Us=Income(-1.0, 1000.0)), [seen]) is None
    assert find_rates(earning, [unseen]) is None
    assert find_rates(earning, [seen]) == Rates(1.0, {}, 5.0)


def test_the_most_frequent_category_is_the_lowest_of_equals() -> None:
    titles = [Listed("l", TODAY, "v", "t", "c", None, category) for category in (7, 3, 7, 3, None)]
    assert most_frequent(titles) == 3
    assert most_frequent(titles[:1]) == 7
    assert most_frequent(titles[-1:]) is None
