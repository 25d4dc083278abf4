"""The task through a real worker, published by the real command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from nova.governance.models import Report
from nova.governance.reports import get_report, list_reports
from nova.settings import Settings
from tests.conftest import wait_until

COMMAND = (sys.executable, "-m", "nova", "trigger", "governance")


def trigger(environment: dict[str, str], *options: str) -> dict[str, Any]:
    """Run `nova trigger governance` in a process of its own."""
    command = [*COMMAND, "--json", *options]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    answer: dict[str, Any] = json.loads(output)
    return answer


def test_a_triggered_run_gives_a_report_whose_id_is_the_tasks(
    worker: "subprocess.Popen[bytes]",
    process_environment: dict[str, str],
    client: redis.Redis,
    fleet: list[str],
) -> None:
    answer = trigger(process_environment, "--wait", "--timeout", "30", "--auto-actions")
    report = get_report(client, answer["task_id"])
    assert report.enforcement.auto_actions
    result = answer["result"]
    assert result["report_id"] == report.id
    assert result["window"] == {"start": "2026-03-01", "end": "2026-03-28"}
    assert result["counts"] == report.counts.model_dump()
    assert result["actions_taken"] == len(report.enforcement.taken) > 0


def test_without_waiting_the_report_comes_later_and_the_policy_decides_on_actions(
    worker: "subprocess.Popen[bytes]",
    process_environment: dict[str, str],
    client: redis.Redis,
    fleet: list[str],
) -> None:
    answer = trigger(process_environment)
    assert set(answer) == {"task_id"}
    wait_until(lambda: list_reports(client).total == 1)
    report: Report = get_report(client)
    assert report.id == answer["task_id"]
    assert not report.enforcement.auto_actions


def test_a_fleet_without_metrics_gets_a_plain_answer_and_no_failure(
    worker: "subprocess.Popen[bytes]", process_environment: dict[str, str]
) -> None:
    answer = trigger(process_environment, "--wait", "--timeout", "30")
    assert answer["result"] == {
        "report_id": None,
        "message": "no channel metrics yet: nothing to judge",
    }


def failing_trigger(environment: dict[str, str], timeout_seconds: int, exit_code: int = 1) -> str:
    """Run `nova trigger governance --wait`, which must fail; return the line it says."""
    command = [*COMMAND, "--wait", f"--timeout={timeout_seconds}"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == exit_code
    assert done.stdout.startswith("task ")
    [line] = done.stderr.splitlines()
    return line


def test_without_a_worker_waiting_ends_with_what_to_look_at(
    process_environment: dict[str, str], client: redis.Redis
) -> None:
    error = failing_trigger(process_environment, 1, os.EX_TEMPFAIL)
    assert "is a governance worker online? see: nova status" in error


def test_a_wrong_policy_fails_the_task_with_the_line_that_says_what_is_wrong(
    worker_environment: dict[str, str],
    client: redis.Redis,
    fleet: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    path = tmp_path / "own.yml"
    path.write_text("window_days: 28\n")
    worker_environment["NOVA_GOVERNANCE_POLICY"] = str(path)
    request.getfixturevalue("worker")
    error = failing_trigger(worker_environment, 30)
    assert error.startswith("nova: governance policy")
    assert "own.yml: line 1, min_days: Field required" in error


def test_a_message_with_arguments_of_another_release_reaches_the_worker_and_fails_there(
    worker: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    """An app of Celery without Nova's tasks publishes unchecked, as another release may have."""
    other = Celery(broker=settings.redis_dsn, backend=settings.redis_dsn, set_as_current=False)
    result = other.send_task(
        "nova.governance.run_governance_task", kwargs={"removed": 1}, queue="governance"
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'removed'"):
        result.get(timeout=30)
