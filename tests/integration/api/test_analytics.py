"""Analytics over the API: a run is published, a real worker does it, and its numbers are read."""

import subprocess
from typing import Any

import pytest
import redis

from nova.analytics.reports import STORE
from nova.api.security import Role
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess

RUN = "/api/celery/analytics/run"
CSV = b"""day,channel,views,ctr
2026-03-28,[a],10,1.5
2026-03-28,b/c,20,
2026-03-29,[a],30,2.5
2026-03-29,b/c,25,
2026-03-29,new,1,
"""


def get(api: ApiProcess, path: str) -> tuple[int, dict[str, Any]]:
    answer = api.get(f"/api/analytics/{path}", Role.VIEWER)
    return answer.status_code, answer.json()


@pytest.fixture
def processed(
    api: ApiProcess, client: redis.Redis, worker: "subprocess.Popen[bytes]"
) -> ApiProcess:
    """The API, after a worker has run analytics for what was uploaded."""
    assert api.request("POST", "/api/metrics", Role.ADMIN, content=CSV).status_code == 200
    answer = api.request("POST", RUN, Role.OPERATOR, json={"day": "2026-03-29"})
    assert answer.status_code == 202
    wait_until(lambda: STORE.find(client, answer.json()["task_id"]) is not None)
    return api


def test_what_a_run_found_is_read_with_types_pages_and_problems(processed: ApiProcess) -> None:
    status, page = get(processed, "leaderboards/views?offset=1&limit=1")
    assert (status, page["total"], page["compared_with"]) == (200, 3, "day:2026-03-28")
    assert page["standings"] == [
        {"rank": 2, "channel": "b/c", "value": 25.0, "previous_rank": 1, "rank_change": -1}
    ]
    status, week = get(processed, "leaderboards/ctr?period=week&day=2026-03-24")
    assert (week["measure"], week["standings"][0]["value"]) == ("mean", 2.0)
    status, categories = get(processed, "categories?period=month&day=2026-03-01")
    assert (status, categories["rows"], categories["categories"]) == (200, 5, [])
    status, found = get(processed, "channels/b/c?day=2026-03-29")
    assert (status, found["channel"], found["spans"][0]["metrics"][0]["rank"]) == (200, "b/c", 2)
    report = processed.get("/api/reports/analytics/latest", Role.VIEWER).json()
    assert (report["day"], report["basis"]["rows"]) == ("2026-03-29", 5)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("leaderboards/likse", 422),
        ("leaderboards/views?period=year", 422),
        ("leaderboards/views?day=yesterday", 422),
        ("leaderboards/views?offset=99999999999999999999", 422),
        ("leaderboards/views?period=week&day=0001-01-01", 404),
        ("leaderboards/views?period=month&day=9999-12-31", 404),
        ("leaderboards/views", 404),
        ("categories", 404),
        ("channels/nobody", 404),
        ("channels/nobody?day=0001-01-01", 404),
        ("channels/%00", 404),
    ],
)
def test_what_cannot_be_answered_is_a_problem(api: ApiProcess, path: str, status: int) -> None:
    found, problem = get(api, path)
    assert (found, problem["status"]) == (status, status)


def test_a_run_takes_a_day_or_nothing(api: ApiProcess, client: redis.Redis) -> None:
    assert api.request("POST", RUN, Role.OPERATOR).status_code == 202
    assert api.request("POST", RUN, Role.OPERATOR, json={"day": "29 March"}).status_code == 422
    assert api.request("POST", RUN, Role.OPERATOR, json={"days": 3}).status_code == 422
    assert client.llen("analytics") == 1
