"""`make run`: everything starts, answers, and one Ctrl-C stops all of it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from nova.queues import QUEUES
from nova.runtime.heartbeat import read_workers
from scripts.local.processes import Process
from scripts.local.redis_server import free_port
from scripts.local.stack import only_stack, run_process
from tests.conftest import wait_until


def stack_command(state: Path, api_port: int, flower_port: int) -> list[str]:
    options = [f"--state={state}", f"--api-port={api_port}", f"--flower-port={flower_port}"]
    return [sys.executable, "-m", "scripts.local.stack", *options]


def redis_of(state: Path) -> redis.Redis:
    lines = (state / "nova.env").read_text().splitlines()
    client: redis.Redis = redis.Redis.from_url(
        dict(line.split("=", 1) for line in lines)["REDIS_URL"]
    )
    return client


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_everything_that_make_run_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    state, api_port, flower_port = tmp_path / "state", free_port(), free_port()
    log = tmp_path / "stack.log"
    with log.open("wb") as output:
        stack = subprocess.Popen(
            stack_command(state, api_port, flower_port), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(
            lambda: (
                answers(f"http://127.0.0.1:{api_port}/readyz")
                and answers(f"http://127.0.0.1:{flower_port}/")
            ),
            log.read_text,
        )
        with redis_of(state) as client:
            wait_until(lambda: len(read_workers(client)) == len(QUEUES), log.read_text)
        children = psutil.Process(stack.pid).children(recursive=True)
        assert len(children) > len(QUEUES)
        stack.send_signal(number)
        assert stack.wait(timeout=60) == 0, log.read_text()
        assert [child for child in children if child.is_running()] == []
    finally:
        stack.kill()
        stack.wait()
    assert (state / "nova.env").stat().st_mode & 0o077 == 0
    assert (state / "redis" / "appendonlydir").exists() or (
        state / "redis" / "appendonly.aof"
    ).exists()


def test_a_state_folder_has_one_redis_at_a_time_even_after_a_kill(tmp_path: Path) -> None:
    """Two would write the same append-only file. The one that a killed stack leaves counts."""
    state = tmp_path / "state"
    log = tmp_path / "stack.log"
    with log.open("wb") as output:
        stack = subprocess.Popen(
            stack_command(state, free_port(), free_port()), stdout=output, stderr=subprocess.STDOUT
        )
    left: list[psutil.Process] = []
    try:
        wait_until((state / "nova.env").exists, log.read_text)
        settings = (state / "nova.env").read_text()
        server = int((state / "lock").read_text().split()[1])
        stack.send_signal(signal.SIGSTOP)  # it shall start nothing more that nobody would end
        left = psutil.Process(stack.pid).children(recursive=True)
        stack.kill()
        stack.wait()
        result = subprocess.run(
            stack_command(state, free_port(), free_port()),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        stack.kill()
        stack.wait()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    psutil.wait_procs(left, timeout=10)
    assert result.returncode == 1
    assert result.stderr.endswith(f"end these processes first: {stack.pid} {server}\n")
    assert len(result.stderr.splitlines()) == 1
    assert (state / "nova.env").read_text() == settings
    with only_stack(state):
        assert (state / "lock").read_text().split() == [str(os.getpid())]


def test_a_line_of_any_length_stops_no_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Its output is read on: a process whose pipe is full waits for ever."""
    code = "print('x' * 1_000_000); print('y' * 100_000 + 'end'); print('the last')"
    program = Process("test", [sys.executable, "-c", code])

    async def run() -> None:
        process = await run_process(program, os.environ, "cyan")
        assert await asyncio.wait_for(process.wait(), timeout=30) == 0
        await process.pump  # type: ignore[attr-defined]

    asyncio.run(run())
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["(a line that is too long to show)"] * 2 + ["the last"]


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            stack_command(tmp_path / "state", port, free_port()),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert f"port {port}, which the API needs, is taken" in result.stderr
    assert len(result.stderr.splitlines()) == 1
