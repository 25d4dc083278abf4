"""The policy file: what is taken, and what a person reads when it is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nova.errors import ConfigurationError
from nova.governance.policy import PACKAGED, Policy, load_policy, parse_policy
from nova.settings import Settings


@pytest.fixture
def values() -> dict[str, Any]:
    """The packaged policy's values."""
    loaded: dict[str, Any] = yaml.safe_load(PACKAGED.read_text())
    return loaded


def settings_with(path: Path | None) -> Settings:
    variables = {"REDIS_URL": "redis://localhost", "NOVA_GOVERNANCE_POLICY": path}
    return Settings.model_validate(variables)


def message_of(values: object) -> str:
    """Return the error that a policy with these values gives."""
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(yaml.safe_dump(values), "policy.yml")
    return str(caught.value)


def test_without_a_setting_the_packaged_policy_is_used() -> None:
    policy = load_policy(settings_with(None))
    assert policy.window_days == 28
    assert not policy.enforcement.auto_actions, "acting on channels must be asked for"


def test_the_file_that_the_setting_names_is_used(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "own.yml"
    path.write_text(yaml.safe_dump(values | {"window_days": 14}))
    assert load_policy(settings_with(path)).window_days == 14


def test_a_missing_file_names_the_path_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_policy(settings_with(tmp_path / "absent.yml"))
    assert "absent.yml" in str(caught.value)
    assert "NOVA_GOVERNANCE_POLICY" in str(caught.value)


def test_a_file_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yml"
    path.write_bytes(b"window_days: \xff")
    with pytest.raises(ConfigurationError, match=r"latin\.yml: is not UTF-8"):
        load_policy(settings_with(path))


@pytest.mark.parametrize(
    ("section", "field", "value", "expected"),
    [
        (None, "window_days", "x", "window_days: Input should be a valid integer"),
        (None, "window_days", 1, "window_days: Input should be greater than or equal to 2"),
        (None, "min_days", 29, "min_days must not exceed window_days"),
        (None, "colour", 1, "colour: Extra inputs are not permitted"),
        (None, "z_score_limit", 0, "z_score_limit: Input should be greater than 0"),
        ("weights", "views", -1, "weights.views: Input should be greater than or equal to 0"),
        ("weights", "views", float("nan"), "weights.views: Input should be a finite number"),
        ("weights", "likes", 1, "weights.likes: Extra inputs are not permitted"),
        ("thresholds", "watch", 2.0, "thresholds: must be in the order promote > watch > retire"),
        ("enforcement", "auto_actions", "yes", "enforcement.auto_actions: Input should be a val"),
        ("enforcement", "max_promotions", -1, "enforcement.max_promotions: Input should be"),
    ],
)
def test_a_wrong_value_names_file_field_and_reason_in_one_line(
    values: dict[str, Any], section: str | None, field: str, value: object, expected: str
) -> None:
    (values[section] if section else values)[field] = value
    message = message_of(values)
    assert re.match(r"governance policy policy\.yml: line \d+, ", message)
    assert expected in message
    assert "\n" not in message


def test_a_field_that_is_left_out_is_named(values: dict[str, Any]) -> None:
    del values["enforcement"]["max_retirements"]
    assert "enforcement.max_retirements: Field required" in message_of(values)


def test_all_that_is_wrong_is_said_at_once(values: dict[str, Any]) -> None:
    values |= {"window_days": 0, "consistency_bonus": -1}
    message = message_of(values)
    assert "window_days" in message
    assert "consistency_bonus" in message


def test_weights_that_are_all_zero_are_refused(values: dict[str, Any]) -> None:
    values["weights"] = dict.fromkeys(values["weights"], 0)
    assert "weights: at least one weight must be above 0" in message_of(values)


def test_broken_yaml_names_line_and_column() -> None:
    with pytest.raises(ConfigurationError, match="line 3, column 1: is not YAML") as caught:
        parse_policy("weights:\n  views: [1\n", "policy.yml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["window_days: 2020-02-30\n", "window_days: " + "[" * 5000])
def test_a_date_that_is_none_and_endless_brackets_are_one_line(text: str) -> None:
    """YAML's own reader has other errors for these."""
    with pytest.raises(ConfigurationError, match=r"policy\.yml: is not YAML: ") as caught:
        parse_policy(text, "policy.yml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1\n", "28\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a mapping"):
        parse_policy(text, "policy.yml")


def test_the_digest_changes_with_any_value_and_with_nothing_else(values: dict[str, Any]) -> None:
    digest = Policy.model_validate(values).digest
    backwards = dict(reversed(values.items()))
    assert Policy.model_validate(backwards).digest == digest
    values["thresholds"]["promote"] = 1.01
    assert Policy.model_validate(values).digest != digest
