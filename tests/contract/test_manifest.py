"""The manifest of this release says what its tasks, queues and schedule say."""

import json
import subprocess
import sys

from nova.operations.skew import compare, parse_manifest
from nova.queues import QUEUES
from nova.schedule import SCHEDULE


def nova_release(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run `nova release`, which asks no Redis for these."""
    return subprocess.run(
        [sys.executable, "-m", "nova", "release", *words],
        env={"REDIS_URL": "redis://localhost"},
        input=text,
        check=False,
        capture_output=True,
        text=True,
    )


def printed() -> str:
    """Return the manifest as the command prints it."""
    return nova_release("manifest").stdout


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


def test_a_release_compares_itself_with_the_manifest_of_another() -> None:
    """So a roll does it, before the release runs anywhere."""
    own = printed()
    same = nova_release("compare", "--json", "-", text=own)
    assert json.loads(same.stdout) == {"is_compatible": True, "changes": []}
    more = json.loads(own)
    more["tasks"]["nova.trends.gone"] = next(iter(more["tasks"].values()))
    other = nova_release("compare", "-", text=json.dumps(more))
    assert other.returncode == 1
    assert other.stderr.startswith("nova.trends.gone")
