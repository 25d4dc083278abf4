"""Every way to reach Redis, and what its clients do while it is away: bounded, and back in time."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import yaml

from nova.api.security import Role
from nova.runtime.heartbeat import read_workers
from nova.runtime.issued import find_issued
from nova.settings import Settings
from nova.store import Keys, connect
from scripts.local.redis_server import LocalRedis, free_port
from scripts.local.sentinel_group import MASTER, SentinelGroup
from tests.conftest import CELERY, JWT_SECRET, wait_until
from tests.integration.api.conftest import ApiProcess, running_api
from tests.integration.tls import TlsRedis, TlsSentinel, make_certificates

#: Seconds within which a publish ends, one way or the other, with what the machine adds.
BOUND_SECONDS = 12
#: Seconds after which everybody is back, once Redis is.
BACK_SECONDS = 15
ROLE = Path("ansible/roles/redis")
RUN = "/api/celery/governance/run"

Variables = dict[str, str]


@pytest.fixture
def variables(process_environment: Mapping[str, str]) -> Variables:
    """Environment of Nova's processes, but for the way to Redis."""
    return {name: value for name, value in process_environment.items() if name != "REDIS_URL"}


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    """What a test starts; stopped after it."""
    with ExitStack() as stack:
        yield stack


def run(command: list[str], variables: Variables) -> "subprocess.CompletedProcess[str]":
    """Run Nova's command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "nova", *command],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(command: list[str], variables: Variables, log: Path) -> Iterator[None]:
    """Run a program of Celery on Nova's app; stop it afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [CELERY, "-A", "nova.celery_app", *command],
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=40)


def start_worker(programs: ExitStack, variables: Variables, folder: Path) -> redis.Redis:
    """Start a worker, and return a client once it is online."""
    log = folder / "worker.log"
    quiet = ["--without-gossip", "--without-mingle"]  # as the units have it
    command = ["worker", "--concurrency=1", "--hostname=test@%h", *quiet]
    client: redis.Redis = programs.enter_context(connect(settings_of(variables)))
    programs.enter_context(running(command, variables, log))
    wait_until(lambda: is_online(client), log.read_text)
    return client


def is_online(client: redis.Redis) -> bool:
    """Tell whether the worker's heartbeat is there; not while Redis cannot be asked."""
    try:
        return len(read_workers(client)) == 1
    except redis.RedisError:
        return False


def start_api(programs: ExitStack, variables: Variables, folder: Path) -> ApiProcess:
    return programs.enter_context(running_api(variables, folder))


def settings_of(variables: Variables) -> Settings:
    return Settings.model_validate(variables | {"JWT_SECRET_KEY": JWT_SECRET})


def trigger(api: ApiProcess) -> tuple[int, dict[str, Any], float]:
    """Ask for a governance run; return status, answer and how many seconds it took."""
    start = time.monotonic()
    answer = api.request("POST", RUN, Role.OPERATOR)
    return answer.status_code, answer.json(), time.monotonic() - start


def state(api: ApiProcess, task_id: str) -> str:
    answer = api.get(f"/api/celery/task/{task_id}", Role.VIEWER)
    return str(answer.json()["state"]) if answer.status_code == 200 else ""


def trigger_until_it_works(api: ApiProcess) -> tuple[str, float]:
    """Trigger until it is accepted; return the task's id and how many seconds that took."""
    start = time.monotonic()
    accepted: list[str] = []

    def try_once() -> bool:
        status, answer, _ = trigger(api)
        accepted.extend([answer["task_id"]] if status == 202 else [])
        return status == 202

    wait_until(try_once)
    return accepted[0], time.monotonic() - start


# --- A Redis that freezes


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis of the test's own, to be hurt."""
    with LocalRedis.create(tmp_path / "redis") as own:
        yield own
        own.resume()


def test_a_trigger_ends_while_redis_is_frozen(
    server: LocalRedis, variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    """Redis is asked about the token first: nothing is published without it, and that is said."""
    api = start_api(programs, variables | {"REDIS_URL": server.url}, tmp_path)
    assert trigger(api)[0] == 202
    server.freeze()
    status, problem, seconds = trigger(api)
    assert (status, problem["type"]) == (503, "urn:nova:problem:unavailable")
    assert seconds < BOUND_SECONDS
    assert api.get("/api/celery/status", Role.VIEWER).status_code == 503
    server.resume()
    _, seconds = trigger_until_it_works(api)
    assert seconds < BACK_SECONDS
    with redis.Redis.from_url(server.url) as client:
        assert client.llen("governance") == 2


def test_a_command_that_was_not_confirmed_may_be_repeated(
    server: LocalRedis, variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    """It ends with one line, and the task runs once, whatever Redis finds in its sockets."""
    variables |= {"REDIS_URL": server.url}
    command = ["trigger", "governance", "--task-id", "frozen-1"]
    server.freeze()
    start = time.monotonic()
    result = run(command, variables)
    assert time.monotonic() - start < BOUND_SECONDS + 5  # a Python to start
    server.resume()
    assert result.returncode == os.EX_TEMPFAIL
    assert result.stderr.count("\n") == 1, result.stderr
    result = run(command, variables)
    assert result.returncode == 0, result.stderr
    api = start_api(programs, variables, tmp_path)
    client = start_worker(programs, variables, tmp_path)
    wait_until(lambda: state(api, "frozen-1") == "SUCCESS")
    wait_until(lambda: client.llen("governance") + client.hlen(Keys.HELD) == 0)
    log = (tmp_path / "worker.log").read_text()
    assert log.count("[frozen-1] succeeded") == 1


def test_a_full_redis_refuses_a_trigger_in_time(
    server: LocalRedis, variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    """Out of memory: tried for a while, then said; and it was not published."""
    api = start_api(programs, variables | {"REDIS_URL": server.url}, tmp_path)
    assert trigger(api)[0] == 202
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
        status, problem, seconds = trigger(api)
        assert (status, problem["type"]) == (503, "urn:nova:problem:unavailable")
        assert "maxmemory" in problem["detail"]
        assert seconds < BOUND_SECONDS
        client.config_set("maxmemory", 0)
        assert client.llen("governance") == 1


# --- A group with Sentinel


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """A primary, two replicas, three sentinels."""
    with SentinelGroup.create(tmp_path_factory.mktemp("group")) as started:
        yield started


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_fleet_is_back_after_a_failover(
    group: SentinelGroup,
    variables: Variables,
    programs: ExitStack,
    tmp_path: Path,
    fault: str,
) -> None:
    """API, worker, heartbeat and results follow the primary; replicas confirm what is published."""
    variables |= {"REDIS_URL": group.url, "NOVA_REDIS_GROUP_SIZE": "3"}
    client = start_worker(programs, variables, tmp_path)
    api = start_api(programs, variables, tmp_path)
    first, _ = trigger_until_it_works(api)
    wait_until(lambda: state(api, first) == "SUCCESS")
    primary = group.primary()
    try:
        primary.kill() if fault == "kill" else primary.freeze()
        task_id, seconds = trigger_until_it_works(api)
        assert seconds < BACK_SECONDS
        start = time.monotonic()
        wait_until(lambda: state(api, task_id) == "SUCCESS")
        assert time.monotonic() - start < BACK_SECONDS
        wait_until(lambda: is_online(client))
        assert group.primary() is not primary
        assert find_issued(client, task_id) is not None
    finally:
        if fault == "kill":
            primary.start()
        else:
            primary.resume()
        group.wait_until_complete()


def test_a_publish_without_replicas_is_unconfirmed(
    group: SentinelGroup, variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    """Both replicas hang: the primary has the task, and nobody knows whether it will keep it."""
    variables |= {"REDIS_URL": group.url, "NOVA_REDIS_GROUP_SIZE": "3"}
    api = start_api(programs, variables, tmp_path)
    trigger_until_it_works(api)
    primary = group.primary()
    replicas = [server for server in group.servers if server is not primary]
    try:
        for replica in replicas:
            replica.freeze()
        status, problem, seconds = trigger(api)
    finally:
        for replica in replicas:
            replica.resume()
        group.wait_until_complete()
    assert (status, problem["type"]) == (503, "urn:nova:problem:unconfirmed")
    assert "0 of 1 replicas confirmed" in problem["detail"]
    assert seconds < BOUND_SECONDS


# --- TLS, Unix socket, ACL


def check_that_tasks_run(
    variables: Variables, programs: ExitStack, folder: Path
) -> tuple[ApiProcess, redis.Redis]:
    """Start a worker and the API, let a task run, ask for its result in both ways."""
    client = start_worker(programs, variables, folder)
    api = start_api(programs, variables, folder)
    task_id, _ = trigger_until_it_works(api)
    wait_until(lambda: state(api, task_id) == "SUCCESS")
    result = run(["trigger", "governance", "--wait"], variables)
    assert result.returncode == 0, result.stderr
    check_that_the_worker_tells_no_secret(variables)
    return api, client


def check_that_the_worker_tells_no_secret(variables: Variables) -> None:
    """Ask for all that it says of its connections; an answer that is no JSON would never come."""
    given = [urlsplit(variables["REDIS_URL"]).password, variables.get("NOVA_REDIS_PASSWORD")]
    for what in ("stats", "conf"):
        told = run(["celery", "inspect", "--timeout=10", what], variables)
        assert told.returncode == 0, told.stderr
        assert [secret for secret in given if secret and secret in told.stdout] == []


def test_tasks_run_over_tls(variables: Variables, programs: ExitStack, tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    server = programs.enter_context(TlsRedis.with_certificates(tmp_path / "redis", files))
    url = server.url.partition("?")[0]
    variables |= {"REDIS_URL": url, "NOVA_REDIS_CA_FILE": str(files.ca)}
    check_that_tasks_run(variables, programs, tmp_path)


def test_a_certificate_of_somebody_else_is_refused(
    variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    files = make_certificates(tmp_path)
    server = programs.enter_context(TlsRedis.with_certificates(tmp_path / "redis", files))
    result = run(["status"], variables | {"REDIS_URL": server.url.partition("?")[0]})
    assert result.returncode == 1
    assert "NOVA_REDIS_CA_FILE" in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


def test_tasks_run_over_tls_with_sentinel(
    variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    """The sentinel and the server it names speak nothing but TLS."""
    files = make_certificates(tmp_path)
    server = programs.enter_context(TlsRedis.with_certificates(tmp_path / "redis", files))
    sentinel = TlsSentinel(tmp_path / "sentinel", free_port(), server, quorum=1, files=files)
    programs.callback(sentinel.stop)
    sentinel.start()
    variables |= {
        "REDIS_URL": f"sentinel://:{server.password}@127.0.0.1:{sentinel.port}/0",
        "NOVA_REDIS_SENTINEL_MASTER": MASTER,
        "NOVA_REDIS_TLS": "true",
        "NOVA_REDIS_CA_FILE": str(files.ca),
    }
    check_that_tasks_run(variables, programs, tmp_path)


def test_tasks_run_over_a_unix_socket(
    variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    socket = tmp_path / "redis.sock"
    server = LocalRedis.create(tmp_path / "redis", f"unixsocket {socket}", "unixsocketperm 700")
    programs.enter_context(server)
    variables |= {
        "REDIS_URL": f"unix://{socket}?db=2",
        "NOVA_REDIS_PASSWORD": server.password,
    }
    check_that_tasks_run(variables, programs, tmp_path)


@pytest.fixture
def acl_server(tmp_path: Path) -> Iterator[tuple[LocalRedis, str]]:
    """A Redis with the users that the role redis makes, and the password of the user nova."""
    password = "p" * 32
    rules = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__redis_nova_rules"]
    channels = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["redis_nova_channels"]
    listed = " ".join(f"&{channel}" for channel in channels)
    rules = re.sub(r"{{ redis_nova_channels .*?}}", lambda _: listed, rules)
    # The fixture's own user stays `default`: it has to look into the log of refusals.
    users = [f"user nova on #{sha256(password.encode()).hexdigest()} {rules}"]
    with LocalRedis.create(tmp_path / "redis", *users) as server:
        yield server, password


def test_the_rights_of_novas_user_are_enough(
    acl_server: tuple[LocalRedis, str], variables: Variables, programs: ExitStack, tmp_path: Path
) -> None:
    """Worker, beat, API, Flower and commands; Redis has refused none of them anything."""
    server, password = acl_server
    variables |= {
        "REDIS_URL": f"redis://127.0.0.1:{server.port}/0",
        "NOVA_REDIS_USERNAME": "nova",
        "NOVA_REDIS_PASSWORD": password,
    }
    beat = ["beat", f"--schedule={tmp_path / 'schedule'}"]
    flower_port = free_port()
    flower = ["flower", "--address=127.0.0.1", f"--port={flower_port}"]
    with redis.Redis.from_url(server.url) as admin:
        programs.enter_context(running(beat, variables, tmp_path / "beat.log"))
        programs.enter_context(running(flower, variables, tmp_path / "flower.log"))
        api, client = check_that_tasks_run(variables, programs, tmp_path)
        for path in ("/readyz", "/metrics"):
            assert api.get(path).status_code == 200
        assert run(["celery", "inspect", "ping"], variables).returncode == 0
        assert admin.acl_log() == []
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()
