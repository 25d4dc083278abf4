"""What one run of a loop changes: everything in place of beat, nothing but its report beside it."""

import json
import subprocess
import sys
from datetime import date, timedelta
from typing import Any

import pytest
import redis

from nova.channels import day_score, pack
from nova.domains import DOMAINS
from nova.store import Keys
from nova.videos import Video, VideoSource, field
from nova.videos import pack as pack_video

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
DAYS = [date(2026, 3, 28) - timedelta(days=back) for back in range(10)]
RUN = """
import json, sys
from datetime import UTC, datetime
from nova.celery_app import app
from nova.domains import DOMAINS
from nova.legacy.runs import Planned, execute
from nova.settings import get_settings
from nova.store import connect

reports_only = sys.argv[1] == "beside"
ignored = (b"nova:cache:", b"nova:legacy:")

def snapshot(client):
    keys = [key for key in client.scan_iter(count=1000) if not key.startswith(ignored)]
    return {key.decode(): client.dump(key) for key in keys}

with connect(get_settings()) as client:
    for name, domain in DOMAINS.items():
        slot = datetime(2026, 3, 29, 2, tzinfo=UTC)
        planned = Planned(f"entry-{name}", domain.task, slot, reports_only)
        before = snapshot(client)
        ending = execute(app, client, planned)
        after = snapshot(client)
        changed = [key for key in {*before, *after} if before.get(key) != after.get(key)]
        print(json.dumps({"domain": name, "id": planned.id, "ending": ending, "changed": changed}))
"""


@pytest.fixture
def data(client: Client) -> None:
    """Thirty channels and their videos on ten days."""
    for number, day in enumerate(DAYS):
        for channel in range(30):
            values = {"views": 1000.0 * (channel + 1) + 10 * number, "revenue": 2.0 * channel}
            client.hset(Keys.metric_day(day), f"channel-{channel:02}", pack(values))
            video = Video(
                id=f"v{channel}",
                source=VideoSource.TRENDING,
                title=f"Rising volcano number {channel}",
                channel=f"channel-{channel:02}",
                views=1000 * channel,
            )
            client.hset(Keys.video_day(day), field(video.source, video.id), pack_video(video))
        for index in (Keys.METRIC_DAYS, Keys.VIDEO_DAYS):
            client.zadd(index, {day.isoformat(): day_score(day)})
    # A report past its retention: maintenance removes it.
    client.set(Keys.report("trends", "old"), "{}")
    client.zadd(Keys.reports("trends"), {"old": 1})


def run_all(environment: dict[str, str], kind: str) -> dict[str, dict[str, Any]]:
    """Run every domain in a process as the API's; return by domain what it did."""
    command = [sys.executable, "-c", RUN, kind]
    environment = environment | {"COMPETITOR_SEEDS": "channel-03"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {answer["domain"]: answer for answer in answers}


@pytest.mark.usefixtures("data")
def test_beside_beat_every_domain_reports_and_changes_nothing(
    client: Client, process_environment: dict[str, str]
) -> None:
    """But for the aggregates of analytics, the same whoever brings them up to date."""
    found = run_all(process_environment, "beside")
    assert set(found) == set(DOMAINS)
    for name, answer in found.items():
        assert answer["ending"]["status"] == "SUCCESS", answer
        changed = [key for key in answer["changed"] if not may_change(key)]
        assert changed == [], name
        if answer["ending"]["report_id"]:
            stored = client.get(Keys.legacy_report(name, answer["id"]))
            report = DOMAINS[name].store.model.model_validate_json(stored)
            assert report.id == answer["id"]
            assert client.ttl(Keys.legacy_report(name, answer["id"])) > 6 * 24 * 3600
    assert [n for n, a in found.items() if not a["ending"]["report_id"]] == []


def may_change(key: str) -> bool:
    """Whether a key is of analytics' aggregates, or expires by itself and nobody reads it."""
    is_report = key.startswith("nova:analytics:report")
    return (key.startswith("nova:analytics:") and not is_report) or ":staging:" in key


@pytest.mark.usefixtures("data")
def test_in_place_of_beat_every_domain_has_its_effects(
    client: Client, process_environment: dict[str, str]
) -> None:
    """Its report is the domain's newest, its result is stored, and what is to go is gone."""
    found = run_all(process_environment, "alone")
    for name, answer in found.items():
        assert answer["ending"]["status"] == "SUCCESS", answer
        assert DOMAINS[name].store.get(client).id == answer["id"]
    assert b"report_id" in client.get(Keys.result(found["governance"]["id"]))
    assert not client.exists(Keys.report("trends", "old"))


def test_a_run_without_data_says_so_and_has_no_report(
    client: redis.Redis, process_environment: dict[str, str]
) -> None:
    """As the task does."""
    found = run_all(process_environment, "beside")
    assert found["governance"]["ending"]["report_id"] == ""
    assert "nothing to judge" in found["governance"]["ending"]["message"]
    assert client.keys(Keys.legacy_report("governance", "*")) == []
