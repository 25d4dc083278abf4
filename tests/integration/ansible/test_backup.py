"""What the role backup refuses and prunes without asking a Redis; the hosts are this machine."""

import getpass
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from scripts.local.redis_server import LocalRedis
from tests.integration.ansible.conftest import ANSIBLE, ROOT, run_playbook

Play = Callable[..., str]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run a part of the role, and return what Ansible printed; `internal` are its own variables."""

    def run(part: str, internal: dict[str, str] | None = None, **variables: Any) -> str:
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"a": {}}, "vars": local}}))
        given = {
            "backup_folder": str(tmp_path / "copies"),
            "backup_host_folder": str(tmp_path / "there"),
            "backup_redis_password": "0123456789abcdef",
        }
        include = {"name": "backup", "tasks_from": part}
        play = {"hosts": "all", "gather_facts": False, "vars": given | variables}
        play["tasks"] = [{"ansible.builtin.include_role": include}]
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump([play]))
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        extra = ("-e", json.dumps(internal or {}))
        return run_playbook(f"--inventory={inventory}", *extra, str(playbook), PATH=path)

    return run


def make_copy(folder: Path, name: str, hours: float = 0) -> Path:
    """Write what looks like a copy that was made some hours ago."""
    copy = folder / name
    copy.mkdir(parents=True)
    (copy / "dump.rdb").write_bytes(b"REDIS0010")
    made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - hours * 3600))
    digest = hashlib.sha256(b"REDIS0010").hexdigest()
    (copy / "manifest.json").write_text(json.dumps({"made_at": made_at, "sha256": digest}))
    return copy


def test_a_recent_copy_passes_and_an_old_one_fails_with_its_age(play: Play, tmp_path: Path) -> None:
    """What is newest counts, and what is not whole does not."""
    make_copy(tmp_path / "copies", "nova-20260101T000000Z", hours=30)
    make_copy(tmp_path / "copies", "nova-20260102T000000Z.part")
    assert "is 30.0 hours old, more than 26" in play("age")
    assert "failed=0" in play("age", backup_max_age_hours=31)
    make_copy(tmp_path / "copies", "nova-20260103T000000Z", hours=1)
    assert "failed=0" in play("age")


def test_a_newest_copy_that_is_damaged_fails(play: Play, tmp_path: Path) -> None:
    copy = make_copy(tmp_path / "copies", "nova-20260101T000000Z")
    (copy / "dump.rdb").write_bytes(b"REDIS0011")
    assert "is damaged: dump.rdb is not what its manifest says" in play("age")


def test_no_copy_at_all_fails(play: Play, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    assert "has no copy of Redis; make one: backup.yml" in play("age")


def test_the_folder_is_meant_as_seen_from_where_the_operator_stands(tmp_path: Path) -> None:
    """Not from the playbook's folder, in which programs run on the controller."""
    make_copy(tmp_path / "copies", "nova-20260101T000000Z")
    hosts = {"a": {"ansible_connection": "local", "redis_admin_password": "0123456789abcdef"}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"redis": {"hosts": hosts}}))
    folder = os.path.relpath(tmp_path / "copies", ROOT)
    options = (f"--inventory={inventory}", "--extra-vars=check_age=true", "-e", f"folder={folder}")
    said = run_playbook(*options, ANSIBLE / "playbooks" / "backup.yml")
    assert "failed=0" in said, said


def test_old_copies_and_what_was_interrupted_are_pruned(play: Play, tmp_path: Path) -> None:
    """Safety copies of a restore are counted apart; a copy that is being made stays."""
    here, there = tmp_path / "copies", tmp_path / "there"
    for day in (1, 2, 3):
        make_copy(here, f"nova-2026010{day}T000000Z")
        make_copy(there, f"nova-2026010{day}T000000Z")
        make_copy(there, f"before-restore-2026010{day}T000000Z")
    make_copy(here, "nova-20260104T000000Z.part")
    left = make_copy(here, "nova-20251231T000000Z.part")
    os.utime(left, (time.time() - 2 * 86400,) * 2)
    (here / "other").mkdir()
    assert "failed=0" in play("prune", backup_keep=2, backup_host_keep=1)
    assert {path.name for path in here.iterdir()} == {
        "nova-20260102T000000Z",
        "nova-20260103T000000Z",
        "nova-20260104T000000Z.part",
        "other",
    }
    assert {path.name for path in there.iterdir()} == {
        "nova-20260103T000000Z",
        "before-restore-20260103T000000Z",
    }


@pytest.mark.parametrize("units", ["", "celery-worker@trends.service loaded active running x"])
def test_a_host_on_which_nova_runs_is_refused(play: Play, tmp_path: Path, units: str) -> None:
    """The program `systemctl` is this test's own."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{units}' | grep . || true\n")
    program.chmod(0o755)
    output = play("fleet")
    assert ("a runs celery-worker@trends.service; stop the whole fleet first" in output) == (
        units != ""
    )
    assert ("failed=0" in output) == (units == "")


def test_a_host_without_a_release_is_refused(play: Play) -> None:
    python = {"__backup_python": "/nonexistent/python"}
    for part in ("main", "restore"):
        output = play(part, **python)
        assert "has no /opt/nova/current/bin/python" in output
        assert "run site.yml first" in output


@pytest.fixture
def group(tmp_path: Path) -> Iterator[dict[str, LocalRedis]]:
    """A primary and its replica, by host."""
    with LocalRedis.create(tmp_path / "primary") as primary:
        options = (f"replicaof 127.0.0.1 {primary.port}", f"masterauth {primary.password}")
        with LocalRedis.create(tmp_path / "replica", *options) as replica:
            with redis.Redis.from_url(replica.url) as client:
                deadline = time.monotonic() + 20
                while client.info("replication")["master_link_status"] != "up":
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield {"primary": primary, "replica": replica}


@pytest.mark.parametrize(
    ("lost", "chosen"),
    [(None, "replica"), ("host", "replica"), ("replica", "primary"), ("primary", None)],
)
def test_a_replica_that_is_in_sync_is_copied_else_the_primary(
    group: dict[str, LocalRedis], tmp_path: Path, lost: str | None, chosen: str | None
) -> None:
    """A replica whose primary is away is not: it may be behind. Check mode makes no copy.

    A host that is lost, on which nothing listens, is no reason to have no copy.
    """
    if lost in group:
        group[lost].stop()
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts: dict[str, dict[str, Any]] = {"gone": gone} if lost == "host" else {}
    hosts |= {
        name: {"backup_redis_port": server.port, "backup_redis_password": server.password}
        for name, server in group.items()
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": local}}))
    given = {
        "backup_folder": str(tmp_path / "copies"),
        "backup_host_folder": str(tmp_path / "there"),
        "backup_redis_user": "default",
        "backup_hosts": list(hosts),
    }
    [play] = yaml.safe_load((ANSIBLE / "playbooks" / "backup.yml").read_text())
    del play["tasks"], play["vars_files"]
    play |= {"hosts": "all", "become": False, "vars": given, "roles": ["backup"]}
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))
    internal = {"__backup_python": sys.executable, "__backup_owner": getpass.getuser()}
    extra = ("-e", json.dumps(internal), "--check")
    output = run_playbook(f"--inventory={inventory}", *extra, str(playbook))
    changed = re.findall(r"(\w+) : ok=\d+ changed=1 ", output)
    assert changed == ([chosen] if chosen else [])
    assert ("no Redis can be copied" in output) == (chosen is None)


def test_copies_are_pruned_also_when_there_is_no_new_one(play: Play, tmp_path: Path) -> None:
    """A full disk would stay so: here the controller's folder is a file. The host is this one."""
    (tmp_path / "copies").touch()
    there = tmp_path / "there"
    for day in (1, 2, 3):
        make_copy(there, f"nova-2026010{day}T000000Z")
    with LocalRedis.create(tmp_path / "redis") as server:
        said = play(
            "main",
            {"__backup_python": sys.executable, "__backup_owner": getpass.getuser()},
            backup_redis_user="default",
            backup_redis_port=server.port,
            backup_redis_password=server.password,
            backup_host_keep=2,
        )
    assert "no copy was made; mend what is said above" in said, said[-2500:]
    left = sorted(path.name for path in there.iterdir())
    assert len(left) == 2, (left, said)
    assert left[0] == "nova-20260103T000000Z"


def test_restore_wants_a_copy_to_be_named_before_it_talks_to_any_host() -> None:
    """The hosts of the example inventory do not exist."""
    inventory = ANSIBLE / "inventories" / "production"
    output = run_playbook("-i", str(inventory), str(ANSIBLE / "playbooks" / "restore.yml"))
    assert "say which copy to restore, such as -e backup=latest" in output


def test_a_host_that_does_not_answer_stops_a_restore(tmp_path: Path) -> None:
    """Nobody knows whether Nova runs there. Nothing listens at its address."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {
        "here": {**here, "ansible_become": False},
        "gone": {"ansible_host": "127.0.0.1", "ansible_port": 1},
    }
    inventory = tmp_path / "hosts.yml"
    group = {"hosts": hosts, "children": {"redis": {"hosts": {"here": {}}}}}
    inventory.write_text(yaml.safe_dump({"nova": group}))
    playbook = str(ANSIBLE / "playbooks" / "restore.yml")
    path = f"{tmp_path}:{os.environ['PATH']}"
    output = run_playbook("-i", str(inventory), playbook, "-e", "backup=latest", PATH=path)
    assert "unreachable=1" in output
    assert "Restore the copy" not in output
