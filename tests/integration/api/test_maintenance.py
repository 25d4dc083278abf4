"""A cleanup published through the API, run by a real worker, read through the API."""

import subprocess

import pytest
import redis

from nova.api.security import Role
from nova.maintenance.reports import STORE
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess


def test_the_guides_call_of_the_api_publishes_a_run(
    api: ApiProcess, worker: "subprocess.Popen[bytes]", client: redis.Redis
) -> None:
    path = "/api/celery/maintenance/cleanup"
    answer = api.request("POST", f"{path}?max_age_hours=24", Role.OPERATOR)
    assert answer.status_code == 202
    task_id = answer.json()["task_id"]
    wait_until(lambda: STORE.find(client, task_id))
    found = api.get(f"/api/reports/maintenance/{task_id}", Role.VIEWER).json()
    assert (found["id"], found["max_age_hours"], found["dry_run"]) == (task_id, 24, False)

    again = api.request("POST", f"{path}?max_age_hours=48&dry_run=true", Role.OPERATOR)
    wait_until(lambda: STORE.find(client, again.json()["task_id"]))
    newest = api.get("/api/reports/maintenance/latest", Role.VIEWER).json()
    assert (newest["max_age_hours"], newest["dry_run"]) == (48, True)


@pytest.mark.parametrize("query", ["max_age_hours=0", "max_age_hours=8761", "dry_run=perhaps"])
def test_the_api_refuses_what_makes_no_sense(api: ApiProcess, query: str) -> None:
    path = f"/api/celery/maintenance/cleanup?{query}"
    assert api.request("POST", path, Role.OPERATOR).status_code == 422
