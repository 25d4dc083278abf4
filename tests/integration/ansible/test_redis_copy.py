"""What the role backup runs on a Redis host, on Redis servers of this test's own.

The program is run as Ansible runs it: by standard input, with a last line that calls it.
"""

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from nova.operations.audit import read_audit
from nova.operations.lock import free_lock, read_lock, take_lock
from nova.operations.releases import list_releases, mark_release
from nova.settings import Settings
from scripts.local.redis_server import LocalRedis

PROGRAM = Path(__file__).resolve().parents[3] / "ansible/roles/backup/files/redis_copy.py"
QUEUES = ["governance", "trends"]

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis with an append-only file, as the role redis sets it up."""
    with LocalRedis.create(tmp_path / "data", "appendonly yes") as server:
        yield server


@pytest.fixture
def live(server: LocalRedis) -> Iterator[redis.Redis]:
    """A client of it; it holds a report, a result that expires, tasks that wait and are held."""
    with redis.Redis.from_url(server.url) as client:
        client.set("nova:trends:report:1", "{}")
        client.set("celery-task-meta-1", "{}", ex=3600)
        client.rpush("governance", "a", "b")
        client.hset("unacked", "token", "c")
        client.hset("nova:metrics:2026-01-01", "channel", "1")
        yield client


@pytest.fixture
def run(server: LocalRedis, tmp_path: Path) -> Run:
    """Run a command of the program, behind a line of Python; return its answer, or its error."""

    def run(command: str, line: str = "", **given: Any) -> dict[str, Any]:
        options = {
            "command": command,
            "address": "127.0.0.1",
            "port": server.port,
            "user": "default",
            "password": server.password,
            "ca_file": "",
            "folder": str(tmp_path / "copies"),
            "data": str(server.folder),
            "host": "here",
            "by": "ann@controller",
            "owner": getpass.getuser(),
            "reader": getpass.getuser(),
            "name": "nova-1",
            "source": str(tmp_path / "copies" / "nova-1"),
            "timeout": 20,
            "dry_run": False,
            "queues": QUEUES,
            "max_age_days": 7,
            "without_manifest": False,
        }
        last = f"main({json.dumps(json.dumps(options | given))})\n"
        done = subprocess.run(
            [sys.executable, "-"],
            input=f"{PROGRAM.read_text()}\n{line}\n{last}",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert server.password not in done.stdout + done.stderr
        assert done.stderr == ""
        answer: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) == ("error" not in answer)
        return answer

    return run


def restore(server: LocalRedis, run: Run, name: str = "before") -> dict[str, Any]:
    """Put the copy in place of what the server has, as the role does."""
    assert "error" not in run("judge")
    server.stop()
    built = run("build")["built"]
    replaced = run("swap", name=name)
    assert "error" not in replaced
    server.start()
    assert "error" not in run("verify", built=built)
    return replaced


def test_the_manifest_says_what_the_copy_holds(run: Run, live: redis.Redis, tmp_path: Path) -> None:
    """And the files are for their reader alone; nothing else is left."""
    manifest = run("make")
    assert manifest["kept"] == {"nova:trends:report": 1, "nova:metrics": 1, "queues": 2}
    assert manifest["expiring"] == {"results": 1}
    assert manifest["queues"] == {"governance": 2, "trends": 0}
    assert manifest["held"] == 1
    copy = tmp_path / "copies" / "nova-1"
    assert {file.name: file.stat().st_mode & 0o777 for file in copy.iterdir()} == {
        "dump.rdb": 0o600,
        "manifest.json": 0o600,
    }
    assert json.loads((copy / "manifest.json").read_text()) == manifest
    assert [path.name for path in copy.parent.iterdir()] == ["nova-1"]


def test_a_copy_that_fails_leaves_nothing(run: Run, live: redis.Redis, tmp_path: Path) -> None:
    """Each would take the room of the next. Here the name is taken."""
    (tmp_path / "copies" / "nova-1" / "something").mkdir(parents=True)
    assert "nova-1" in run("make")["error"]
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["nova-1"]


def test_a_copy_begins_after_it_was_asked_for(run: Run, live: redis.Redis) -> None:
    """A snapshot that ran already does not hold what came since."""
    live.config_set("rdb-key-save-delay", 400_000)  # microseconds: five keys take 2 s
    live.bgsave()
    live.rpush("trends", "late")
    assert run("make")["queues"]["trends"] == 1


def test_everything_comes_back_and_survives_a_restart(
    run: Run, live: redis.Redis, server: LocalRedis
) -> None:
    """The append-only file is written before Redis starts with it; what was there is kept."""
    run("make")
    live.rpush("governance", "since")
    replaced = Path(restore(server, run)["replaced"])
    assert live.lrange("governance", 0, -1) == [b"a", b"b"]
    assert live.hgetall("unacked") == {b"token": b"c"}
    assert 0 < live.ttl("celery-task-meta-1") <= 3600
    assert (replaced / "appendonlydir").is_dir()
    live.rpush("governance", "later")
    server.stop()
    server.start()
    assert live.lrange("governance", 0, -1) == [b"a", b"b", b"later"]


def test_data_that_is_gone_comes_back(run: Run, live: redis.Redis, server: LocalRedis) -> None:
    run("make")
    server.stop()
    for path in sorted(server.folder.rglob("*"), reverse=True):
        if "appendonlydir" in path.parts or path.name == "dump.rdb":
            path.rmdir() if path.is_dir() else path.unlink()
    assert restore(server, run)["replaced"] == ""
    assert live.get("nova:trends:report:1") == b"{}"


def test_an_interrupted_restore_is_run_again(
    run: Run, live: redis.Redis, server: LocalRedis
) -> None:
    """What it had built is built anew; what it had put aside stays where it is."""
    run("make")
    server.stop()
    run("build")
    (server.folder / "nova-restore" / "dump.rdb").write_bytes(b"half")
    server.start()
    restore(server, run)
    assert live.llen("governance") == 2


def test_a_dry_run_checks_and_writes_nothing(
    run: Run, live: redis.Redis, server: LocalRedis, tmp_path: Path
) -> None:
    assert run("make", dry_run=True) == {"name": "nova-1"}
    assert not (tmp_path / "copies").exists()
    run("make")
    before = sorted(server.folder.rglob("*"))
    for command in ("remember", "build", "swap", "verify"):
        assert "error" not in run(command, dry_run=True)
    assert sorted(server.folder.rglob("*")) == before


@pytest.fixture
def copy(run: Run, live: redis.Redis, tmp_path: Path) -> Path:
    """A copy."""
    run("make")
    return tmp_path / "copies" / "nova-1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "0" * 64}, "is damaged: its SHA-256 is not that of the manifest"),
        ({"redis_version": "99.1.0"}, "the copy is of Redis 99.1.0, and this host has"),
        ({"made_at": "2020-01-01T00:00:00Z"}, "days old, more than 7; restore it all the same"),
    ],
    ids=["damaged", "newer", "old"],
)
def test_a_copy_is_refused_with_the_reason(
    run: Run, copy: Path, change: dict[str, str], words: str
) -> None:
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert words in run("judge")["error"]


def test_a_copy_without_a_manifest_is_refused_unless_told(run: Run, copy: Path) -> None:
    (copy / "manifest.json").unlink()
    assert "-e without_manifest=true" in run("judge")["error"]
    assert run("judge", without_manifest=True) == {}


def test_a_damaged_copy_is_found_without_a_manifest_too(run: Run, copy: Path) -> None:
    """Redis's own checksum is at the end of the file."""
    (copy / "manifest.json").unlink()
    content = bytearray((copy / "dump.rdb").read_bytes())
    content[-12] ^= 1
    (copy / "dump.rdb").write_bytes(content)
    assert "redis-check-rdb refuses" in run("judge", without_manifest=True)["error"]
    (copy / "dump.rdb").write_bytes(b"text")
    assert "is no copy of a Redis" in run("judge", without_manifest=True)["error"]


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("queues", {"governance": 3}, "queue governance: 2 tasks, not 3"),
        ("kept", {"nova:trends:report": 2}, "nova:trends:report: 1 keys, not 2"),
        ("expiring", {}, "results: 1 keys that expire, not 0"),
        ("held", 0, "held: 1 tasks, not 0"),
    ],
)
def test_another_content_is_noticed_before_the_data_is_touched(
    run: Run, copy: Path, server: LocalRedis, part: str, value: Any, words: str
) -> None:
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    assert words in run("build")["error"]
    assert not (server.folder / "nova-restore").exists()


def test_results_that_expired_since_are_not_missed(
    run: Run, live: redis.Redis, server: LocalRedis
) -> None:
    live.set("celery-task-meta-2", "{}", px=1)
    live.set("celery-task-meta-3", "{}", px=500)
    run("make")
    restore(server, run)
    assert live.exists("celery-task-meta-1") == 1


def test_what_the_server_holds_is_compared_with_what_was_built(
    run: Run, copy: Path, live: redis.Redis
) -> None:
    built = run("build")["built"]
    live.rpush("trends", "since")
    assert "queue trends: 1 tasks, not 0" in run("verify", built=built)["error"]


def judged(client: redis.Redis) -> dict[str, str]:
    """The releases that were judged, and how."""
    return {release.id: release.state for release in list_releases(client) if release.since}


def test_no_token_of_the_lock_comes_twice_and_no_voided_release_comes_back(
    run: Run, live: redis.Redis, server: LocalRedis, settings: Settings
) -> None:
    """The copy was made in the middle of a roll; another one failed since."""
    first = take_lock(live, settings, owner="ann", reason="deploy 2")
    mark_release(live, settings, "1.0-good", "good", by="ann")
    mark_release(live, settings, "2.0-taken", "voided", by="ann")
    run("make")
    free_lock(live, first.token)
    later = take_lock(live, settings, owner="ben", reason="deploy 3")
    mark_release(live, settings, "3.0-broken", "voided", by="ben", reason="the gate")
    mark_release(live, settings, "2.0-taken", "unknown", by="ben")
    mark_release(live, settings, "2.0-taken", "good", by="ben")
    run("remember")
    restore(server, run)
    assert read_lock(live) is None
    assert take_lock(live, settings, owner="eve", reason="site").token > later.token
    assert judged(live) == {"1.0-good": "good", "2.0-taken": "good", "3.0-broken": "voided"}
    last = read_audit(live, 1)[0]
    assert (last.by, last.action, last.to) == ("ann@controller", "restore", "nova-1")


def test_tokens_are_safe_when_nobody_knows_which_were_given(
    run: Run, live: redis.Redis, server: LocalRedis, settings: Settings
) -> None:
    """The data is gone; the same copy is restored twice."""
    take_lock(live, settings, owner="ann", reason="deploy 2")
    run("make")
    restore(server, run)
    first = take_lock(live, settings, owner="ben", reason="deploy 3")
    assert first.token > 1000
    time.sleep(1.1)
    restore(server, run, "later")
    assert take_lock(live, settings, owner="eve", reason="site").token > first.token


def test_a_release_that_cannot_settle_a_copy_is_refused(run: Run, copy: Path) -> None:
    """Before anything is touched: it is older than the playbook."""
    lacks_it = "sys.modules['nova.operations.restored'] = None"
    assert "is older than this playbook" in run("judge", lacks_it)["error"]


def test_too_little_room_is_refused_before_anything_is_written(
    run: Run, live: redis.Redis, tmp_path: Path
) -> None:
    """A file system of 4 kB."""
    live.set("nova:large", "x" * 1_000_000)
    answer = run("make", folder="/sys/fs/nova")
    assert "has 0 MB free" in answer["error"]
    assert not (tmp_path / "copies").exists()


def test_what_redis_does_is_told(run: Run, live: redis.Redis, server: LocalRedis) -> None:
    assert run("ask")["busy"] == []
    live.set("nova:worker:trends@a", "{}", ex=20)
    live.set("nova:beat:leader", "{}", ex=20)
    told = run("ask")
    assert (told["role"], told["busy"]) == ("master", ["trends@a", "a scheduler"])
    assert "invalid" in run("ask", password="wrong")["why"]
    server.stop()
    assert run("ask")["answers"] is False
