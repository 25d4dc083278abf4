"""Metrics keep to their naming rule and are documented."""

import re
from pathlib import Path

import pytest
import redis
from prometheus_client.core import Metric

from nova.metrics import REGISTRY, FleetCollector

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "api.md"
UNITS = "seconds|bytes|tasks|messages|letters|requests|workers|online|up|info|ratio"


def all_metrics() -> list[Metric]:
    """Return every metric, with the name that samples have and without asking Redis."""
    return [*REGISTRY.collect(), *FleetCollector(redis.Redis()).describe()]


def sample_name(metric: Metric) -> str:
    """Return the name as it is written; the library leaves a counter's ending out."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


@pytest.mark.parametrize("metric", all_metrics(), ids=sample_name)
def test_a_metric_is_named_by_the_rule_and_has_help(metric: Metric) -> None:
    assert re.fullmatch(rf"nova(_[a-z]+)+_({UNITS})(_total)?|nova_[a-z]+_up", sample_name(metric))
    assert sample_name(metric).endswith("_total") == (metric.type == "counter")
    assert metric.documentation.endswith(".")


def test_the_documentation_lists_each_metric_once_and_no_other() -> None:
    documented = re.findall(r"^\| `(nova_\w+)[`{]", DOCUMENTATION.read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(sample_name(metric) for metric in all_metrics())
