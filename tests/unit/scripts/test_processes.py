"""The processes of a local stack: whichever way workers are grouped, every queue is served."""

import pytest

from nova.queues import QUEUES
from scripts.local.processes import GUIDE_WORKERS, WORKER_PER_QUEUE, Worker, worker_processes


@pytest.mark.parametrize("workers", [WORKER_PER_QUEUE, GUIDE_WORKERS])
def test_every_queue_is_served_by_one_worker(workers: tuple[Worker, ...]) -> None:
    assert sorted(queue for worker in workers for queue in worker.queues) == sorted(QUEUES)


def test_names_are_those_of_the_log_files_of_the_guide() -> None:
    names = [process.name for process in worker_processes()]
    assert names == [f"celery-worker-{queue}" for queue in QUEUES]
    assert [process.label for process in worker_processes(grouped=True)] == ["gov", "maint", "data"]
