"""The task through a real worker: triggered, filled back over a range, and stopped in between."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis

from nova.analytics.models import Period
from nova.analytics.reading import get_channel, get_leaderboard
from nova.analytics.reports import STORE
from nova.store import Keys
from tests.conftest import wait_until
from tests.integration.analytics.conftest import LAST_DAY, StoreDay, keys_of_staging

NOVA = (sys.executable, "-m", "nova")
FROM = LAST_DAY - timedelta(days=4)
BACKFILL = ("analytics", "backfill", "--from", str(FROM), "--to", str(LAST_DAY))

Worker = subprocess.Popen[bytes]


def nova(
    environment: dict[str, str], *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which must end with the code."""
    done = subprocess.run(
        [*NOVA, *arguments], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def answer(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(nova(environment, *arguments, "--json").stdout)
    return found


def processed(client: redis.Redis) -> Sequence[object]:
    found: Sequence[object] = client.zrange(Keys.ANALYTICS_DAYS, 0, -1)
    return found


def test_a_triggered_run_gives_a_report_whose_id_is_the_tasks(
    worker: Worker, process_environment: dict[str, str], client: redis.Redis, store: StoreDay
) -> None:
    for days_ago in (0, 1, 40):
        store(days_ago, {"a": 1, "b": 2})
    found = answer(process_environment, "trigger", "analytics", "--wait", "--timeout", "30")
    report = STORE.get(client, found["task_id"])
    assert found["result"] == {
        "report_id": report.id,
        "day": str(LAST_DAY),
        "message": report.headline,
    }
    assert [one.channel for one in get_leaderboard(client, "views").standings] == ["b", "a"]
    shown = nova(process_environment, "report", "show", report.id).stdout
    assert "Most views of the day" in shown
    assert keys_of_staging(client) == []


def test_an_old_day_can_be_asked_for_and_one_without_metrics_says_so(
    worker: Worker, process_environment: dict[str, str], client: redis.Redis, store: StoreDay
) -> None:
    store(0, {"a": 1})
    store(9, {"a": 5})
    command = ("trigger", "analytics", "--wait", "--timeout", "30", "--day")
    assert answer(process_environment, *command, "2026-03-20")["result"]["day"] == "2026-03-20"
    nothing = answer(process_environment, *command, "2026-03-21")["result"]
    assert nothing["report_id"] is None
    assert nothing["message"].startswith("no channel metrics of 2026-03-21")


def test_a_wrong_day_is_refused_when_it_is_published(process_environment: dict[str, str]) -> None:
    done = nova(process_environment, "trigger", "analytics", "--day", "20260329", code=1)
    assert "argument day" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_backfill_processes_the_days_that_are_not_done(
    worker: Worker, process_environment: dict[str, str], client: redis.Redis, store: StoreDay
) -> None:
    for days_ago in (0, 1, 2, 4, 40):
        store(days_ago, {"a": 10**days_ago})
    found = answer(process_environment, *BACKFILL)
    days = [str(LAST_DAY - timedelta(days=ago)) for ago in (4, 2, 1, 0)]
    assert found == {"processed": days, "done_before": [], "days_without_data": 1}
    assert processed(client)[-4:] == [day.encode() for day in days]
    [week] = [span for span in get_channel(client, "a").spans if span.period is Period.WEEK]
    assert week.metrics[0].total == 10_111
    assert STORE.list(client).total == 4
    store(2, {"a": 7})
    assert answer(process_environment, *BACKFILL) == {
        "processed": [days[1]],
        "done_before": [days[0], *days[2:]],
        "days_without_data": 1,
    }


def test_a_backfill_that_is_interrupted_goes_on_where_it_was(
    worker_environment: dict[str, str],
    client: redis.Redis,
    store: StoreDay,
    request: pytest.FixtureRequest,
) -> None:
    """Ctrl-C while no worker is there: one task waits. The rest comes with the next command."""
    for days_ago in range(5):
        store(days_ago, {"a": 1})
    with subprocess.Popen(
        [*NOVA, *BACKFILL], env=worker_environment, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: client.llen("analytics") == 1)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "stopped: 0 days processed, 5 left\n"
    request.getfixturevalue("worker")
    wait_until(lambda: len(processed(client)) == 1)
    found = answer(worker_environment, *BACKFILL)
    assert (len(found["processed"]), len(found["done_before"])) == (4, 1)
    assert keys_of_staging(client) == []
    assert STORE.list(client).total == 5, "no day was processed twice"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--from", "2026-03-02", "--to", "2026-03-01"), "--from 2026-03-02 is after --to"),
        (("--from", "2020-01-01", "--to", "2020-02-01"), "no channel metrics from 2020-01-01"),
    ],
)
def test_a_range_that_cannot_be_filled_is_one_line(
    process_environment: dict[str, str],
    client: redis.Redis,
    options: tuple[str, ...],
    reason: str,
) -> None:
    done = nova(process_environment, "analytics", "backfill", *options, code=1)
    assert done.stderr.startswith(f"nova: {reason}")
    assert done.stderr.count("\n") == 1


def test_without_a_worker_a_backfill_ends_and_says_at_which_day(
    process_environment: dict[str, str], client: redis.Redis, store: StoreDay
) -> None:
    store(0, {"a": 1})
    done = nova(process_environment, *BACKFILL, "--timeout", "1", code=os.EX_TEMPFAIL)
    assert f"nova: {LAST_DAY} is not processed after 1 s" in done.stderr
