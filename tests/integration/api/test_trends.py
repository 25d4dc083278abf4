"""A scan published through the API, run by a real worker, read through the API."""

import subprocess
from datetime import date

import pytest
import redis

from nova.api.security import Role
from nova.trends.reports import STORE
from nova.videos import Video, VideoSource
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess
from tests.integration.trends.conftest import StoreVideos, store_videos

__all__ = ["store_videos"]

PATH = "/api/celery/trends/run"


def test_a_scan_is_published_for_a_day_or_for_the_newest_list(
    api: ApiProcess,
    worker: "subprocess.Popen[bytes]",
    client: redis.Redis,
    store_videos: StoreVideos,
) -> None:
    for day, word in ((1, "Dogs"), (2, "Birds")):
        videos = [Video(f"v{n}", VideoSource.TRENDING, f"{word} {n}", f"C{n}") for n in range(3)]
        store_videos(date(2024, 5, day), *videos)
    for body, scanned, rising in (({"day": "2024-05-01"}, "2024-05-01", 0), ({}, "2024-05-02", 1)):
        answer = api.request("POST", PATH, Role.OPERATOR, json=body)
        assert answer.status_code == 202
        task_id = answer.json()["task_id"]
        wait_until(lambda: STORE.find(client, task_id), api.log.read_text)  # noqa: B023 - at once
        found = api.get(f"/api/reports/trends/{task_id}", Role.VIEWER).json()
        assert (found["id"], found["day"], found["opportunities_total"]) == (
            task_id,
            scanned,
            rising,
        )
    listed = api.get("/api/reports/trends", Role.VIEWER).json()
    assert [line["day"] for line in listed["reports"]] == ["2024-05-02", "2024-05-01"]


@pytest.mark.parametrize("body", [{"day": "2024-02-30"}, {"day": 5.5}, {"days": "2024-05-01"}])
def test_the_api_refuses_what_is_no_day(api: ApiProcess, body: dict[str, object]) -> None:
    assert api.request("POST", PATH, Role.OPERATOR, json=body).status_code == 422
