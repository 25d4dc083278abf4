"""The manifest of this release says what its tasks, queues and schedule say."""

import json
import subprocess
import sys

from nova.operations.skew import compare, parse_manifest
from nova.queues import QUEUES
from nova.schedule import SCHEDULE


def printed() -> str:
    """Return what the command prints, which asks no Redis."""
    return subprocess.run(
        [sys.executable, "-m", "nova", "release", "manifest"],
        env={"REDIS_URL": "redis://localhost"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_it_has_every_task_with_its_queue_and_arguments_and_fits_itself() -> None:
    manifest = parse_manifest(printed(), "the manifest")
    assert compare(manifest, manifest) == []
    assert manifest.queues == list(QUEUES)
    assert {entry.name: entry.task for entry in SCHEDULE} == {
        name: entry.task for name, entry in manifest.beat.items()
    }
    for entry in SCHEDULE:
        assert manifest.tasks[entry.task].queue == entry.queue
    assert "nova.health_check" in manifest.tasks
    cleanup = manifest.tasks["nova.maintenance.memory_cleanup_task"].arguments["properties"]
    assert cleanup["max_age_hours"]["type"] == "integer"
    # Beat sends no arguments: docs/decisions/0021 rests on that.
    assert all("required" not in manifest.tasks[entry.task].arguments for entry in SCHEDULE)


def test_a_task_less_is_seen() -> None:
    text = json.loads(printed())
    old = parse_manifest(json.dumps(text), "old")
    del text["tasks"]["nova.governance.send_notification_task"]
    [change] = compare(old, parse_manifest(json.dumps(text), "new"))
    assert not change.is_compatible
