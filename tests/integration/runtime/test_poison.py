"""Real workers and tasks that kill them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from nova.runtime.claims import STARTS_ALLOWED
from nova.runtime.deadletters import DeadLetter, all_letters, drop, replay
from nova.store import Keys
from tests.conftest import CELERY, wait_until
from tests.integration.runtime.letters import MENDED, STARTS

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any

APP = "tests.integration.runtime.poison_app"
LEASE_SECONDS = 3
#: Asks for the results of tasks, and prints each, or its error.
GET = """
import sys
from nova.celery_app import app
for task_id in sys.argv[1:]:
    try:
        print(app.AsyncResult(task_id).get(timeout=120))
    except Exception as error:
        print(type(error).__name__, error)
"""
#: Prints how many tasks a worker has sent to its children.
WRITES = """
from nova.celery_app import app
for stats in app.control.inspect(limit=1).stats().values():
    print(stats["pool"]["writes"]["total"])
"""
PUBLISH = f"""
import sys
from {APP} import harmless, poison
print(poison.delay(sys.argv[1]).id)
for number in range(int(sys.argv[2])):
    print(harmless.delay(number).id)
"""


@pytest.fixture
def environment(process_environment: dict[str, str]) -> dict[str, str]:
    """Environment of these workers: they find the app, and leases are short."""
    root = str(Path(__file__).resolve().parents[3])
    lease = {"NOVA_LEASE_SECONDS": str(LEASE_SECONDS)}
    return process_environment | lease | {"PYTHONPATH": root}


StartWorker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(
    client: Client, environment: dict[str, str], tmp_path: Path
) -> Iterator[StartWorker]:
    """Start workers of some processes on the queue `trends`; they are stopped at the end."""
    command = [CELERY, "-A", APP, "worker", "--queues=trends"]
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:

        def start(concurrency: int, *options: str) -> "subprocess.Popen[bytes]":
            number = len(processes)
            output = stack.enter_context((tmp_path / f"worker-{number}.log").open("wb"))
            process = subprocess.Popen(
                [
                    *(*command, f"--hostname=poison{number}@%h"),
                    *(f"--concurrency={concurrency}", *options),
                ],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            processes.append(process)
            return process

        yield start
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


@pytest.fixture
def python(environment: dict[str, str]) -> Callable[..., list[str]]:
    """Run a program in a process of its own; return the lines that it prints."""

    def run(program: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    return run


def wait_for_letter(client: Client) -> DeadLetter:
    wait_until(lambda: all_letters(client))
    [letter] = all_letters(client)
    return letter


def test_a_task_that_kills_its_process_is_given_up_and_can_be_replayed(
    client: Client, start_worker: StartWorker, python: Callable[..., list[str]]
) -> None:
    """After five starts; who waits gets an error, the tasks beside it run, a replay runs it."""
    start_worker(2)
    poison, *harmless = python(PUBLISH, "child", "5")
    letter = wait_for_letter(client)
    assert (letter.task_id, letter.task) == (poison, "nova.trends.poison")
    assert len(letter.history) == letter.starts == STARTS_ALLOWED
    assert client.get(STARTS) == str(STARTS_ALLOWED).encode()
    answer, *others = python(GET, poison, *harmless)
    assert answer.startswith(f"DeadLetterError task {poison} was given up: started 5 times")
    assert others == [str(number) for number in range(5)]

    client.set(MENDED, 1)
    replay(client, letter)
    assert python(GET, poison) == ["mended"]
    assert client.get(STARTS) == str(STARTS_ALLOWED + 1).encode()
    assert all_letters(client) == []


def test_a_task_whose_child_died_before_it_said_so_has_counted_as_started(
    client: Client, start_worker: StartWorker, python: Callable[..., list[str]]
) -> None:
    """The pool would send it to the next child, uncounted; it had four starts left, not five."""
    worker = psutil.Process(start_worker(1).pid)
    wait_until(lambda: client.exists(Keys.WORKERS))
    [child] = worker.children()
    child.suspend()
    python(PUBLISH, "child", "0")
    wait_until(lambda: python(WRITES) == ["1"])
    child.kill()
    letter = wait_for_letter(client)
    assert len(letter.history) == letter.starts == STARTS_ALLOWED
    assert client.get(STARTS) == str(STARTS_ALLOWED - 1).encode()


def test_children_that_are_replaced_lose_no_task(
    client: Client, start_worker: StartWorker, python: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A task that was sent to a child that ends goes to the next one; that is no lost start."""
    client.set(MENDED, 1)
    start_worker(2, "--max-tasks-per-child=1")
    tasks = python(PUBLISH, "child", "100")
    assert python(GET, *tasks) == ["mended", *map(str, range(100))]
    log = (tmp_path / "worker-0.log").read_text()
    assert "WorkerLostError" not in log
    assert client.get(STARTS) == b"1"


def test_a_task_that_kills_its_worker_is_given_up_and_can_be_dropped(
    client: Client, start_worker: StartWorker, python: Callable[..., list[str]]
) -> None:
    """Each start costs a worker; the next one finds the message when the lease has run out.

    One process: a task that runs beside the poison would lose its starts with it.
    """
    poison, *harmless = python(PUBLISH, "main", "2")
    worker = start_worker(1)

    def is_given_up() -> bool:
        nonlocal worker
        if worker.poll() is not None:
            worker = start_worker(1)  # as systemd does
        return bool(all_letters(client))

    wait_until(is_given_up)
    [letter] = all_letters(client)
    assert letter.task_id == poison
    assert len({start.worker for start in letter.history}) == STARTS_ALLOWED
    assert client.get(STARTS) == str(STARTS_ALLOWED).encode()
    answer, *others = python(GET, poison, *harmless)
    assert answer.startswith("DeadLetterError")
    assert others == ["0", "1"]
    assert worker.poll() is None

    drop(client, letter)
    assert client.hget(Keys.issued_task(poison), "done").endswith(b" dropped")
    assert all_letters(client) == []


MALFORMED = [
    b'{"headers": null, "properties": {"delivery_tag": "no headers"}}',
    b'{"headers": [], "properties": {"delivery_tag": "headers are a list"}}',
    b'{"headers": {"id": "no body", "task": "nova.trends.harmless"},'
    b' "properties": {"delivery_tag": "1"}}',
    b'{"headers": {"id": "no JSON to Python"}, "properties": {"delivery_tag": "2"}, "x": 0x1F}',
    b'{"headers": {"id": "ETA", "eta": "2099-01-01"}, "properties": {"delivery_tag": "3"}}',
    b"text",
]


def test_malformed_messages_are_given_up_and_do_not_end_the_worker(
    client: Client, start_worker: StartWorker, python: Callable[..., list[str]]
) -> None:
    """Each would be an error in the worker's event loop, which ends it."""
    client.lpush("trends", *MALFORMED)
    client.set(MENDED, 1)
    worker = start_worker(2)
    [task_id] = python(PUBLISH, "child", "0")
    assert python(GET, task_id) == ["mended"]
    wait_until(lambda: len(all_letters(client)) == len(MALFORMED))
    assert worker.poll() is None
    assert {letter.message.encode() for letter in all_letters(client)} == set(MALFORMED)
    # A result is there before its message is let go.
    wait_until(lambda: client.hlen(Keys.HELD) == 0)
