"""Governance's files agree with each other."""

import re
from pathlib import Path

from nova.channels import METRIC_NAMES
from nova.governance.models import Counts, Flag
from nova.governance.policy import PACKAGED, Weights, load_policy, parse_policy
from nova.governance.scoring import FEATURES, FLAGS, INPUT_METRICS
from nova.governance.watch import (
    MailTarget,
    Notify,
    Tool,
    WatchedVersion,
    WatchFile,
    WebhookTarget,
    parse_watch,
)
from nova.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config" / "governance.yml"
EXAMPLE_WATCH = ROOT / "config" / "governance-watch.yml"
DOCUMENT = ROOT / "docs" / "governance.md"


def test_the_example_policy_is_the_packaged_policy_and_valid() -> None:
    """Somebody who copies the example starts from exactly what Nova does without a policy."""
    assert EXAMPLE.is_symlink()
    assert EXAMPLE.resolve() == Path(str(PACKAGED)).resolve()
    settings = Settings.model_validate({"REDIS_URL": "redis://localhost"})
    assert parse_policy(EXAMPLE.read_text(), "example") == load_policy(settings)


def test_every_scored_metric_has_a_weight_and_the_other_way_round() -> None:
    assert [feature.name for feature in FEATURES] == list(Weights.model_fields)


def test_scoring_reads_only_metrics_that_are_stored() -> None:
    assert set(INPUT_METRICS) <= set(METRIC_NAMES)


def test_every_flag_can_be_given_and_is_counted() -> None:
    assert set(FLAGS) == set(Flag)
    assert {flag.value for flag in Flag} <= set(Counts.model_fields)


def test_the_document_explains_every_scored_metric() -> None:
    text = DOCUMENT.read_text()
    missing = [feature.name for feature in FEATURES if f"| `{feature.name}` |" not in text]
    assert missing == []


def test_the_example_watch_file_is_taken_and_shows_every_kind() -> None:
    found = parse_watch(EXAMPLE_WATCH.read_text(), "example")
    assert len(found.tools) == 2
    assert {watched.kind for watched in found.versions} == {"json", "text", "feed"}
    assert {target.kind for target in found.notify.targets} == {"webhook", "slack", "smtp"}


def test_the_documents_watch_file_is_taken() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    found = parse_watch(example, "docs/governance.md")
    assert found.tools
    assert found.versions
    assert {target.kind for target in found.notify.targets} == {"slack", "smtp"}


def test_the_document_explains_every_field_of_a_watch_file() -> None:
    text = DOCUMENT.read_text()
    sections = (WatchFile, Tool, WatchedVersion, Notify, WebhookTarget, MailTarget)
    fields = {name for section in sections for name in section.model_fields}
    fields -= set(WatchFile.model_fields)  # the example shows the sections
    missing = [name for name in fields if not re.search(rf"^\| .*`{name}`.* \|", text, re.M)]
    assert missing == []
