"""The pause of the API, with a real API process."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import redis

from nova import metrics
from nova.api.security import Role
from nova.errors import InputError, NovaError
from nova.operations import commands
from nova.operations.audit import read_audit
from nova.operations.pause import pause_api, read_pause
from nova.runtime import fleet_commands
from nova.settings import Settings
from nova.store import Keys
from tests.conftest import Invoke, wait_until
from tests.integration.api.conftest import ApiProcess, running_api

PATH = "/api/celery/queues"


@pytest.fixture
def api(
    client: redis.Redis, process_environment: dict[str, str], tmp_path: Path
) -> Iterator[ApiProcess]:
    with running_api(process_environment, tmp_path) as process:
        yield process


@pytest.fixture
def nova(command_line: Callable[..., Invoke]) -> Invoke:
    return command_line(commands, fleet_commands)


def test_callers_get_503_with_the_reason_and_probes_go_on(
    api: ApiProcess, client: redis.Redis, nova: Invoke
) -> None:
    assert api.get(PATH, Role.VIEWER).status_code == 200
    nova("api-pause", "on", "--for", "30m", "--reason", "moving Redis", "--by", "ann")
    answer = api.get(PATH, Role.ADMIN)
    assert answer.status_code == 503
    assert 1790 <= int(answer.headers["Retry-After"]) <= 1800
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:nova:problem:paused"
    assert "moving Redis" in problem["detail"]
    assert api.request("POST", "/api/celery/governance/run", Role.OPERATOR).status_code == 503
    assert client.llen("governance") == 0
    for path in ("/healthz", "/readyz", "/metrics"):
        assert api.get(path).status_code == 200
    assert api.get(PATH).status_code == 401, "without a token nothing is told"
    assert "paused" not in api.log.read_text(), "the log is not flooded"

    assert nova("api-pause", "off", "--by", "bob") == "API: resumed.\n"
    assert api.get(PATH, Role.VIEWER).status_code == 200
    assert nova("api-pause", "off") == "API: it was not paused.\n"
    told = [(entry.by, entry.action, entry.detail) for entry in read_audit(client, 5)]
    assert told == [("bob", "resume the API", ""), ("ann", "pause the API", "moving Redis")]


def test_it_ends_by_itself(api: ApiProcess, client: redis.Redis, settings: Settings) -> None:
    pause_api(client, settings, duration=timedelta(seconds=5), reason="short", by="ann")
    assert 1 <= int(api.get(PATH, Role.VIEWER).headers["Retry-After"]) <= 5
    wait_until(lambda: api.get(PATH, Role.VIEWER).status_code == 200)
    assert read_pause(client) is None


def test_a_revoked_token_stays_revoked(api: ApiProcess, client: redis.Redis, nova: Invoke) -> None:
    """Who must not call is told that, and not why the API is paused."""
    nova("api-pause", "on", "--for", "1h", "--reason", "moving Redis")
    headers = api.headers(Role.VIEWER)
    token = api.tokens.check(headers["Authorization"].removeprefix("Bearer "))
    client.set(Keys.revoked_token(token.token_id), "1")
    assert httpx.get(api.url + PATH, headers=headers, timeout=30).status_code == 401


def test_status_and_metrics_tell_of_the_pause_and_of_the_lock(
    client: redis.Redis, nova: Invoke
) -> None:
    def samples() -> list[float]:
        lines = metrics.render(client).decode().splitlines()
        names = ("nova_api_pause_seconds ", "nova_fleet_lock_seconds ")
        return sorted(float(line.split()[1]) for line in lines if line.startswith(names))

    assert samples() == [0, 0]
    quiet = json.loads(nova("status", "--json"))
    assert (quiet["lock"], quiet["api_pause"]) == (None, None)
    nova("fleet", "lock", "--owner", "ann", "--reason", "deploy 2")
    nova("api-pause", "on", "--for", "1h", "--reason", "moving Redis")
    held, left = samples()
    assert 0 < held < 60
    assert 3500 < left <= 3600
    shown = nova("status")
    assert "Lock: ann works on the fleet, for: deploy 2" in shown
    assert "moving Redis" in shown
    told = json.loads(nova("status", "--json"))
    assert (told["lock"]["owner"], told["api_pause"]["reason"]) == ("ann", "moving Redis")
    assert json.loads(nova("fleet", "show", "--json"))["api_pause"] == told["api_pause"]
    assert json.loads(nova("api-pause", "show", "--json")) == told["api_pause"]


@pytest.mark.parametrize("duration", ["0s", "8d"])
def test_a_pause_has_an_end_in_sight(client: redis.Redis, nova: Invoke, duration: str) -> None:
    with pytest.raises(InputError, match="1 second to 7 days"):
        nova("api-pause", "on", "--for", duration, "--reason", "moving Redis")
    with pytest.raises(NovaError, match="--reason"):
        nova("api-pause", "on", "--for", "1h", "--reason", "")
    assert read_pause(client) is None
