"""Reading sources: feeds, JSON and ingested lists; `nova sources check` says how each went."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import redis

from nova import cli
from nova.settings import Settings, get_settings
from nova.source_reading import Reading, read_sources
from nova.sources import parse_sources
from nova.store import Keys
from nova.videos import Video, VideoSource, field, pack
from tests.integration.fetching.conftest import WebServer

FEED = (
    b'<rss version="2.0"><channel><title>N</title><item><title>Cats</title></item></channel></rss>'
)


@pytest.fixture
def file(web: WebServer, tmp_path: Path) -> Path:
    """A file of one source of each kind, all alive but the last."""
    web.say("/feed", FEED, ETag='"1"')
    web.say("/charts", b'{"list": [{"t": "Dogs", "v": 5}, {}]}')
    web.say("/broken", b"<html>")
    path = tmp_path / "sources.yml"
    path.write_text(
        f"""
sources:
  - {{name: lists, kind: trending}}
  - {{name: feed, kind: rss, url: "{web.url("/feed")}"}}
  - name: charts
    kind: json
    url: {web.url("/charts")}
    fields: {{items: list, title: t, views: v}}
  - {{name: broken, kind: rss, url: "{web.url("/broken?key=hunter2")}"}}
"""
    )
    return path


def ingest_list(client: redis.Redis, day: date) -> None:
    """Put a trending list of one video where ingest puts it, and a newer day without a list."""
    listed = Video("v1", VideoSource.TRENDING, "Birds", "Tom", views=9)
    own = Video("v2", VideoSource.STUDIO, "Mine", "Us", views=1)
    for offset, video in enumerate((listed, own)):
        at = date.fromordinal(day.toordinal() + offset)
        client.hset(Keys.video_day(at), field(video.source, video.id), pack(video))
        client.zadd(Keys.VIDEO_DAYS, {at.isoformat(): int(f"{at:%Y%m%d}")})


def read(client: redis.Redis, settings: Settings, file: Path) -> dict[str, Reading]:
    sources = parse_sources(file.read_text(), "sources.yml")
    readings = read_sources(client, settings, sources)
    assert [reading.source for reading in readings] == list(sources)
    return {reading.source.name: reading for reading in readings}


def test_every_kind_is_read_and_a_dead_one_is_a_line(
    client: redis.Redis, make_settings: Callable[..., Settings], file: Path
) -> None:
    ingest_list(client, date(2024, 5, 1))
    settings = make_settings(NOVA_FETCH_PAUSE_SECONDS=0)
    found = read(client, settings, file)
    titles = {
        name: [item.title for item in reading.items.items]
        for name, reading in found.items()
        if reading.items
    }
    assert titles == {"lists": ["Birds"], "feed": ["Cats"], "charts": ["Dogs"]}
    assert found["lists"].fetched_at == datetime(2024, 5, 1, tzinfo=UTC)
    assert found["charts"].items is not None
    assert found["charts"].items.left_out == 1
    error = str(found["broken"].error)
    assert error.endswith("/broken?...: its answer is neither an RSS nor an Atom feed")
    assert read(client, settings, file)["feed"].from_cache is False, "no 304, so not unchanged"


def test_check_prints_a_table_and_fails_if_one_fails(
    client: redis.Redis,
    redis_url: str,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No list was ingested, and one feed is none: two lines say so, the other two are read."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("NOVA_SOURCES", str(file))
    monkeypatch.setenv("NOVA_FETCH_PAUSE_SECONDS", "0")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["nova", "sources", *arguments])
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        get_settings.cache_clear()
        return int(caught.value.code or 0), capsys.readouterr().out

    code, text = run("check")
    assert code == 1
    assert "lists: no trending list was ingested; load one with nova ingest" in text
    assert "hunter2" not in text
    code, text = run("check", "--json")
    answers = {answer["name"]: answer for answer in json.loads(text)}
    assert code == 1
    assert {name: answer["status"] for name, answer in answers.items()} == {
        "lists": "failed",
        "feed": "ok",
        "charts": "ok",
        "broken": "failed",
    }
    assert (answers["charts"]["items"], answers["charts"]["left_out"]) == (1, 1)
    assert answers["feed"]["latency_seconds"] > 0
    ingest_list(client, date(2024, 5, 1))
    file.write_text(file.read_text().partition("  - {name: broken")[0])
    assert run("check")[0] == 0
    code, text = run("list", "--json")
    assert (code, [source["name"] for source in json.loads(text)]) == (
        0,
        ["lists", "feed", "charts"],
    )
