"""The task through a real worker, published by the real command, with a real web server."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from nova.memory import Memory
from nova.trends.reports import STORE
from nova.videos import Video, VideoSource
from tests.integration.fetching.conftest import WebServer
from tests.integration.trends.conftest import StoreVideos

COMMAND = (sys.executable, "-m", "nova", "trigger", "trends")
FEED = '<rss version="2.0"><channel><title>N</title>{}</channel></rss>'
DAY = date(2024, 5, 2)


def run(environment: dict[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    """Run `nova trigger trends` in a process of its own."""
    command = [*COMMAND, *options]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def trigger(environment: dict[str, str], *options: str) -> dict[str, Any]:
    """Trigger a scan that ends well; return what the command says in JSON."""
    done = run(environment, "--json", "--wait", "--timeout", "30", *options)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def lists(store_videos: StoreVideos) -> None:
    """Two days of a trending list; on the second everybody has birds."""
    for day, word in ((DAY - timedelta(days=1), "Dogs"), (DAY, "Birds")):
        videos = [
            Video(f"v{n}", VideoSource.TRENDING, f"{word} {n}", f"Channel {n}") for n in range(3)
        ]
        store_videos(day, *videos)


def test_a_triggered_scan_gives_a_report_whose_id_is_the_tasks(
    worker: "subprocess.Popen[bytes]",
    process_environment: dict[str, str],
    client: redis.Redis,
    lists: None,
) -> None:
    answer = trigger(process_environment)
    report = STORE.get(client, answer["task_id"])
    assert report.day == DAY
    assert [topic.name for topic in report.opportunities] == ["birds"]
    message = "2024-05-02: 1 rising topics, 1 of them not covered by us: birds"
    assert answer["result"] == {
        "report_id": report.id,
        "day": "2024-05-02",
        "rising": 1,
        "opportunities": 1,
        "message": message,
    }
    before = trigger(process_environment, "--day", "2024-05-01")
    assert before["result"]["rising"] == 0
    assert STORE.list(client).total == 2


def test_a_scan_remembers_feeds_together_with_its_report(
    worker_environment: dict[str, str],
    client: redis.Redis,
    web: WebServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Over a feed, a page that is none, and nothing else; the second scan of today replaces."""
    path = tmp_path / "sources.yml"
    path.write_text(
        f"""
sources:
  - {{name: news, kind: rss, url: "{web.url("/feed")}"}}
  - {{name: broken, kind: rss, url: "{web.url("/page")}"}}
"""
    )
    web.say("/page", b"<html>")
    worker_environment |= {"NOVA_SOURCES": str(path), "NOVA_FETCH_PAUSE_SECONDS": "0"}
    request.getfixturevalue("worker")
    started = datetime.now(UTC).date()
    for title in ("Cats", "Dogs"):
        web.say("/feed", FEED.format(f"<item><title>{title}</title></item>").encode())
        answer = trigger(worker_environment)
        report = STORE.get(client, answer["task_id"])
        assert started <= report.day <= datetime.now(UTC).date()
        errors = {source.name: source.not_counted for source in report.sources}
        assert "its answer is neither an RSS nor an Atom feed" in str(errors["broken"])
        remembered = Memory(client).get("trends", f"news {report.day}")
        assert remembered == [[title, "N", None]]


def test_without_anything_to_scan_the_answer_is_plain(
    worker: "subprocess.Popen[bytes]", process_environment: dict[str, str]
) -> None:
    answer = trigger(process_environment)
    assert answer["result"] == {
        "report_id": None,
        "message": "no trending list was ingested and no other source is configured: "
        "nothing to scan",
    }


def test_a_wrong_day_is_refused_when_it_is_published(
    process_environment: dict[str, str], client: redis.Redis
) -> None:
    done = run(process_environment, "--day", "2024-02-30")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "nova.trends.daily_trend_scan_task: argument day" in line
    assert client.llen("trends") == 0


def test_a_wrong_file_of_sources_fails_the_task_with_the_line_that_says_what_is_wrong(
    worker_environment: dict[str, str],
    client: redis.Redis,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    path = tmp_path / "own.yml"
    path.write_text("sources:\n  - {name: a, kind: rss}\n")
    worker_environment["NOVA_SOURCES"] = str(path)
    request.getfixturevalue("worker")
    done = run(worker_environment, "--wait", "--timeout", "30")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("nova: sources")
    assert "own.yml: line 2, sources.0: kind rss needs a url" in line
