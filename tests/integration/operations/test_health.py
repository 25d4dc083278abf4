"""The check of the fleet against real workers and a real group of Redis servers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from nova.operations.health import Expected, check_fleet
from nova.settings import Settings
from nova.store import connect
from scripts.local.redis_server import LocalRedis
from tests.conftest import wait_until
from tests.integration.runtime.stopping import ROOT, Fleet


def check(fleet: Fleet, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "nova", "fleet", "check", *options],
        cwd=ROOT,
        env=fleet.environment | {"REDIS_URL": fleet.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_each_finding_is_a_line_and_the_exit_code_says_no(fleet: Fleet) -> None:
    worker = fleet.start("worker")
    answer = check(fleet, "--worker", worker.node, "--worker", "gone@test", "--no-beat", "--json")
    assert answer.returncode == 1
    found: dict[str, Any] = json.loads(answer.stdout)
    assert found["passed"] is False
    lines = answer.stderr.splitlines()
    assert lines[0] == "worker gone@test: it is not online"
    assert [line.split(":")[0] for line in lines[1:]] == [
        f"queue {queue}" for queue in ("governance", "maintenance", "analytics", "analysis")
    ]
    assert len(lines) == len(found["findings"])


def test_a_fleet_that_is_well_passes(fleet: Fleet) -> None:
    queues = "governance,maintenance,analytics,analysis,trends"
    worker = fleet.start("worker", f"--queues={queues}")
    answer = check(fleet, "--worker", worker.node, "--no-beat")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "The fleet is well.\n", "")


def redis_findings(settings: Settings) -> list[str]:
    with connect(settings) as client:
        found = check_fleet(client, settings, Expected(beat=False)).findings
    return [finding.line() for finding in found if finding.part == "redis"]


def test_replicas_that_do_not_confirm_are_missed(
    server: LocalRedis, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """Also one that froze, which Redis counts as connected for a minute."""
    settings = make_settings(REDIS_URL=server.url, NOVA_REDIS_GROUP_SIZE="2")
    missing = "redis: 0 of 1 replicas confirm a write within 2 s"
    assert redis_findings(settings) == [missing]
    options = (f"replicaof 127.0.0.1 {server.port}", f"masterauth {server.password}")
    with LocalRedis.create(tmp_path / "replica", *options) as replica:
        wait_until(lambda: redis_findings(settings) == [])
        replica.freeze()
        try:
            assert redis_findings(settings) == [missing]
        finally:
            replica.resume()


def test_a_redis_that_takes_no_writes_is_a_finding(client: redis.Redis, settings: Settings) -> None:
    client.config_set("maxmemory", "1")
    try:
        [finding] = redis_findings(settings)
    finally:
        client.config_set("maxmemory", "0")
    assert finding.startswith("redis: it takes no writes")


@pytest.mark.parametrize("size", ["1", "3"])
def test_a_primary_alone_is_enough_only_for_a_group_of_one(
    server: LocalRedis, make_settings: Callable[..., Settings], size: str
) -> None:
    settings = make_settings(REDIS_URL=server.url, NOVA_REDIS_GROUP_SIZE=size)
    assert bool(redis_findings(settings)) is (size == "3")
