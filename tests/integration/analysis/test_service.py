"""What Redis and feeds know becomes a report, whatever is missing."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis

from nova.analysis.models import AnalysisReport, Origin, Outcome
from nova.analysis.reports import STORE
from nova.analysis.service import analyse
from nova.errors import ConfigurationError, InputError
from nova.settings import Settings
from nova.videos import Video, VideoSource
from tests.integration.fetching.conftest import WebServer
from tests.integration.trends.conftest import StoreMetrics, StoreVideos

TODAY = date(2026, 3, 28)
NOW = datetime(2026, 3, 28, 4, tzinfo=UTC)
DAY = timedelta(days=1)

Analyse = Callable[..., AnalysisReport]


def listed(video: str, channel: str, views: int = 100, **fields: Any) -> Video:
    """Return a video as a trending list shows it."""
    title = fields.pop("title", f"Cats {video}")
    return Video(video, VideoSource.TRENDING, title, channel, views=views, **fields)


def atom(*entries: tuple[str, str, int], author: str = "Them") -> bytes:
    """Return a feed with entries of title, day of publishing and views, as YouTube writes it."""
    items = "".join(
        f"<entry><title>{title}</title><author><name>{author}</name></author>"
        f"<published>{day}T10:00:00+00:00</published>"
        f'<media:group><media:community><media:statistics views="{views}"/>'
        "</media:community></media:group></entry>"
        for title, day, views in entries
    )
    namespaces = 'xmlns="http://www.w3.org/2005/Atom" xmlns:media="http://search.yahoo.com/mrss/"'
    return f"<feed {namespaces}><title>Feed</title>{items}</feed>".encode()


@pytest.fixture
def run(client: redis.Redis, make_settings: Callable[..., Settings]) -> Analyse:
    """Analyse competitors with these settings, and keep the report as the task does."""

    def analysed(
        seeds: Iterable[str] | None = None,
        report_id: str = "r1",
        day: date | None = None,
        **variables: object,
    ) -> AnalysisReport:
        settings = make_settings(NOVA_FETCH_PAUSE_SECONDS=0, **variables)
        found = analyse(client, settings, report_id, now=NOW, day=day, seeds=seeds)
        assert found is not None
        effects = client.pipeline()
        STORE.record(effects, found, timedelta(days=90))
        effects.execute()
        return found

    return analysed


def test_without_seeds_there_is_nobody_to_compare_with(
    client: redis.Redis, settings: Settings
) -> None:
    assert analyse(client, settings, "r1", now=NOW) is None


def test_seeds_without_any_data_are_told_one_by_one(run: Analyse) -> None:
    found = run(COMPETITOR_SEEDS='Vox, "Red, White", UC123')
    assert [note.seed for note in found.seeds] == ["Red, White", "UC123", "Vox"]
    assert {note.outcome for note in found.seeds} == {Outcome.NOT_FOUND}
    assert found.competitors == []
    assert found.basis.rows == 0


def test_a_video_counts_from_its_first_day_on_the_list_with_its_last_numbers(
    run: Analyse, store_videos: StoreVideos
) -> None:
    """v1 is on the oldest list, so since when it is public nobody knows; v2 and v3 are new."""
    store_videos(TODAY - 3 * DAY, listed("v1", "Them", 100))
    store_videos(TODAY - 2 * DAY, listed("v1", "Them", 150), listed("v2", "Them", 10))
    store_videos(TODAY, listed("v2", "Them", 30, likes=2, comments=1), listed("v3", "Them", 500))
    [them] = run(["Them"]).competitors
    assert them.count == 3
    assert them.views
    assert them.views.median == 150
    assert them.cadence
    assert (them.cadence.videos, them.cadence.days, them.cadence.day_unknown) == (2, 3, 1)
    assert them.cadence.median_gap_days == 2
    assert them.cadence.by_list == 2
    assert (them.engagement, them.engagement_count) == (0.1, 1)
    assert them.days_listed == 3


def test_the_day_before_the_window_tells_what_was_on_the_list_already(
    run: Analyse, store_videos: StoreVideos
) -> None:
    store_videos(TODAY - 7 * DAY, listed("v1", "Them"), listed("gone", "Them"))
    store_videos(TODAY - 6 * DAY, listed("v1", "Them"), listed("v2", "Them"))
    store_videos(TODAY, listed("v2", "Them"))
    [them] = run(["Them"], NOVA_ANALYSIS_WINDOW_DAYS=7).competitors
    assert them.count == 2, "what was only there before the window does not count"
    assert them.cadence
    assert (them.cadence.videos, them.cadence.days, them.cadence.day_unknown) == (1, 7, 1)


def test_a_list_that_tells_when_a_video_was_published_is_believed(
    run: Analyse, store_videos: StoreVideos
) -> None:
    for number in (24, 26):
        published = datetime(2026, 3, number, 23, tzinfo=UTC)
        store_videos(TODAY, listed(f"v{number}", "Them", published_at=published))
    store_videos(TODAY - 5 * DAY, listed("v0", "Other"))
    [them] = run(["Them"]).competitors
    assert them.cadence
    assert (them.cadence.videos, them.cadence.by_list) == (2, 0)
    assert them.cadence.median_gap_days == 2


def test_each_source_has_a_window_up_to_its_own_newest_day(
    run: Analyse, store_videos: StoreVideos
) -> None:
    """The list is a year old, our export of last week: both count, and the report says so."""
    year = timedelta(days=365)
    store_videos(TODAY - year, listed("v1", "Them"))
    store_videos(TODAY - 7 * DAY, Video("s1", VideoSource.STUDIO, "Dogs", "Us", views=5))
    found = run(["Them"])
    assert {(window.origin, window.last) for window in found.windows} == {
        (Origin.STUDIO, TODAY - 7 * DAY),
        (Origin.LISTS, TODAY - year),
    }
    assert [one.channel for one in found.own] == ["Us"]
    assert any("have no day in common" in caveat for caveat in found.caveats)


def test_what_came_after_the_day_does_not_count(
    run: Analyse, store_videos: StoreVideos, store_metrics: StoreMetrics
) -> None:
    for number in range(2):
        store_metrics(TODAY - number * DAY, "UC123", views=7)
    store_videos(TODAY - 2 * DAY, listed("v1", "Them", 1))
    store_videos(TODAY, listed("v1", "Them", 1000), listed("v2", "Them", 1000))
    them, daily = run(["Them", "UC123"], day=TODAY - DAY).competitors
    assert them.views
    assert (them.count, them.views.upper) == (1, 1)
    assert (daily.count, daily.last) == (1, TODAY - DAY)


def test_a_channel_of_which_only_metrics_are_known_is_found_by_its_id(
    run: Analyse, store_metrics: StoreMetrics
) -> None:
    for number in range(4):
        day = TODAY - (4 - number) * DAY
        store_metrics(day, "UC123", views=100 * (number + 1), likes=9, comments=1)
        store_metrics(day, "Someone", views=7)
    found = run(["uc123", "Sumeone"])
    [one] = found.competitors
    assert (one.channel, one.origin, one.unit, one.count) == ("UC123", Origin.METRICS, "day", 4)
    assert one.views
    assert one.views.median == 250
    assert [note.near for note in found.seeds if note.seed == "Sumeone"] == [["Someone"]]


def test_ours_are_the_named_ones_or_those_with_an_export(
    run: Analyse, store_videos: StoreVideos
) -> None:
    store_videos(
        TODAY,
        listed("v1", "Them"),
        listed("v2", "Named"),
        Video("s1", VideoSource.STUDIO, "Dogs", "Exported", views=5),
    )
    assert [one.channel for one in run(["Them"]).own] == ["Exported"]
    named = run(["Them", "named"], NOVA_OWN_CHANNELS="NAMED")
    assert [one.channel for one in named.own] == ["Named"]
    assert {note.outcome for note in named.seeds} == {Outcome.FOUND, Outcome.OURS}


def test_a_feed_of_the_setting_is_read(
    run: Analyse, store_videos: StoreVideos, web: WebServer
) -> None:
    web.say("/a.xml", atom(("Mars one", "2026-03-27", 70), ("Mars two", "2026-03-20", 90)))
    store_videos(TODAY, listed("v1", "THEM"))
    found = run(COMPETITOR_SEEDS=f"{web.url('/a.xml')}?key=secret, them")
    [them] = found.competitors
    assert (them.channel, them.origin, them.count, them.days_listed) == ("THEM", Origin.FEED, 2, 1)
    assert them.views
    assert them.views.median == 80
    assert them.cadence
    assert (them.cadence.videos, them.cadence.days) == (2, 9)
    assert them.seeds == [f"{web.url('/a.xml')}?...", "them"]
    assert "secret" not in found.model_dump_json()


def test_feeds_that_fail_cost_a_line_each_and_nothing_else(run: Analyse, web: WebServer) -> None:
    web.say("/a.xml", atom(("Mars", "2026-03-27", 70)))
    web.say("/page", b"<html></html>")
    web.say("/gone", status=404)
    seeds = [web.url(path) for path in ("/a.xml", "/page", "/gone")] + ["http://"]
    found = run(COMPETITOR_SEEDS=",".join(seeds))
    assert [one.channel for one in found.competitors] == ["Them"]
    reasons = {note.seed: note.reason or "" for note in found.seeds}
    assert "neither an RSS nor an Atom feed" in reasons[web.url("/page")]
    assert "404" in reasons[web.url("/gone")]
    assert found.not_found_total == 3


def test_a_feed_of_a_host_that_nobody_configured_is_not_asked(run: Analyse, web: WebServer) -> None:
    """Who may trigger runs decides what is compared, not where requests go."""
    web.say("/a.xml", atom(("Mars", "2026-03-27", 70)))
    [note] = run([web.url("/a.xml")]).seeds
    assert note.outcome is Outcome.FAILED
    assert note.reason == "no configured source has this host and port"
    assert web.paths == []
    configured = web.url("/other.xml")
    [note] = run([web.url("/a.xml")], COMPETITOR_SEEDS=configured).seeds
    assert note.outcome is Outcome.FOUND
    assert web.paths == ["/a.xml"]


def test_feeds_are_not_asked_for_a_day_that_has_passed(run: Analyse, web: WebServer) -> None:
    [note] = run(COMPETITOR_SEEDS=web.url("/a.xml"), day=TODAY - DAY).seeds
    assert "only asked for today" in (note.reason or "")
    assert web.paths == []


def test_a_day_to_come_and_blank_seeds_are_refused(run: Analyse) -> None:
    with pytest.raises(InputError, match="2026-03-29 has not come yet"):
        run(["Them"], day=TODAY + DAY)
    with pytest.raises(InputError, match="all of them are blank"):
        run([" "])


def test_a_wrong_file_of_sources_matters_only_when_feeds_are_asked(run: Analyse) -> None:
    assert run(["Them"], NOVA_SOURCES="/nowhere.yml").competitors == []
    with pytest.raises(ConfigurationError, match="NOVA_SOURCES"):
        run(COMPETITOR_SEEDS="http://127.0.0.1:1/", NOVA_SOURCES="/nowhere.yml")


def test_a_report_is_compared_with_the_last_of_an_earlier_day_and_its_kind(
    run: Analyse, store_videos: StoreVideos
) -> None:
    """A question in between, and a second run of the same day, do not hide last week's report."""
    seeds = {"COMPETITOR_SEEDS": "Them, Others"}
    store_videos(TODAY - 9 * DAY, listed("v1", "Them", 50), listed("v2", "Others", 70))
    run(report_id="old", day=TODAY - 9 * DAY, **seeds)
    run(report_id="last", day=TODAY - 7 * DAY, **seeds)
    run(["Them"], report_id="asked", day=TODAY - DAY)
    store_videos(TODAY, listed("v1", "Them", 90))
    first = run(report_id="today", **seeds)
    assert first.compared_with
    assert first.compared_with.report_id == "last"
    assert run(report_id="again", **seeds).compared_with == first.compared_with
    them = first.competitors[0]
    assert (them.channel, them.change and them.change.median_views) == ("Them", 40)
    assert them.change
    assert them.change.rank == 1


def test_the_same_data_gives_the_same_report(
    run: Analyse, store_videos: StoreVideos, web: WebServer
) -> None:
    web.say("/a.xml", atom(("Mars one", "2026-03-27", 70), ("Mars two", "2026-03-20", 90)))
    for number in range(5):
        videos = [listed(f"v{n}", f"Channel {n % 3}", 10 * n + number) for n in range(9)]
        store_videos(TODAY - number * DAY, *videos)
    seeds = ["Channel 2", "channel 0", web.url("/a.xml"), "CHANNEL 1"]
    first = run(COMPETITOR_SEEDS=",".join(seeds))
    second = run(COMPETITOR_SEEDS=",".join(reversed(seeds)))
    assert first == second
