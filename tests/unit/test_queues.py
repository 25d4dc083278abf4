"""The queue table and the route rule."""

import pytest

from nova.queues import DEFAULT_QUEUE, QUEUES, queue_of_task


def test_the_five_domains_have_a_queue() -> None:
    assert list(QUEUES) == ["governance", "maintenance", "analytics", "analysis", "trends"]


@pytest.mark.parametrize("name", QUEUES)
def test_a_task_is_asked_to_stop_before_it_is_killed(name: str) -> None:
    queue = QUEUES[name]
    assert 0 < queue.soft_time_limit_seconds < queue.time_limit_seconds
    assert queue.concurrency >= 1


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("nova.governance.run_governance_task", "governance"),
        ("nova.trends.daily_trend_scan_task", "trends"),
        ("nova.health_check", DEFAULT_QUEUE),
        ("celery.backend_cleanup", DEFAULT_QUEUE),
    ],
)
def test_a_task_goes_to_the_queue_of_its_domain(task: str, queue: str) -> None:
    assert queue_of_task(task).name == queue
