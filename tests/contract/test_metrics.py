"""Metrics keep to their naming rule and are documented."""

import re

import pytest
import redis
from prometheus_client.core import Metric

from nova.metrics import FLEET_METRICS, TASK_COUNTERS, all_metrics
from nova.runtime.collectors import FleetCollector
from scripts import reference

UNITS = "seconds|bytes|tasks|messages|letters|requests|commits|slots|workers|online|up|info|ratio"


def sample_name(metric: Metric) -> str:
    """Return the name as it is written; the library leaves a counter's ending out."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


@pytest.mark.parametrize("metric", [metric for metric, _ in all_metrics()], ids=sample_name)
def test_a_metric_is_named_by_the_rule_and_has_help(metric: Metric) -> None:
    assert re.fullmatch(rf"nova(_[a-z]+)+_({UNITS})(_total)?|nova_[a-z]+_up", sample_name(metric))
    assert sample_name(metric).endswith("_total") == (metric.type == "counter")
    assert metric.documentation.endswith(".")


def test_the_reference_lists_each_metric_once_and_no_other() -> None:
    page = (reference.FOLDER / "metrics.md").read_text()
    documented = re.findall(r"^\| `(nova_\w+)[`{]", page, re.MULTILINE)
    assert sorted(documented) == sorted(sample_name(metric) for metric, _ in all_metrics())


def test_the_collector_knows_the_metrics_that_are_defined() -> None:
    described = [metric.name for metric in FleetCollector(redis.Redis()).describe()]
    assert described == [metric.family().name for metric in FLEET_METRICS]
    assert {metric.name for metric in TASK_COUNTERS.values()} <= {m.name for m in FLEET_METRICS}
