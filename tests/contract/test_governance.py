"""Governance's files agree with each other."""

from pathlib import Path

from nova.channels import METRIC_NAMES
from nova.governance.models import Counts, Flag
from nova.governance.policy import PACKAGED, Weights, load_policy, parse_policy
from nova.governance.scoring import FEATURES, FLAGS, INPUT_METRICS
from nova.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config" / "governance.yml"
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
