"""Scans over a real Redis and a real web server, day after day."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import redis

from nova.errors import InputError
from nova.fetching import Fetcher
from nova.memory import MAX_VALUE_BYTES, Memory
from nova.settings import Settings
from nova.sources import load_sources
from nova.trends.models import RisingTopic, SourceNote, TrendReport
from nova.trends.service import scan_trends
from nova.videos import Video, VideoSource
from tests.integration.fetching.conftest import WebServer
from tests.integration.trends.conftest import StoreVideos

TODAY = date(2026, 3, 14)
YESTERDAY = TODAY - timedelta(days=1)
MakeSettings = Callable[..., Settings]


def rss(*titles: str) -> bytes:
    """Return a feed whose entries have an author each."""
    entries = "".join(
        f"<item><title>{title}</title><author>Writer {number}</author></item>"
        for number, title in enumerate(titles)
    )
    return f'<rss version="2.0"><channel><title>R</title>{entries}</channel></rss>'.encode()


def atom(*titles: str) -> bytes:
    """Return a feed without authors: its title counts as the channel."""
    entries = "".join(f"<entry><title>{title}</title></entry>" for title in titles)
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><title>A</title>{entries}</feed>'.encode()


def listed(*titles: str, views: int = 100) -> list[Video]:
    """Return videos of a trending list, each of a channel of its own."""
    return [
        Video(f"v{number}", VideoSource.TRENDING, title, f"Channel {number}", views=views)
        for number, title in enumerate(titles)
    ]


def scan(
    client: redis.Redis, settings: Settings, now: date, day: date | None = None
) -> TrendReport:
    """Scan and remember, as the task does; requests that fail are repeated at once."""
    targets = [source.target for source in load_sources(settings) if source.target]
    fetcher = Fetcher(client, settings, targets, sleep=lambda _: None)
    at = datetime(now.year, now.month, now.day, 6, tzinfo=UTC)
    found = scan_trends(client, settings, "r1", now=at, day=day, fetcher=fetcher)
    assert found is not None
    effects = client.pipeline()
    Memory(client).record(effects, "trends", found.remember)
    effects.execute()
    return found.report


def sources(report: TrendReport) -> dict[str, SourceNote]:
    return {source.name: source for source in report.sources}


def topics(found: Sequence[RisingTopic]) -> dict[str, RisingTopic]:
    return {topic.name: topic for topic in found}


@pytest.fixture
def web_settings(web: WebServer, make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """Settings with a feed of each kind and two dead sources; one has no server at all."""
    path = tmp_path / "sources.yml"
    path.write_text(
        f"""
sources:
  - {{name: dead, kind: rss, url: "{web.url("/dead")}"}}
  - {{name: nobody, kind: rss, url: "http://127.0.0.1:9/"}}
  - {{name: news, kind: rss, url: "{web.url("/rss")}"}}
  - {{name: blog, kind: rss, url: "{web.url("/atom")}"}}
  - {{name: charts, kind: json, url: "{web.url("/json")}", fields: {{title: t, channel: c}}}}
  - {{name: lists, kind: trending}}
"""
    )
    web.say("/dead", status=404)
    web.say("/rss", rss("Dogs at home", "Tulips"), ETag='"1"')
    web.say("/atom", atom("Dogs at home", "Roses"))
    web.say("/json", b'[{"t": "Dogs at home", "c": "Jay"}, {"t": "Lilies", "c": "Kay"}, {}]')
    return make_settings(NOVA_SOURCES=path, NOVA_FETCH_PAUSE_SECONDS=0)


def test_feeds_get_a_past_day_by_day_and_a_dead_source_is_a_line(
    client: redis.Redis, web: WebServer, web_settings: Settings, store_videos: StoreVideos
) -> None:
    """On the first day nothing can be compared; on the second the volcano is news everywhere."""
    first = scan(client, web_settings, YESTERDAY)
    assert first.rising_total == first.topics_seen == 0
    assert {name: source.titles for name, source in sources(first).items()} == {
        "dead": 0, "nobody": 0, "news": 2, "blog": 2, "charts": 2, "lists": 0
    }  # fmt: skip
    told = {omission.what: omission for omission in first.basis.left_out}
    assert told["source dead"].reason == f"{web.url('/dead')}: answers 404 Not Found"
    assert "http://127.0.0.1:9/: cannot be reached" in told["source nobody"].reason
    assert told["source news"].reason == f"no title before {YESTERDAY} to compare with"
    assert told["source lists"].reason == "no trending list was ingested"
    assert told["entries of charts"].count == 1

    web.say("/rss", status=304)
    web.say("/atom", atom("Volcano erupts", "Roses"))
    web.say("/json", b'[{"t": "A volcano", "c": "Jay"}, {"t": "Volcano live", "c": "Kay"}]')
    store_videos(YESTERDAY, *listed("Dogs", "Cats"))
    store_videos(TODAY, *listed("Volcano", "Cats"))
    second = scan(client, web_settings, TODAY)
    asked = [headers.get("If-None-Match") for path, headers, _ in web.requests if path == "/rss"]
    assert asked == [None, '"1"']
    assert sources(second)["news"].titles == 2, "what has not changed still counts"
    assert second.basis.days_used == [YESTERDAY, TODAY]
    assert second.basis.sources == ["news", "blog", "charts", "lists"]
    [volcano] = second.opportunities
    assert (volcano.name, volcano.titles, volcano.expected) == ("volcano", 4, 0.0)
    assert volcano.sources == ["blog", "charts", "lists"]
    assert volcano.channels == ["A", "Channel 0", "Jay", "Kay"]
    assert [count.titles for count in volcano.history] == [0, 4]


def test_a_second_scan_of_a_day_replaces_what_is_remembered_of_it(
    client: redis.Redis, web: WebServer, web_settings: Settings
) -> None:
    scan(client, web_settings, YESTERDAY)
    once = scan(client, web_settings, TODAY)
    web.say("/atom", atom("Orchids"))
    again = scan(client, web_settings, TODAY)
    assert sources(once)["blog"].titles == 2
    assert sources(again)["blog"].titles == 1
    assert sources(again)["blog"].past_titles == 2, "the day's first scan is no past"
    assert client.hlen("nova:memory:of:trends") == 2 * 3


def test_a_day_that_has_passed_is_scanned_by_memory_and_fetches_nothing(
    client: redis.Redis, web: WebServer, web_settings: Settings
) -> None:
    scan(client, web_settings, YESTERDAY)
    on_the_day = scan(client, web_settings, TODAY)
    asked = len(web.requests)
    later = scan(client, web_settings, TODAY + timedelta(days=5), day=TODAY)
    assert len(web.requests) == asked
    assert later.opportunities == on_the_day.opportunities
    assert sources(later)["news"] == sources(on_the_day)["news"]
    assert sources(later)["dead"].not_counted == f"nothing is remembered of {TODAY}"


def test_of_a_large_source_counts_what_is_remembered(
    client: redis.Redis, web: WebServer, web_settings: Settings
) -> None:
    """Else the past would be shorter than the present, and everything would seem to rise."""
    titles = [f"Title {number} " + "é" * 200 for number in range(500)]
    web.say("/rss", rss(*titles))
    report = scan(client, web_settings, TODAY)
    kept = sources(report)["news"].titles
    assert 0 < kept < MAX_VALUE_BYTES / 400
    [cut] = [one for one in report.basis.left_out if one.what == "entries of news"]
    assert cut.count == 500 - kept
    assert "beyond the first 64 KiB" in cut.reason
    size = client.hstrlen("nova:memory:of:trends", f"news {TODAY}")
    assert MAX_VALUE_BYTES - 450 < size <= MAX_VALUE_BYTES


def test_what_somebody_else_wrote_into_memory_costs_one_source(
    client: redis.Redis, web_settings: Settings
) -> None:
    Memory(client).put("trends", f"news {YESTERDAY}", {"dogs": 3})
    report = scan(client, web_settings, TODAY)
    error = sources(report)["news"].not_counted
    assert error is not None
    assert f"remove it: nova memory forget trends 'news {YESTERDAY}'" in error
    assert sources(report)["blog"].titles == 2


def test_without_a_file_of_sources_the_newest_ingested_list_is_scanned(
    client: redis.Redis, settings: Settings, store_videos: StoreVideos
) -> None:
    """Newer videos of another source, as of a Studio export, do not hide it."""
    store_videos(TODAY - timedelta(days=900), *listed("Dogs", "Cats"))
    store_videos(TODAY - timedelta(days=899), *listed("Birds", "Birds two", ""))
    store_videos(TODAY, Video("s", VideoSource.STUDIO, "Ours", "Us"))
    report = scan(client, settings, TODAY)
    assert report.day == TODAY - timedelta(days=899)
    assert list(topics(report.opportunities)) == ["birds"]
    untitled = next(one for one in report.basis.left_out if one.what == "entries of trending")
    assert untitled.count == 1


@pytest.mark.parametrize(("age", "counts"), [(0, True), (1, True), (2, False), (30, False)])
def test_a_list_of_yesterday_counts_as_now_an_older_one_is_left_out(
    client: redis.Redis, settings: Settings, store_videos: StoreVideos, age: int, counts: bool
) -> None:
    newest = TODAY - timedelta(days=age)
    store_videos(newest, *listed("Birds", "Birds two"))
    store_videos(newest - timedelta(days=1), *listed("Dogs", "Cats"))
    report = scan(client, settings, TODAY, day=TODAY)
    error = f"no list of {TODAY} or the day before; the newest is of {newest}"
    assert sources(report)["trending"].not_counted == (None if counts else error)
    assert (report.topics_seen > 0) == counts


def test_what_our_exports_and_our_listed_videos_are_about_is_covered(
    client: redis.Redis, make_settings: MakeSettings, store_videos: StoreVideos
) -> None:
    store_videos(YESTERDAY, *listed("Nothing"))
    store_videos(
        TODAY, *listed("Birds", "Bird songs", "Robots", "Robots two", "Snakes", "Snakes two")
    )
    store_videos(date(2020, 1, 1), Video("s", VideoSource.STUDIO, "My bird", "Us"))
    report = scan(client, make_settings(NOVA_OWN_CHANNELS="us,channel 2"), TODAY)
    assert set(topics(report.opportunities)) == {"snakes"}
    covered = topics(report.covered)
    assert {name: topic.covered_by for name, topic in covered.items()} == {
        "bird": ["Us"],
        "robots": ["Channel 2"],
    }


def test_without_any_list_and_any_other_source_there_is_nothing_to_scan(
    client: redis.Redis, settings: Settings
) -> None:
    at = datetime(2026, 3, 14, tzinfo=UTC)
    assert scan_trends(client, settings, "r1", now=at) is None


def test_a_day_that_has_not_come_is_refused(client: redis.Redis, settings: Settings) -> None:
    at = datetime(2026, 3, 14, 23, 59, tzinfo=UTC)
    with pytest.raises(InputError, match="2026-03-15 has not come yet; today is 2026-03-14"):
        scan_trends(client, settings, "r1", now=at, day=date(2026, 3, 15))
