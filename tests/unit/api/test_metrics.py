"""What /metrics says."""

from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nova import metrics
from nova.settings import Settings
from nova.store import connect
from tests.unit.api.conftest import Api


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    metrics.API_REQUESTS.clear()
    metrics.API_REQUEST_DURATION.clear()
    yield
    metrics.API_REQUESTS.clear()
    metrics.API_REQUEST_DURATION.clear()


def counted() -> dict[tuple[str, str, str], float]:
    """Return the request counter's values by method, route and status."""
    [family] = metrics.API_REQUESTS.collect()
    return {
        (s.labels["method"], s.labels["route"], s.labels["status"]): s.value for s in family.samples
    }


def test_requests_are_counted_by_the_route_and_not_by_the_path(api: Api) -> None:
    api.get("/api/celery/task/one")
    api.get("/api/celery/task/two")
    assert counted() == {("GET", "/api/celery/task/{task_id}", "401"): 2}


def test_what_clients_invent_makes_no_series(api: Api) -> None:
    api.get("/one")
    api.get("/two")
    api.request("FROB", "/three")
    assert counted() == {("GET", "unmatched", "404"): 2, ("other", "unmatched", "404"): 1}


def test_a_crash_counts_as_500(api: Api) -> None:
    def crash() -> None:
        raise RuntimeError

    api.app.add_api_route("/crash", crash)
    api.get("/crash")
    assert counted() == {("GET", "/crash", "500"): 1}


def test_durations_are_observed_by_route(api: Api) -> None:
    api.get("/healthz")
    [family] = metrics.API_REQUEST_DURATION.collect()
    counts = {s.labels["route"]: s.value for s in family.samples if s.name.endswith("_count")}
    assert counts == {"/healthz": 1}


def test_without_redis_only_the_gauges_of_the_fleet_are_missing(
    api: Api, offline_settings: Callable[..., Settings]
) -> None:
    answer = api.get("/metrics")
    assert answer.status_code == 200
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["nova_redis_up"] == 0
    assert samples["nova_release_info"] == 1
    assert not {"nova_queue_depth_tasks", "nova_workers_online"} & samples.keys()
    client = connect(offline_settings())
    assert b"nova_redis_up 0.0" in metrics.render(client)
