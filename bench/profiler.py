"""Where a Celery worker's CPU time goes: samples of its stacks, sorted by what they were for."""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import redis

from bench.fleet import CONTENDERS, OTHERS, STALL_SECONDS, BenchError, backlog, drive, running

SECONDS = 5
QUICK_SECONDS = 3
SAMPLES_PER_SECOND = 200
#: What takes less of the time than this is not shown.
LEAST_SHARE = 0.01
#: Enough tasks for the seconds above, whatever is done about the speed.
TASKS_PER_SECOND = 2500
#: What a sample was for: the innermost call that one of these matches says it. A call reads
#: `caller (path:line) > function (path:line)`; of several that match it the first wins.
PURPOSES = tuple(
    (purpose, re.compile(pattern))
    for purpose, pattern in (
        ("result: started", r"trace_task [^>]*> \S*store_result "),
        ("result: done", r"> \S*mark_as_done "),
        ("the task itself", r"> .*/bench/contenders/celery_tasks\.py"),
        ("logging", r"> .*/logging/__init__\.py"),
        ("claim and acknowledge", r"> (\S*\.)?(basic_ack|ack|ack_log_error) "),
        (
            "claim and acknowledge",
            r"> (\S*\.)?(_brpop_read|_brpop_start|append) .*/kombu/transport",
        ),
        ("claim and acknowledge", r"> .*/nova/runtime/(transport|claim|holdings|consumer|request)"),
        ("Nova's other parts", r"> .*/nova/runtime/(?!results)"),
        ("decode the message", r"> .*/kombu/(message|messaging|serialization|transport/virtual)"),
        ("take a task in", r"> .*/celery/worker/(strategy|request|state|consumer)"),
        (
            "replace pool processes",
            r"> \S*(_create_worker_process|_launch|after_fork|process_initializer) ",
        ),
        ("hand over, take back", r"> .*/(celery/concurrency|billiard)/"),
        ("trace the task", r"> .*/celery/app/trace"),
        ("event loop", r"> .*/kombu/asynchronous|> .*/celery/worker/loops"),
    )
)
#: Stacks that wait; py-spy takes some of them for busy ones. Helper threads do nothing else.
WAITING = re.compile(r"^Thread\._bootstrap |;_epoll\.poll [^;]*$")
REDIS_PY = re.compile(r"/site-packages/redis/")


def purpose_of(frames: Sequence[str]) -> str:
    """Return what a stack, outermost frame first, was for."""
    for depth in range(len(frames) - 1, 0, -1):
        call = f"{frames[depth - 1]} > {frames[depth]}"
        for purpose, pattern in PURPOSES:
            if pattern.search(call):
                return purpose
    return "other"


def stacks(lines: Iterable[str]) -> Iterator[tuple[bool, list[str], int]]:
    """Read py-spy's raw output: is it a child, the frames outermost first, how many samples.

    A line reads `process PID:"command";...;process PID:"command";frame;...;frame COUNT`, with one
    entry `process` for the main process and two for a child.
    """
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        frames = stack.split(";")
        processes = sum(frame.startswith("process ") for frame in frames)
        yield processes > 1, frames[processes:], int(count)


def shares(lines: Iterable[str]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return (process, purpose) -> share of the busy samples, and share inside redis-py."""
    counts, inside, total = Counter[tuple[str, str]](), Counter[tuple[str, str]](), 0
    for child, frames, count in stacks(lines):
        key = ("children" if child else "main", purpose_of(frames))
        if WAITING.search(";".join(frames)):
            continue
        counts[key] += count
        total += count
        if any(REDIS_PY.search(frame) for frame in frames):
            inside[key] += count
    return {key: (count / total, inside[key] / total) for key, count in counts.most_common()}


def record(pid: int, seconds: int, output: Path) -> None:
    """Sample the stacks of a process and its children, CPU time only.

    Raises:
        BenchError: the profiler failed; it needs the right to trace other processes.
    """
    command = [
        str(OTHERS / "py-spy"),
        "record",
        f"--pid={pid}",
        "--subprocesses",
        "--full-filenames",
    ]
    command += [f"--duration={seconds}", f"--rate={SAMPLES_PER_SECOND}", "--format=raw"]
    done = subprocess.run(
        [*command, f"--output={output}"], capture_output=True, text=True, check=False
    )
    if done.returncode or not output.is_file():
        raise BenchError(f"py-spy failed: {done.stderr.strip().splitlines()[-1:]}")


def profile(
    name: str, client: redis.Redis, url: str, folder: Path, seconds: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """Sample a worker while it drains a queue of `count` tasks; see `shares`."""
    contender, total = CONTENDERS[name], seconds * TASKS_PER_SECOND
    client.flushall()
    drive(contender, url, "fill", "count", total)
    output = folder / f"{name}.stacks"
    with running(contender, url, folder) as worker:
        deadline = time.monotonic() + STALL_SECONDS
        while backlog(client, contender) > total * 0.98:
            worker.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{contender.label}: the worker does not start to work")
            time.sleep(0.05)
        record(worker.roots[0].pid, seconds, output)
        if not backlog(client, contender):
            raise BenchError(f"{contender.label}: {total} tasks were too few for the profile")
    with output.open(encoding="utf-8") as lines:
        return shares(lines)


def print_profile(
    names: Sequence[str], client: redis.Redis, url: str, folder: Path, quick: bool
) -> None:
    """Print a markdown table: what the workers' CPU time goes to, in percent of each one's own."""
    found = {
        name: profile(name, client, url, folder, QUICK_SECONDS if quick else SECONDS)
        for name in names
    }
    heads = [f"{CONTENDERS[name].label}, %" for name in names]
    print("CPU time of a worker by purpose; in brackets the part spent in redis-py\n")
    print(f"| process | purpose | {' | '.join(heads)} |")
    print(f"| --- | --- |{' ---: |' * len(names)}")
    # Main process first, and in it what costs most first.
    keys: dict[tuple[str, str], float] = {}
    for one in found.values():
        for key, (share, _) in one.items():
            keys[key] = max(share, keys.get(key, 0.0))
    for key in sorted(keys, key=lambda key: (key[0] == "children", -keys[key])):
        if keys[key] < LEAST_SHARE:
            continue
        cells = [one.get(key, (0.0, 0.0)) for one in found.values()]
        shown = (f"{share * 100:.0f} ({inside * 100:.0f})" for share, inside in cells)
        print(f"| {key[0]} | {key[1]} | {' | '.join(shown)} |")
    print()
