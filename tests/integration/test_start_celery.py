"""`scripts/start_celery.sh` and what it stands on: starts, crashes and stops of real workers.

tests/guide runs the script itself, as the guide has it.
"""

import dataclasses
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from nova.errors import ConfigurationError, InputError, UnavailableError
from nova.queues import QUEUES
from nova.runtime.heartbeat import read_workers
from nova.settings import Settings
from scripts.local.control import refuse_other_workers
from scripts.local.processes import (
    GUIDE_WORKERS,
    ROOT,
    Process,
    api_process,
    beat_process,
    flower_process,
    worker_processes,
)
from scripts.local.redis_server import free_port
from scripts.local.services import Services
from tests.conftest import wait_until
from tests.integration.runtime.stopping import ENDS, STARTS

SCRIPT = str(ROOT / "scripts" / "start_celery.sh")


def slow_worker() -> Process:
    """A worker of the local stack, with tasks that take their time."""
    [trends] = [process for process in worker_processes() if process.label == "trends"]
    app = {"nova.celery_app": "tests.integration.runtime.stopping_app"}
    return Process(trends.name, [app.get(part, part) for part in trends.command])


@pytest.fixture
def told() -> list[str]:
    """What a person reads."""
    return []


@pytest.fixture
def services(
    settings: Settings,
    client: redis.Redis,
    tmp_path: Path,
    told: list[str],
    process_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Services]:
    """Processes in the background on the private Redis; in the end they are stopped."""
    for name in ("REDIS_URL", "JWT_SECRET_KEY"):
        monkeypatch.setenv(name, process_environment[name])
    here = Services(settings, tmp_path / "state", tmp_path / "logs", told.append)
    yield here
    here.stop(here.known(), now=True)


def publish(services: Services, number: int, seconds: float) -> None:
    program = (
        "from tests.integration.runtime.stopping_app import work;"
        f"work.apply_async(({number}, {seconds}), queue='trends')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_to_start_twice_is_harmless(
    services: Services, client: redis.Redis, told: list[str]
) -> None:
    services.start([slow_worker()])
    [first] = read_workers(client)
    services.start([slow_worker()])
    assert [one.pid for one in read_workers(client)] == [first.pid]
    assert "runs already" in told[-1]


def test_the_workers_of_the_guide_serve_every_queue(
    services: Services, client: redis.Redis
) -> None:
    services.start(worker_processes(grouped=True))
    served = {
        one.name.partition("@")[0]: set(one.queues) & set(QUEUES) for one in read_workers(client)
    }
    assert served == {one.name: set(one.queues) for one in GUIDE_WORKERS}


def test_what_was_killed_is_noticed_and_started_anew(
    services: Services, client: redis.Redis, told: list[str]
) -> None:
    services.start([slow_worker()])
    killed = services.background(slow_worker().name)
    pid = killed.pid
    assert pid is not None
    killed.kill()
    wait_until(lambda: killed.state == "stale")
    services.start([slow_worker()])
    assert any(f"its pid file, of process {pid}, is removed" in line for line in told)
    assert killed.state == "running"
    assert killed.pid != pid


def test_stop_waits_until_the_running_task_has_ended(
    services: Services, client: redis.Redis, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.local.services.TELL_SECONDS", 0.5)
    services.start([slow_worker()])
    publish(services, 1, 12)  # a heartbeat tells of it every five seconds
    wait_until(lambda: client.llen(STARTS) == 1)
    services.stop(services.known())
    assert client.llen(ENDS) == 1
    assert any("finishes what it runs (1)" in line for line in told)
    assert "stopped after" in told[-1]
    assert services.known() == []


def test_stop_now_gives_the_running_task_back(
    services: Services, client: redis.Redis, told: list[str]
) -> None:
    services.start([slow_worker()])
    publish(services, 1, 600)
    wait_until(lambda: client.llen(STARTS) == 1)
    services.stop(services.known(), now=True)
    assert client.llen(ENDS) == 0
    assert client.llen("trends") == 1


def test_stop_now_ends_what_is_left_of_a_process_that_was_killed(
    services: Services, told: list[str]
) -> None:
    """Its children hold the lock of its pid file, and nothing else would end them."""
    left = services.background("family")
    left.pid_file.parent.mkdir()
    log = left.pid_file.with_suffix(".log")
    command = ["sh", "-c", "sleep 600 & echo there; wait"]
    process = left.start(command, ROOT, log, {"PATH": "/usr/bin:/bin"})
    wait_until(lambda: log.read_text() == "there\n")
    process.kill()
    process.wait()
    assert left.state == "lost"
    services.stop([left], now=True)
    assert told[-1].startswith("family")
    assert services.known() == []


@pytest.mark.parametrize(
    ("name", "value"), [("NOVA_SCHEDULER", "legacy"), ("NOVA_STOCK_PARTS", "scheduler")]
)
def test_a_beat_that_leads_nobody_is_ready_all_the_same(
    services: Services,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    resting = dataclasses.replace(services, settings=make_settings(**{name: value}))
    resting.start([beat_process()])
    assert resting.background("celery-beat").state == "running"


def test_to_stop_twice_does_not_hurry_the_running_task(
    services: Services, client: redis.Redis
) -> None:
    """A worker takes a second SIGTERM for impatience, so the second `stop` sends none."""
    services.start([slow_worker()])
    publish(services, 1, 4)
    wait_until(lambda: client.llen(STARTS) == 1)
    first = threading.Thread(target=services.stop, args=(services.known(),))
    first.start()
    wait_until(lambda: services.background(slow_worker().name).state == "stopping")
    services.stop(services.known())
    first.join(timeout=30)
    assert client.llen(ENDS) == 1


def test_a_process_that_ends_at_once_is_explained_and_the_others_stopped(
    services: Services, client: redis.Redis, told: list[str]
) -> None:
    broken = Process("celery-worker-broken", [sys.executable, "-c", "raise SystemExit('no luck')"])
    with pytest.raises(UnavailableError, match="celery-worker-broken ended at once"):
        services.start([slow_worker(), broken])
    assert "no luck" in "\n".join(told)
    assert services.known() == []


def test_a_worker_of_the_same_name_from_elsewhere_is_refused(
    services: Services, client: redis.Redis, tmp_path: Path, settings: Settings
) -> None:
    services.start([slow_worker()])
    elsewhere = Services(settings, tmp_path / "elsewhere", tmp_path / "logs", lambda _: None)
    with pytest.raises(ConfigurationError, match="is online already, and was not started from"):
        elsewhere.start([slow_worker()])


def test_one_grouping_is_not_started_beside_the_other(
    services: Services, client: redis.Redis
) -> None:
    services.start([slow_worker()])
    with pytest.raises(InputError, match="workers of the other grouping run: celery-worker-trends"):
        refuse_other_workers(services, worker_processes(grouped=True))


@pytest.mark.parametrize("make_process", [api_process, flower_process])
def test_a_taken_port_is_named(
    services: Services, client: redis.Redis, make_process: Callable[[int], Process]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port}, which \w.* needs, is taken"):
            services.start([make_process(port)])
    assert services.known() == []


# --- The script itself, where it refuses


@pytest.fixture
def run_script(process_environment: dict[str, str]) -> Callable[..., str]:
    """Run the script with some variables changed; return the one line that it refuses with."""

    def run(command: str, **variables: str | None) -> str:
        environment = process_environment | variables
        result = subprocess.run(
            [SCRIPT, command],
            env={name: value for name, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 1, result.stdout
        [line] = result.stderr.splitlines()
        return line

    return run


@pytest.mark.parametrize("command", ["start", "restart"])
@pytest.mark.parametrize("name", ["REDIS_URL", "JWT_SECRET_KEY"])
def test_a_missing_setting_is_one_line(
    run_script: Callable[..., str], name: str, command: str
) -> None:
    assert run_script(command, **{name: None}).startswith(f"start_celery.sh: {name} is not set")


@pytest.mark.parametrize("command", ["start", "test", "status"])
def test_a_redis_that_is_away_is_one_line(run_script: Callable[..., str], command: str) -> None:
    port = free_port()
    line = run_script(command, REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert f"redis://127.0.0.1:{port}/0" in line


def test_a_python_without_celery_is_told_what_to_install(
    run_script: Callable[..., str], tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    line = run_script("start", VIRTUAL_ENV=str(tmp_path))
    assert line.endswith(f"{tmp_path}/bin/python -m pip install -r requirements.txt")


def test_silent_queues_are_named(run_script: Callable[..., str], client: redis.Redis) -> None:
    line = run_script("test")
    assert line == (
        "start_celery.sh: no health check came back from: "
        "governance, maintenance, analytics, analysis, trends"
    )
