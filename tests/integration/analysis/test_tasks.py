"""The task through a real worker, published by the real command, with a real web server."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis

from nova.analysis.models import Origin, Outcome
from nova.analysis.reports import STORE
from nova.api.security import Role
from nova.videos import Video, VideoSource
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess
from tests.integration.fetching.conftest import WebServer
from tests.integration.trends.conftest import StoreVideos

NOVA = (sys.executable, "-m", "nova")
FEED = (
    '<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>Mars</title><published>{}</published>'
    "<author><name>Fed</name></author></entry></feed>"
)
DAY = date(2024, 5, 2)


def nova(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command `nova` in a process of its own."""
    command = [*NOVA, *words]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def trigger(environment: dict[str, str], *options: str) -> dict[str, Any]:
    """Trigger an analysis that ends well; return what the command says in JSON."""
    words = ("trigger", "analysis", "--json", "--wait", "--timeout", "30")
    done = nova(environment, *words, *options)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def lists(store_videos: StoreVideos) -> None:
    """Two days of a trending list, and a video of ours."""
    for number in range(2):
        day = DAY - timedelta(days=number)
        them = Video("v1", VideoSource.TRENDING, "Cats", "Them", views=100 - number)
        store_videos(day, them, Video("v2", VideoSource.TRENDING, "Cats", "Others", views=5))
    store_videos(DAY, Video("s1", VideoSource.STUDIO, "Dogs", "Us", views=50))


def test_the_weekly_run_compares_the_seeds_of_the_setting_and_its_feeds(
    worker_environment: dict[str, str],
    client: redis.Redis,
    lists: None,
    web: WebServer,
    request: pytest.FixtureRequest,
) -> None:
    web.say("/a.xml", FEED.format(datetime.now(UTC).isoformat()).encode())
    seeds = f"them, others, nobody, {web.url('/a.xml')}"
    worker_environment |= {"COMPETITOR_SEEDS": seeds, "NOVA_FETCH_PAUSE_SECONDS": "0"}
    request.getfixturevalue("worker")
    answer = trigger(worker_environment)
    report = STORE.get(client, answer["task_id"])
    assert [(one.channel, one.origin) for one in report.competitors] == [
        ("Them", Origin.LISTS),
        ("Others", Origin.LISTS),
        ("Fed", Origin.FEED),
    ]
    assert web.paths == ["/a.xml"]
    assert report.by_setting
    assert answer["result"] == {
        "report_id": report.id,
        "day": str(report.day),
        "competitors": 3,
        "not_found": 1,
        "message": report.headline,
    }
    assert "Us is 2 of 3 by median views" in report.headline
    shown = nova(worker_environment, "report", "show", report.id)
    assert "ours: Us" in shown.stdout
    assert "seed nobody" in shown.stdout


def test_others_can_be_asked_about_and_the_last_report_is_compared_with(
    worker: "subprocess.Popen[bytes]",
    process_environment: dict[str, str],
    client: redis.Redis,
    lists: None,
) -> None:
    options = ("--seed", "THEM", "--seed", "Red, White")
    first = trigger(process_environment, "--day", "2024-05-01", *options)
    second = trigger(process_environment, "--day", "2024-05-02", *options)
    report = STORE.get(client, second["task_id"])
    assert not report.by_setting
    assert {note.seed: note.outcome for note in report.seeds} == {
        "THEM": Outcome.FOUND,
        "Red, White": Outcome.NOT_FOUND,
    }
    assert report.compared_with
    assert report.compared_with.report_id == first["task_id"]
    [them] = report.competitors
    assert them.change
    assert them.change.median_views == 1
    assert STORE.list(client).total == 2


def test_without_seeds_the_answer_is_plain_and_no_report_is_made(
    worker: "subprocess.Popen[bytes]", process_environment: dict[str, str], client: redis.Redis
) -> None:
    answer = trigger(process_environment)
    assert answer["result"] == {
        "report_id": None,
        "message": "COMPETITOR_SEEDS is not set: nobody to compare us with",
    }
    assert STORE.list(client).total == 0


def test_the_api_publishes_a_run_and_shows_its_report(
    worker: "subprocess.Popen[bytes]", client: redis.Redis, lists: None, api: ApiProcess
) -> None:
    asked = {"day": "2024-05-02", "seeds": ["Them"]}
    path = "/api/celery/analysis/run"
    answer = api.request("POST", path, Role.OPERATOR, json=asked)
    assert answer.status_code == 202
    task_id = answer.json()["task_id"]
    wait_until(lambda: STORE.find(client, task_id))
    report = api.get(f"/api/reports/analysis/{task_id}", Role.VIEWER).json()
    assert [one["channel"] for one in report["competitors"]] == ["Them"]
    assert report["own"][0]["ranks"]["median_views"] == 2
    [line] = api.get("/api/reports/analysis", Role.VIEWER).json()["reports"]
    assert (line["id"], line["competitors_total"], line["by_setting"]) == (task_id, 1, False)
    refused: list[dict[str, object]] = [{"seeds": []}, {"seeds": [""]}, {"seeds": "Them"}]
    refused += [{"day": "today"}, {"competitors": ["Them"]}]
    for wrong in refused:
        assert api.request("POST", path, Role.OPERATOR, json=wrong).status_code == 422, wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--day", "02.05.2024"), "argument day"),
        (("--seed", ""), "argument seeds.0"),
        (tuple("--seed=x" for _ in range(101)), "argument seeds"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_published(
    process_environment: dict[str, str],
    client: redis.Redis,
    options: tuple[str, ...],
    message: str,
) -> None:
    done = nova(process_environment, "trigger", "analysis", *options)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert message in line
    assert client.llen("analysis") == 0
