"""The comparison is fair: what the stock worker is measured with is what Nova runs with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Prints the settings that differ, in a process of its own: an app reads its settings at import.
COMPARE = """
from bench.contenders import nova_app, stock_equal
nova, stock = nova_app.app.conf, stock_equal.app.conf
print([k for k in stock_equal.EQUAL if nova[k] != stock[k]])
options = nova.broker_transport_options
print([k for k, v in stock_equal.EQUAL_TRANSPORT_OPTIONS.items() if options.get(k) != v])
limits = ("soft_time_limit", "time_limit", "acks_late", "track_started", "ignore_result")
for name, task in nova_app.system.tasks.items():
    other = stock_equal.system.tasks[name]
    print([k for k in limits if getattr(task, k) != getattr(other, k)])
"""


@pytest.fixture
def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[3])
    return os.environ | {"REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONPATH": root}


def test_stock_celery_is_measured_with_novas_settings(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPARE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]"] * 5
