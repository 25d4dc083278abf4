"""The queue table of queues.yml as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

import yaml

#: Where a task goes that belongs to no domain, such as the health check.
DEFAULT_QUEUE = "maintenance"


@dataclass(frozen=True)
class Queue:
    """One row of the queue table."""

    name: str
    purpose: str
    concurrency: int
    soft_time_limit_seconds: int
    time_limit_seconds: int


def _load() -> Mapping[str, Queue]:
    table = yaml.safe_load(resources.files("nova").joinpath("queues.yml").read_text())
    return MappingProxyType({name: Queue(name=name, **row) for name, row in table.items()})


QUEUES: Mapping[str, Queue] = _load()


def queue_of_task(task_name: str) -> Queue:
    """Return the queue of a task: `nova.<domain>.*` goes to queue `<domain>`."""
    domain = task_name.split(".")[1] if task_name.count(".") >= 2 else DEFAULT_QUEUE
    return QUEUES.get(domain, QUEUES[DEFAULT_QUEUE])
