"""A real API process on a real Redis, with a real worker where tasks run."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

import nova
from nova.api.app import create_app
from nova.api.security import Role
from nova.channels import METRIC_NAMES
from nova.queues import QUEUES
from nova.runtime import publishing
from nova.runtime.app import NovaCelery
from nova.runtime.connections import broker_connection
from nova.runtime.deliveries import OTHER_QUEUES
from nova.runtime.heartbeat import read_workers
from nova.runtime.issued import remember
from nova.settings import Settings
from nova.store import Keys
from tests.conftest import wait_until
from tests.integration.api.conftest import ApiProcess, StartApi
from tests.unit.api.conftest import NO_REDIS, Api


def sample_csv(days: int = 10, channels: int = 30) -> bytes:
    """Return channel metrics in Nova's own CSV; each channel has more views than the last."""
    lines = ["day,channel,views,likes,subscribers"]
    for day in range(1, days + 1):
        for number in range(channels):
            views = (number + 1) ** 3 * 10 + day
            lines.append(f"2026-03-{day:02},channel-{number:03},{views},{views // 20},{number}")
    return "\n".join(lines).encode() + b"\n"


def gauges(api: ApiProcess) -> dict[tuple[str, str], float]:
    """Return the samples of /metrics by name and queue."""
    answer = api.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, sample.labels.get("queue", "")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_status_of_a_fleet_without_workers(api: ApiProcess) -> None:
    answer = api.get("/api/celery/status", Role.VIEWER)
    assert answer.status_code == 200
    assert answer.json() == {
        "release": nova.__release__,
        "workers": [],
        "queues": dict.fromkeys(QUEUES, 0),
        "dead_letters": dict.fromkeys((*QUEUES, OTHER_QUEUES), 0),
        "beat": None,
    }


def test_status_and_metrics_show_workers_and_what_waits(
    api: ApiProcess, worker: "subprocess.Popen[bytes]", client: redis.Redis
) -> None:
    [heartbeat] = read_workers(client)
    status = api.get("/api/celery/status", Role.VIEWER).json()
    [shown] = status["workers"]
    assert (shown["name"], shown["pid"]) == (heartbeat.name, worker.pid)
    worker.terminate()
    worker.wait(timeout=30)
    client.rpush("trends", "waiting")
    assert api.get("/api/celery/status", Role.VIEWER).json()["queues"]["trends"] == 1
    assert gauges(api)["nova_queue_depth_tasks", "trends"] == 1


def test_idle_queues_are_shown_as_zero_by_every_api_process(
    start_api: StartApi, worker: "subprocess.Popen[bytes]"
) -> None:
    for api in (start_api(), start_api()):
        values = gauges(api)
        assert values["nova_redis_up", ""] == 1
        for queue in QUEUES:
            assert values["nova_queue_depth_tasks", queue] == 0
            assert values["nova_workers_online", queue] == 1


def test_an_id_that_was_never_issued_is_not_found(api: ApiProcess) -> None:
    answer = api.get("/api/celery/task/00000000-0000-0000-0000-000000000000", Role.VIEWER)
    assert answer.status_code == 404
    assert "never issued" in answer.json()["detail"]


def test_a_published_task_that_nobody_took_is_pending(api: ApiProcess) -> None:
    accepted = api.request("POST", "/api/celery/governance/run", Role.OPERATOR)
    assert accepted.status_code == 202
    status = api.get(accepted.headers["Location"], Role.VIEWER).json()
    assert status["task_id"] == accepted.json()["task_id"]
    assert status["name"] == "nova.governance.run_governance_task"
    assert status["queue"] == "governance"
    assert (status["state"], status["result"], status["error"]) == ("PENDING", None, None)
    assert gauges(api)["nova_queue_depth_tasks", "governance"] == 1


# Celery's own backend writes with a command that redis-py has deprecated.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
@pytest.mark.parametrize(
    ("state", "stored", "shown"),
    [
        ("STARTED", {"pid": 7, "hostname": "w"}, {"result": None, "error": None}),
        ("SUCCESS", {"pid": 7}, {"result": {"pid": 7}, "error": None}),
        ("RETRY", ValueError("later"), {"result": None, "error": "ValueError: later"}),
        ("FAILURE", ValueError("broken"), {"result": None, "error": "ValueError: broken"}),
    ],
)
def test_each_state_of_a_task_is_shown(
    client: redis.Redis, settings: Settings, state: str, stored: object, shown: dict[str, object]
) -> None:
    """What Celery stores for people is shown, what it stores for itself is not."""
    celery_app = Celery(backend=settings.redis_dsn)
    remember(client, "t1", "nova.health_check", "maintenance", expires_seconds=60)
    celery_app.backend.store_result("t1", stored, state)
    api = Api(create_app(settings, celery_app))
    status = api.get("/api/celery/task/t1", role=Role.VIEWER).json()
    assert status["state"] == state
    assert status | shown == status
    assert (status["finished_at"] is not None) == (state in {"SUCCESS", "FAILURE"})


@pytest.mark.parametrize(("starts", "state"), [(1, "STARTED"), (0, "PENDING")])
def test_a_task_that_is_held_has_started_unless_it_waits_for_its_eta(
    client: redis.Redis, settings: Settings, starts: int, state: str
) -> None:
    """Nothing but the claim tells it; the worker is named."""
    remember(client, "t1", "nova.health_check", "maintenance", expires_seconds=60)
    token = "nova:celery@host:1a2b:3.0"
    client.hset(Keys.issued_task("t1"), mapping={"holder": token, "starts": starts})
    api = Api(create_app(settings, Celery(backend=settings.redis_dsn)))
    status = api.get("/api/celery/task/t1", role=Role.VIEWER).json()
    assert status["state"] == state
    assert status["worker"] == ("celery@host" if starts else None)


def test_a_task_whose_result_has_expired_is_not_found(
    client: redis.Redis, settings: Settings
) -> None:
    """The run is remembered for longer, and it does not wait any more."""
    remember(client, "t1", "nova.health_check", "maintenance", expires_seconds=60)
    client.hset(Keys.issued_task("t1"), "done", "1.000 acknowledged")
    api = Api(create_app(settings, Celery(backend=settings.redis_dsn)))
    answer = api.get("/api/celery/task/t1", role=Role.VIEWER)
    assert answer.status_code == 404
    assert "has ended" in answer.json()["detail"]


def test_a_broker_that_goes_at_the_last_moment_is_a_503(
    client: redis.Redis,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis still answered the API; publishing then fails, and says that nothing was published."""
    monkeypatch.setattr(publishing, "PUBLISH_SECONDS", 0.0)
    nowhere = make_settings(REDIS_URL=NO_REDIS)
    celery_app = NovaCelery("test", nowhere)
    celery_app.conf.update(broker_connection(nowhere))
    api = Api(create_app(make_settings(), celery_app))
    answer = api.request("POST", "/api/celery/governance/run", role=Role.OPERATOR)
    assert answer.status_code == 503
    assert "nothing was published" in answer.json()["detail"]


def test_publishing_does_not_subscribe_to_results(api: ApiProcess, client: redis.Redis) -> None:
    """Nobody in the API waits for them, and subscribing takes 19 s to fail when Redis is away."""
    client.config_resetstat()
    for _ in range(3):
        assert api.request("POST", "/api/celery/governance/run", Role.OPERATOR).status_code == 202
    commands = client.info("commandstats")
    assert "cmdstat_lpush" in commands, "the statistics do not show what was published"
    assert "cmdstat_subscribe" not in commands


def test_upload_trigger_and_report_end_to_end(
    api: ApiProcess, worker: "subprocess.Popen[bytes]"
) -> None:
    """What the guide does with curl: upload, trigger, ask until it is done, read the report."""
    upload = api.request("POST", "/api/metrics", Role.ADMIN, content=sample_csv())
    assert upload.status_code == 200, upload.text
    assert upload.json()["rows_read"] == 300
    assert upload.json()["channels_new"] == 300
    again = api.request("POST", "/api/metrics", Role.ADMIN, content=sample_csv())
    assert (again.json()["days_changed"], again.json()["channels_unchanged"]) == ([], 300)

    body = {"auto_actions": False}
    accepted = api.request("POST", "/api/celery/governance/run", Role.OPERATOR, json=body)
    location = accepted.json()["status_url"]
    task_id = accepted.json()["task_id"]
    done = ("SUCCESS", "FAILURE")
    wait_until(lambda: api.get(location, Role.VIEWER).json()["state"] in done, api.log.read_text)
    status = api.get(location, Role.VIEWER).json()
    assert status["state"] == "SUCCESS", status
    assert status["result"]["report_id"] == task_id
    assert status["finished_at"] > status["published_at"]

    report = api.get("/api/governance/reports/latest", Role.VIEWER).json()
    assert report["id"] == task_id
    assert report["channels_judged"] == 30
    assert report["enforcement"]["auto_actions"] is False
    assert report["top"][0]["channel"] == "channel-029"
    listed = api.get("/api/governance/reports", Role.VIEWER).json()
    assert [line["id"] for line in listed["reports"]] == [task_id]
    assert api.get("/api/reports/governance/latest", Role.VIEWER).json() == report
    assert api.get("/api/reports/governance", Role.VIEWER).json() == listed
    assert api.get("/api/reports/governance?offset=1", Role.VIEWER).json()["reports"] == []

    page = f"/api/governance/reports/{task_id}/channels"
    first = api.get(f"{page}?limit=20", Role.VIEWER).json()
    rest = api.get(f"{page}?limit=20&offset=20", Role.VIEWER).json()
    assert first["total"] == rest["total"] == 30
    names = [verdict["channel"] for verdict in first["channels"] + rest["channels"]]
    assert sorted(names) == [f"channel-{number:03}" for number in range(30)]
    flagged = api.get(f"{page}?flag=promote", Role.VIEWER).json()
    assert flagged["total"] == report["counts"]["promote"] > 0
    assert {verdict["flag"] for verdict in flagged["channels"]} == {"promote"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/governance/reports/latest",
        "/api/governance/reports/nothing",
        "/api/governance/reports/nothing/channels",
        "/api/reports/governance/latest",
        "/api/reports/governance/nothing",
        "/api/reports/nodomain",
    ],
)
def test_a_report_that_does_not_exist_is_not_found(api: ApiProcess, path: str) -> None:
    assert api.get(path, Role.VIEWER).status_code == 404


@pytest.mark.parametrize("query", ["flag=sell", "limit=0", "limit=1001", "offset=-1"])
def test_a_wrong_query_is_refused_by_its_name(api: ApiProcess, query: str) -> None:
    answer = api.get(f"/api/governance/reports/latest/channels?{query}", Role.VIEWER)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == f"query.{query.partition('=')[0]}"


@pytest.mark.parametrize("channel", ["UC123", "a/b", "Kanal Ä"])
def test_an_override_is_set_listed_and_removed(api: ApiProcess, channel: str) -> None:
    path = f"/api/governance/overrides/{channel}"
    body = {"rule": "force", "flag": "promote", "reason": "launch week"}
    stored = api.request("PUT", path, Role.ADMIN, json=body)
    assert stored.status_code == 200
    assert stored.json() | body == stored.json()
    assert (stored.json()["channel"], stored.json()["by"]) == (channel, "ann")
    assert api.get("/api/governance/overrides", Role.VIEWER).json() == [stored.json()]
    assert api.request("DELETE", path, Role.ADMIN).status_code == 204
    assert api.request("DELETE", path, Role.ADMIN).status_code == 404
    assert api.get("/api/governance/overrides", Role.VIEWER).json() == []


def test_an_override_that_contradicts_itself_is_refused(api: ApiProcess) -> None:
    body = {"rule": "force", "reason": "no flag to force"}
    answer = api.request("PUT", "/api/governance/overrides/UC1", Role.ADMIN, json=body)
    assert answer.status_code == 422
    assert "flag" in answer.json()["detail"]


def test_a_bad_file_is_refused_and_stores_nothing(api: ApiProcess, client: redis.Redis) -> None:
    answer = api.request("POST", "/api/metrics", Role.ADMIN, content=b"what,is,this\n1,2,3\n")
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:nova:problem:input"
    assert client.zcard(Keys.METRIC_DAYS) == 0


def test_strict_refuses_what_is_else_counted(api: ApiProcess, client: redis.Redis) -> None:
    content = sample_csv() + b"2026-03-01,channel-x,many,1,1\n"
    strict = api.request("POST", "/api/metrics?strict=true", Role.ADMIN, content=content)
    assert strict.status_code == 422
    assert "line 302" in strict.json()["detail"]
    assert client.zcard(Keys.METRIC_DAYS) == 0
    lenient = api.request("POST", "/api/metrics", Role.ADMIN, content=content)
    assert lenient.status_code == 200
    [problem] = lenient.json()["problems"]
    assert (problem["line"], problem["column"]) == (302, "views")
    assert problem["column"] in METRIC_NAMES


def test_an_upload_over_the_limit_is_refused_and_leaves_no_file(
    start_api: StartApi, client: redis.Redis, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    api = start_api(NOVA_INGEST_MAX_BYTES="100000", TMPDIR=str(uploads))
    content = sample_csv(days=28, channels=300)
    assert len(content) > 100_000

    chunked = (content[i : i + 5000] for i in range(0, len(content), 5000))
    for body in (content, chunked):
        answer = api.request("POST", "/api/metrics", Role.ADMIN, content=body)
        assert answer.status_code == 413
        assert "100000 bytes" in answer.json()["detail"]
    assert client.zcard(Keys.METRIC_DAYS) == 0
    assert list(uploads.iterdir()) == []


def test_an_upload_that_breaks_off_stores_nothing(
    start_api: StartApi, client: redis.Redis, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    api = start_api(TMPDIR=str(uploads))

    content = sample_csv()
    request = (
        f"POST /api/metrics HTTP/1.1\r\nHost: nova\r\nContent-Length: {len(content)}\r\n"
        f"Authorization: {api.headers(Role.ADMIN)['Authorization']}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(request.encode() + content[: len(content) // 2])
        wait_until(lambda: list(uploads.iterdir()), api.log.read_text)
        [upload] = uploads.iterdir()
        assert upload.stat().st_mode & 0o077 == 0, "others can read the upload"
    wait_until(lambda: not list(uploads.iterdir()), api.log.read_text)
    assert client.zcard(Keys.METRIC_DAYS) == 0
    assert "Traceback" not in api.log.read_text()
