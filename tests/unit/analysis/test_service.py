"""Reports from what is known: profiles, ranks, what is left out, and the change since another."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from math import isclose
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova import terminal
from nova.analysis.commands import print_report
from nova.analysis.known import Known
from nova.analysis.material import Material, Piece, Source, Window
from nova.analysis.models import AnalysisReport, Measure, Origin, Outcome
from nova.analysis.resolving import Answer, resolve
from nova.analysis.seeds import Names, is_url
from nova.analysis.service import OWN_SHOWN, Request, build_report, compare
from nova.feeds import Item, Items
from nova.own_channels import OwnChannels
from nova.reports import Omission
from nova.source_reading import Reading
from nova.sources import Source as ConfiguredSource
from nova.videos import Video, VideoSource

TODAY = date(2026, 3, 28)
NOW = datetime(2026, 3, 28, 4, tzinfo=UTC)
FIRST = TODAY - timedelta(days=27)
US = OwnChannels(
    frozenset(["Us"]), "a test", {}, videos=(Video("v", VideoSource.STUDIO, "Robots", "Us"),)
)
NOBODY = OwnChannels(frozenset(), "nobody", {})
FEED = "https://feeds.example.org/them.xml?key=secret"


def source(origin: Origin, **channels: Sequence[Piece]) -> Source:
    """Return what a source knows up to today."""
    return source_up_to(TODAY, origin, channels)


def source_up_to(last: date, origin: Origin, channels: Mapping[str, Sequence[Piece]]) -> Source:
    """Return what a source knows; each piece is a row, and a list has its channels on ten days."""
    first = last - timedelta(days=27)
    days = [first + timedelta(days=number) for number in range(28)]
    window = Window(origin, first, last, days, sum(map(len, channels.values())))
    materials = {name: Material(window, first, pieces) for name, pieces in channels.items()}
    listed = {name: frozenset(days[:10]) for name in channels} if origin is Origin.LISTS else {}
    return Source(window, materials, frozenset(channels), listed)


def pieces(*views: int, title: str = "Cats", by_list: bool = False) -> list[Piece]:
    """Return videos, one a week, each with a like for ten views and no comment."""
    return [
        Piece(f"{title} {n}", FIRST + timedelta(days=7 * n), v, v // 10, 0, v, by_list)
        for n, v in enumerate(views)
    ]


def make(
    seeds: Iterable[str],
    *sources: Source,
    own: OwnChannels = US,
    answers: dict[str, Answer] | None = None,
    report_id: str = "r1",
) -> AnalysisReport:
    names = Names(name for one in sources for name in one.names)
    resolved = resolve(seeds, answers or {}, names, own, day=TODAY, length=28)
    request = Request(report_id, NOW, TODAY, 28, by_setting=True)
    return build_report(request, resolved, Known(sources, resolved.feeds, own), names)


LISTS = source(
    Origin.LISTS,
    Them=pieces(100, 200, 300, 400),
    Others=pieces(1000, title="Robots"),
    Us=pieces(10, title="Dogs"),
)
EXPORT = source(Origin.STUDIO, Us=pieces(150, 250, title="Dogs"))


def test_a_channel_is_measured_by_counted_numbers() -> None:
    """Four videos in 28 days, one a week: medians 250 in all, 150 and 350 in the halves."""
    [them] = make(["them"], LISTS).competitors
    assert (them.channel, them.seeds, them.origin) == ("Them", ["them"], Origin.LISTS)
    assert them.views
    assert (them.views.lower, them.views.median, them.views.upper) == (175, 250, 325)
    assert isclose(them.views.dispersion, 150 / 500)
    assert them.cadence
    assert (them.cadence.videos, them.cadence.videos_per_week) == (4, 1.0)
    assert them.cadence.median_gap_days == 7
    assert isclose(them.engagement or 0, 0.1)
    assert isclose(them.growth or 0, 0.4)
    assert them.days_listed == 10


def test_we_are_ranked_among_competitors_by_the_better_source() -> None:
    """Our export goes before the list, where we have one video with 10 views."""
    found = make(["Them", "Others"], EXPORT, LISTS)
    [us] = found.own
    assert (us.origin, us.views and us.views.median, us.days_listed) == (Origin.STUDIO, 200, 10)
    assert us.ranks[Measure.VIEWS] == 3
    assert us.ranks[Measure.CADENCE] == 2
    assert found.ranked[Measure.VIEWS] == 3
    assert found.ranked[Measure.GROWTH] == 1, "one alone has videos in both halves"
    assert [one.channel for one in found.competitors] == ["Others", "Them"]
    assert found.headline == (
        "2026-03-28: competitors compared: 2, Us is 3 of 3 by median views, topics that we miss: 1"
    )


def test_topics_are_shared_with_us_or_missed() -> None:
    found = make(["Them", "Others"], LISTS)
    assert (
        [topic.name for topic in found.missed_topics]
        == ["cats"]
        == found.competitors[1].missed_topics
    )
    assert found.missed_topics[0].channels == ["Them"]
    assert found.shared_topics == [], "one title on robots is no topic of theirs"


def test_a_seed_that_matches_nothing_says_so_with_a_hint() -> None:
    found = make(["Thems", "Them"], LISTS)
    [missing, matched] = sorted(found.seeds, key=lambda note: note.outcome, reverse=True)
    assert (missing.seed, missing.outcome, missing.near) == ("Thems", Outcome.NOT_FOUND, ["Them"])
    assert matched.channel == "Them"
    assert found.not_found_total == 1
    reason = "no data of such a channel in the windows"
    assert Omission(what="seed Thems", reason=reason) in found.basis.left_out


def test_one_of_ours_is_no_competitor() -> None:
    found = make(["us"], LISTS)
    assert [(note.outcome, note.channel) for note in found.seeds] == [(Outcome.OURS, "Us")]
    assert found.competitors == []
    assert [one.channel for one in found.own] == ["Us"]


def test_without_any_list_nobody_knows_who_was_listed() -> None:
    """Where there is one, who does not stand on it was listed on no day."""
    metrics = source(Origin.METRICS, Daily=pieces(1))
    alone = make([], EXPORT)
    assert alone.own[0].days_listed is None
    assert Measure.LISTED not in alone.own[0].ranks
    beside = make(["Daily"], LISTS, metrics)
    assert beside.competitors[0].days_listed == 0


def test_seeds_of_one_channel_make_one_competitor() -> None:
    [them] = make(["Them", "THEM"], LISTS).competitors
    assert them.seeds == ["THEM", "Them"]


def reading(*items: Item, url: str = FEED, error: str | None = None) -> Reading:
    configured = ConfiguredSource(name="seed-0", kind="rss", url=url)
    return Reading(configured, None if error else Items(items, left_out=1), error)


def entry(days_ago: int, views: int, channel: str = "them") -> Item:
    published = NOW - timedelta(days=days_ago)
    return Item(f"Mars {days_ago}", channel, published, views)


def test_a_feed_goes_before_lists_whose_days_count_all_the_same() -> None:
    answers: dict[str, Answer] = {FEED: reading(entry(1, 70), entry(2, 90), entry(40, 1))}
    found = make([FEED, "Them"], LISTS, answers=answers)
    [them] = found.competitors
    assert (them.channel, them.origin, them.count, them.days_listed) == ("Them", Origin.FEED, 2, 10)
    assert them.views
    assert them.views.median == 80
    assert them.engagement is None, "a feed has neither likes nor comments"
    assert {"mars", "cats"} <= set(them.missed_topics), "titles of all sources count"
    assert "feed https://feeds.example.org/them.xml?..." in found.basis.sources
    assert "secret" not in found.model_dump_json()
    left_out = {(one.what, one.reason): one.count for one in found.basis.left_out}
    outside = "published outside the window, or later than today"
    assert left_out["entries of feeds", outside] == 1
    assert left_out["entries of feeds", "without a title"] == 1


def test_a_feed_without_an_entry_in_the_window_leaves_the_channel_to_the_lists() -> None:
    answers: dict[str, Answer] = {FEED: reading(entry(40, 1))}
    [them] = make([FEED], LISTS, answers=answers).competitors
    assert (them.channel, them.origin, them.count) == ("Them", Origin.LISTS, 4)
    [alone] = make([FEED], EXPORT, answers=answers).competitors
    assert (alone.channel, alone.origin, alone.count, alone.views) == ("them", Origin.FEED, 0, None)


def test_feeds_of_one_channel_count_together_and_an_entry_of_both_once() -> None:
    """They may differ in their query alone, as YouTube's do."""
    other = "https://feeds.example.org/them.xml?key=other"
    answers: dict[str, Answer] = {
        FEED: reading(entry(1, 70), entry(2, 90)),
        other: reading(entry(2, 90), entry(3, 20), url=other),
    }
    [them] = make([FEED, other], answers=answers).competitors
    assert them.count == 3
    assert them.seeds == ["https://feeds.example.org/them.xml?..."] * 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("nobody configured it", "nobody configured it"),
        (reading(error="it is down"), "it is down"),
        (reading(), "its feed shows no title"),
    ],
)
def test_a_feed_that_says_nothing_is_a_line_in_the_report(answer: Answer, reason: str) -> None:
    found = make([FEED, "Them"], LISTS, answers={FEED: answer})
    failed = next(note for note in found.seeds if is_url(note.seed))
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, reason)
    assert [one.channel for one in found.competitors] == ["Them"]


def test_channels_of_which_only_days_are_known_are_not_ranked_with_videos() -> None:
    """A day of channel metrics is no video: its views would win against those of one."""
    metrics = source(Origin.METRICS, Daily=pieces(9000, 9000, 9000, 9000))
    found = make(["Daily", "Them"], LISTS, metrics)
    daily = next(one for one in found.competitors if one.channel == "Daily")
    assert (daily.unit, daily.count, daily.cadence, daily.ranks) == ("day", 4, None, {})
    assert daily.views
    assert daily.views.median == 9000
    assert found.competitors[0].channel == "Them"
    assert found.ranked[Measure.VIEWS] == 2
    reason = "only daily metrics are known, and a day is no video"
    omitted = Omission(what="channels, in ranks", reason=reason, count=1)
    assert omitted in found.basis.left_out


def test_videos_without_a_day_count_but_not_in_cadence() -> None:
    lists = source(Origin.LISTS, Them=[*pieces(100, 200, by_list=True), Piece("Cats", views=900)])
    found = make(["Them"], lists, own=NOBODY)
    [them] = found.competitors
    assert them.cadence
    assert (them.count, them.cadence.videos, them.cadence.day_unknown) == (3, 2, 1)
    assert them.cadence.by_list == 2
    assert any("first day there" in caveat for caveat in found.caveats)
    assert "no channel of ours to rank" in found.headline
    assert found.basis.left_out[0].what == "our channels"


def test_the_report_says_what_it_rests_on_and_what_to_bear_in_mind() -> None:
    """Windows that have no day in common are compared all the same, and it is said."""
    before = TODAY - timedelta(days=28)
    found = make(["Them"], EXPORT, source_up_to(before, Origin.LISTS, {"Them": pieces(1)}))
    assert found.basis.rows == 3
    assert found.basis.sources == ["studio export", "trending lists"]
    assert [(one.origin, one.last) for one in found.windows] == [
        (Origin.STUDIO, TODAY),
        (Origin.LISTS, before),
    ]
    assert any("have no day in common" in caveat for caveat in found.caveats)
    together = make(["Them"], EXPORT, LISTS)
    assert not any("have no day in common" in caveat for caveat in together.caveats)


@given(st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_of_data_does_not_matter(random: Random) -> None:
    seeds = ["Them", "THEM", "others", "us", "Nobody", FEED]
    answers: dict[str, Answer] = {FEED: reading(entry(1, 70), entry(2, 90))}

    def shuffled(one: Source) -> Source:
        names = list(one.materials)
        random.shuffle(names)
        materials = {
            name: Material(
                found.window, found.since, random.sample(found.pieces, len(found.pieces))
            )
            for name, found in ((name, one.materials[name]) for name in names)
        }
        return Source(one.window, materials, one.names, one.listed)

    expected = make(seeds, EXPORT, LISTS, answers=answers)
    random.shuffle(seeds)
    sources = [shuffled(EXPORT), shuffled(LISTS)]
    random.shuffle(sources)
    assert make(seeds, *sources, answers=answers) == expected


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.lists(st.integers(0, 9), max_size=4)))
def test_each_ranking_is_a_permutation(channels: dict[str, list[int]]) -> None:
    lists = source(Origin.LISTS, **{name: pieces(*views) for name, views in channels.items()})
    found = make(channels, lists, own=NOBODY)
    assert len(found.competitors) == len(channels)
    for measure in Measure:
        places = [one.ranks[measure] for one in found.competitors if measure in one.ranks]
        assert sorted(places) == list(range(1, found.ranked[measure] + 1))
        known = [one for one in found.competitors if one.value(measure) is not None]
        assert len(known) == len(places)


def test_more_of_our_channels_than_a_report_shows_are_ranked_all_the_same() -> None:
    ours = {f"Us {number:02}": pieces(100 + number) for number in range(OWN_SHOWN + 5)}
    own = OwnChannels(frozenset(ours), "a test", {})
    found = make(["Them"], source(Origin.STUDIO, **ours), LISTS, own=own)
    assert (len(found.own), found.own_total) == (OWN_SHOWN, OWN_SHOWN + 5)
    assert found.ranked[Measure.VIEWS] == OWN_SHOWN + 6


def test_without_a_report_before_there_is_no_change() -> None:
    report = make(["Them"], LISTS)
    assert compare(report, None) == report
    assert all(one.change is None for one in report.competitors)


def test_changes_are_those_since_the_report_before() -> None:
    before = make(["Them", "Others"], LISTS)
    lists = source(Origin.LISTS, Them=pieces(900, 1100, 1300), New=pieces(1), Us=pieces(10))
    found = compare(make(["Them", "New"], lists, report_id="r2"), before)
    assert found.compared_with
    assert (found.compared_with.report_id, found.compared_with.day) == ("r1", TODAY)
    assert found.compared_with.appeared == ["New"]
    assert found.compared_with.gone == ["Others"]
    them = found.competitors[0]
    assert them.change
    assert them.change.median_views == 850
    assert isclose(them.change.videos_per_week or 0, -0.25)
    assert them.change.growth is None, "three videos have no growth"
    assert (them.change.rank, them.change.days_listed) == (1, 0)
    assert found.competitors[1].change is None
    assert found.own[0].change


def test_numbers_of_different_sources_have_no_change() -> None:
    before = make([], source(Origin.LISTS, Us=pieces(10)))
    found = compare(make([], EXPORT), before)
    assert found.own[0].change is None


def shown(report: AnalysisReport, limit: int | None = None) -> str:
    with terminal.console.capture() as capture:
        print_report(report, limit)
    return capture.get()


def test_people_see_channels_side_by_side_and_names_are_no_markup() -> None:
    lists = source(Origin.LISTS, **{"[red]Them": pieces(1000, 2000)}, Us=pieces(10))
    before = make(["[red]Them"], lists)
    grown = source(Origin.LISTS, **{"[red]Them": pieces(1500, 2500)}, Us=pieces(10))
    text = " ".join(shown(compare(make(["[red]Them", "Thom"], grown), before)).split())
    for part in (
        "[red]Them",
        "2,000",
        "+500",
        "ours: Us",
        "seed Thom",
        "median views 2 of 2",
        "r1, of",
    ):
        assert part in text, part


def test_people_see_so_many_topics_as_they_ask_for() -> None:
    videos = [*pieces(1, 2, title="Cats"), *pieces(3, 4, title="Dogs")]
    report = make(["Them"], source(Origin.LISTS, Them=videos))
    assert "Topics that we miss: 1 of 2" in shown(report, 1)
    assert "Topics that we miss: 2 of 2" in shown(report)


def test_people_see_so_many_channels_of_either_kind_as_they_ask_for() -> None:
    channels = {name: pieces(views) for name, views in (("A", 30), ("B", 20), ("C", 10))}
    text = shown(make(["A", "B", "C"], source(Origin.LISTS, Us=pieces(1), **channels)), 2)
    assert "Channels by median views: 2 of 3 competitors, 1 of 1 of ours" in text
    rows = [line.split("│")[2].strip() for line in text.splitlines() if "│" in line]
    assert [row for row in rows if row in ("A", "B", "C", "ours: Us")] == ["A", "B", "ours: Us"]


def test_channels_that_are_not_ranked_come_by_their_views_too() -> None:
    """Of them only daily metrics are known: days are not compared with videos."""
    own = OwnChannels(frozenset(["Low", "High"]), "a test", {})
    days = source(Origin.METRICS, High=pieces(500), Low=pieces(5))
    found = make(["Them"], days, source(Origin.LISTS, Them=pieces(10)), own=own)
    assert [(one.channel, one.ranks) for one in found.own] == [("High", {}), ("Low", {})]
