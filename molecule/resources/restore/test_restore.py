"""Backup and restore, rehearsed: the data is destroyed, and all of it comes back.

The tests build on each other, in this order.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from testinfra.host import Host

from scripts.fleet.work import SAMPLES, TRIGGERS, work
from scripts.lab.plays import Played, try_to_play

Playbook = Callable[..., Played]

AS_NOVA_USER = (
    "REDISCLI_AUTH=$(cat /etc/nova/credentials/nova_redis_password) redis-cli --user nova "
)
#: A task that a worker holds until its time has come.
HOLD = """
import sys
from nova.celery_app import health_check
print(health_check.apply_async(queue=sys.argv[1], countdown=150).id)
"""
#: Queues whose workers are stopped while the copy is made: their tasks wait.
WAITING = ("governance", "analytics", "analysis", "maintenance")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the copies on the controller."""
    return tmp_path_factory.mktemp("copies")


@pytest.fixture(scope="module")
def playbook(copies: Path) -> Playbook:
    """Run a playbook on these copies."""
    return lambda name, *options: try_to_play(name, "-e", f"folder={copies}", *options)


def succeeded(done: Played) -> str:
    """What a playbook printed that had to succeed."""
    assert done.code == 0
    return done.words


def refused(done: Played, words: str) -> None:
    """A playbook failed, and said why."""
    assert done.code != 0
    assert words in done.words


def everywhere(fleet: Any, command: str) -> None:
    """Run a command on all hosts."""
    for host in fleet.hosts("nova").values():
        host.check_output(command)


def is_up(fleet: Any) -> bool:
    """Whether every worker says that it is online."""
    expected = {worker for workers in fleet.workers().values() for worker in workers}
    answer = fleet.one("api").run("nova status --json")
    found = json.loads(answer.stdout)["workers"] if answer.rc == 0 else []
    return {worker["name"] for worker in found} == expected


@pytest.fixture
def redis(fleet: Any) -> Callable[[str], str]:
    """Run a Redis command as Nova's own user."""
    host: Host = fleet.one("redis")
    return lambda command: str(host.check_output(AS_NOVA_USER + command))


@pytest.fixture(scope="module")
def stopped(fleet: Any, wait_until: Callable[..., None]) -> Iterator[None]:
    """A fleet that does nothing, from the first test that asks for it to the last of all."""
    everywhere(fleet, "systemctl stop nova.target")
    yield
    everywhere(fleet, "systemctl start nova.target")
    wait_until(lambda: is_up(fleet), "the workers are back", 120)


def newest(copies: Path) -> Path:
    """The copy that was made last."""
    return sorted(copies.glob("nova-*"))[-1]


def answer(api: httpx.Client, path: str) -> Any:
    """What the API answers."""
    response = api.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def starts_told(host: Host, queue: str, task_id: str, word: str) -> int:
    """Count the lines of a worker's journal about a task."""
    journal = f"journalctl --quiet --output cat --unit celery-worker@{queue}.service"
    return int(host.check_output(f"{journal} | grep -cF '[{task_id}] {word}' || true"))


def test_what_was_destroyed_comes_back_and_queued_tasks_run_once(
    api: httpx.Client,
    fleet: Any,
    redis: Callable[[str], str],
    playbook: Playbook,
    copies: Path,
    wait_until: Callable[..., None],
) -> None:
    """Every report and result is as before; what waited or was held runs, once."""
    data, worker = fleet.one("redis"), fleet.one("workers")
    reports = {f"/api/reports/{d.name}/{r.id}": None for d, r in work(api, SAMPLES)}
    results = {f"/api/celery/task/{path.rpartition('/')[2]}": None for path in reports}
    assert len(reports) == 5
    before = {path: answer(api, path) for path in (*reports, *results)}
    held = fleet.run_as_nova(worker, HOLD, "trends")
    wait_until(lambda: redis("hlen unacked") == "1", "a worker holds the task")
    for queue in WAITING:
        worker.check_output(f"systemctl stop celery-worker@{queue}")
    queued = {}
    for queue in WAITING:
        accepted = api.post(
            TRIGGERS[queue], json={"auto_actions": False} if queue[0] == "g" else None
        )
        assert accepted.status_code == 202, accepted.text
        queued[queue] = accepted.json()["task_id"]
    assert "changed=0" not in succeeded(playbook("backup", "--check"))
    assert list(copies.iterdir()) == []
    succeeded(playbook("backup"))
    manifest = json.loads((newest(copies) / "manifest.json").read_text())
    assert manifest["queues"] == dict.fromkeys(WAITING, 1) | {"trends": 0}
    assert manifest["held"] == 1

    everywhere(fleet, "systemctl stop nova.target")
    data.check_output("systemctl stop redis-server && rm -rf /var/lib/redis")
    succeeded(playbook("restore", "-e", "backup=latest", "--check"))
    assert not data.file("/var/lib/redis/dump.rdb").exists
    assert "there was none" in succeeded(playbook("restore", "-e", "backup=latest"))
    assert {queue: redis(f"llen {queue}") for queue in WAITING} == dict.fromkeys(WAITING, "1")
    assert redis("info persistence | grep -o aof_enabled:1") == "aof_enabled:1"

    everywhere(fleet, "systemctl start nova.target")
    wait_until(lambda: is_up(fleet), "the workers are back", 120)
    assert {path: answer(api, path) for path in before} == before
    tasks = {**queued, "trends": held}
    for queue, task_id in tasks.items():
        path = f"/api/celery/task/{task_id}"
        wait_until(
            lambda path=path: answer(api, path)["state"] == "SUCCESS", f"{queue} has run", 240
        )
        assert starts_told(worker, queue, task_id, "succeeded") == 1


def test_a_fleet_that_runs_is_refused(playbook: Playbook) -> None:
    refused(playbook("restore", "-e", "backup=latest"), "stop the whole fleet first")


def test_hosts_that_were_left_out_are_named(playbook: Playbook, fleet: Any, stopped: None) -> None:
    done = playbook("restore", "-e", "backup=latest", "--limit", "redis")
    refused(done, "work1 did not answer, or was left out by --limit")


def test_a_restart_of_redis_keeps_what_was_restored(
    fleet: Any, redis: Callable[[str], str], wait_until: Callable[..., None], stopped: None
) -> None:
    """The append-only file holds it, which is what Redis reads at its start."""
    data = fleet.one("redis")
    size = redis("zcard nova:governance:reports")
    assert int(size) >= 2
    data.check_output("systemctl restart redis-server")
    wait_until(lambda: "PONG" in data.run(AS_NOVA_USER + "ping").stdout, "Redis answers")
    assert redis("zcard nova:governance:reports") == size


def test_a_restore_is_undone_with_the_copy_that_it_kept(
    playbook: Playbook, redis: Callable[[str], str], stopped: None
) -> None:
    """The same copy restores again; what was written since comes back with the safety copy."""
    redis("set nova:test:since 1")
    text = succeeded(playbook("restore", "-e", "backup=latest"))
    assert redis("exists nova:test:since") == "0"
    kept = re.search(r"backup=(before-restore-\w+)", text)
    assert kept is not None
    succeeded(playbook("restore", "-e", f"backup={kept[1]}"))
    assert redis("getdel nova:test:since") == "1"


def test_no_token_comes_twice_and_no_voided_release_comes_back(
    playbook: Playbook, fleet: Any, stopped: None
) -> None:
    """The lock is free afterwards, and the audit says what was done."""
    data = fleet.one("redis")
    lock = "nova fleet lock --owner ann --reason rehearsal --json"
    before = json.loads(data.check_output(lock))["token"]
    data.check_output("nova release void 9.9-broken --by ann --reason rehearsal")
    succeeded(playbook("restore", "-e", "backup=latest"))
    shown = json.loads(data.check_output("nova fleet show --json"))
    assert shown["lock"] is None
    assert shown["last"]["action"] == "restore"
    token = json.loads(data.check_output(lock))["token"]
    data.check_output(f"nova fleet unlock {token}")
    assert token > before
    assert data.run("nova release check 9.9-broken").rc != 0


def test_a_redis_that_is_heard_from_elsewhere_is_refused(
    playbook: Playbook, redis: Callable[[str], str], stopped: None
) -> None:
    redis("set nova:worker:trends@stranger {} ex 60")
    done = playbook("restore", "-e", "backup=latest")
    redis("del nova:worker:trends@stranger")
    refused(done, "heard within the last seconds of trends@stranger")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"redis_version": "99.0.1"}, "the copy is of Redis 99.0.1, and this host has 7.0."),
        ({"made_at": "2020-01-01T00:00:00Z"}, "days old, more than 7; restore it all the same"),
        ({"sha256": "0" * 64}, "is damaged"),
        (None, "has no manifest.json"),
    ],
    ids=["newer", "old", "damaged", "bare"],
)
def test_a_copy_that_cannot_be_trusted_is_refused(
    playbook: Playbook,
    copies: Path,
    tmp_path: Path,
    redis: Callable[[str], str],
    stopped: None,
    change: dict[str, str] | None,
    words: str,
) -> None:
    """And the data is as it was."""
    copy = tmp_path / "copy"
    copy.mkdir()
    copy.joinpath("dump.rdb").write_bytes((newest(copies) / "dump.rdb").read_bytes())
    if change is not None:
        manifest = json.loads((newest(copies) / "manifest.json").read_text())
        copy.joinpath("manifest.json").write_text(json.dumps(manifest | change))
    redis("set nova:test:here 1")
    done = playbook("restore", "-e", f"backup={copy}")
    assert redis("getdel nova:test:here") == "1"
    refused(done, words)


def test_a_redis_with_the_wrong_password_is_left_alone(playbook: Playbook, stopped: None) -> None:
    done = playbook("restore", "-e", "backup=latest", "-e", "redis_admin_password=" + "x" * 32)
    refused(done, "does not answer the user admin")


def test_copies_are_private_pruned_and_told_their_age(
    playbook: Playbook, copies: Path, fleet: Any, lab_secrets: dict[str, str]
) -> None:
    """No secret is printed, not even with -vvv."""
    done = playbook("backup", "-vvv", "-e", "keep=1")
    succeeded(done)
    assert not [name for name, secret in lab_secrets.items() if secret in done.text]
    assert [path.name for path in copies.iterdir()] == [newest(copies).name]
    assert {path.stat().st_mode & 0o777 for path in newest(copies).iterdir()} == {0o600}
    there = "find /var/backups/nova -name dump.rdb -printf '%m %u\\n' | sort -u"
    assert fleet.one("redis").check_output(there) == "600 root"
    succeeded(playbook("backup", "-e", "check_age=true"))
    done = playbook("backup", "-e", "check_age=true", "-e", "max_age_hours=0")
    refused(done, "hours old, more than 0")
    newest(copies).rename(copies / "nova-interrupted.part")
    refused(playbook("backup", "-e", "check_age=true"), "has no copy of Redis")
