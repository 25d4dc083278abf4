"""Workers: together they serve every queue, and each of them does real work."""

import json
from typing import Any

from testinfra.host import Host

testinfra_hosts = ["ansible://workers?sudo=true"]


def test_every_queue_has_a_worker_on_this_host(host: Host, fleet: Any, queues: set[str]) -> None:
    """By default each worker host serves every queue of the queue table."""
    served = {
        queue
        for queue, workers in fleet.workers().items()
        for worker in workers
        if worker.endswith(f"@{host.backend.host}")
    }
    assert served == queues


def test_a_real_task_through_each_queue_on_this_host(host: Host, fleet: Any) -> None:
    """A health check published to each queue is answered by this host's worker, healthy."""
    here = {
        queue: [worker for worker in workers if worker.endswith(f"@{host.backend.host}")]
        for queue, workers in fleet.workers().items()
    }
    answer = fleet.ask_workers(here)
    assert answer["missing"] == {}
    assert {entry["status"] for entry in answer["answers"]} == {"healthy"}


def test_workers_run_as_nova_with_the_concurrency_of_their_file(host: Host) -> None:
    """The heartbeat of each worker shows the processes that its file asks for."""
    beats = {
        beat["name"]: beat
        for beat in json.loads(host.check_output("nova status --json"))["workers"]
    }
    for path in host.check_output("ls /etc/nova/workers/*.env").split():
        name = path.rpartition("/")[2].removesuffix(".env")
        wanted = int(host.check_output("sed -n 's/^CELERY_WORKER_CONCURRENCY=//p' %s", path))
        assert beats[f"{name}@{host.backend.host}"]["concurrency"] == wanted
        pid = host.check_output("systemctl show -P MainPID %s", f"celery-worker@{name}")
        assert host.check_output("stat -c %%U /proc/%s", pid) == "nova"
