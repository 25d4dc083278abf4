"""`make run`: all of Nova on this machine - Redis, workers, beat, API, Flower - until Ctrl-C.

State lives in .nova/local/. Another shell gets the same settings with
`set -a; . .nova/local/nova.env; set +a`.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx
from rich.console import Console
from rich.text import Text

from nova.errors import NovaError, UnavailableError
from scripts.local.processes import (
    FLOWER_PORT,
    ROOT,
    Process,
    api_process,
    beat_process,
    check_port,
    flower_process,
    worker_processes,
)
from scripts.local.redis_server import LocalRedis

#: Seconds that the processes get to finish what they do, before they are killed.
STOP_SECONDS = 30
COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green")

#: What to do about a port that is taken.
ADVICE = "choose another: make run RUN_OPTIONS={option}=PORT"

console = Console(highlight=False, soft_wrap=True)


def processes(api_port: int, flower_port: int) -> list[Process]:
    """Return what runs beside Redis."""
    return [
        *worker_processes(),
        beat_process(),
        api_process(api_port),
        flower_process(flower_port),
    ]


@contextlib.contextmanager
def only_stack(state: Path) -> Iterator[TextIO]:
    """Hold the lock of a state folder, and yield its file, for the numbers of who holds it.

    Redis inherits it: two of them with the same append-only file would lose data.

    Raises:
        UnavailableError: another stack has the folder, or the Redis of one that was killed.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UnavailableError(
                f"Nova runs already with its state in {state}, or is left from a run that was "
                f"killed; end these processes first: {' '.join(lock.read().split())}"
            ) from None
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        yield lock


def write_settings(state: Path, redis_url: str, api_port: int) -> dict[str, str]:
    """Write the stack's settings for other shells (owner only), and return them."""
    key_file = state / "jwt_secret_key"
    if not key_file.is_file():
        key_file.touch(mode=0o600)
        key_file.write_text(secrets.token_hex(32))
    values = {
        "REDIS_URL": redis_url,
        "JWT_SECRET_KEY": key_file.read_text(),
        "NOVA_API_PORT": str(api_port),
    }
    path = state / "nova.env"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return values


async def run_process(
    program: Process, environment: Mapping[str, str], colour: str
) -> asyncio.subprocess.Process:
    """Start a process; its output goes to the console line by line, behind its name."""
    # A session of its own, so that Ctrl-C reaches this program alone: it stops the others in order.
    process = await asyncio.create_subprocess_exec(
        *program.command,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )

    async def print_lines() -> None:
        assert process.stdout is not None  # noqa: S101  # asked for above
        while line := await read_line(process.stdout):
            text = line.decode(errors="replace").rstrip()
            console.print(Text(f"{program.label:<12}", style=colour) + Text(text))

    process.pump = asyncio.create_task(print_lines())  # type: ignore[attr-defined]
    return process


async def read_line(stream: asyncio.StreamReader) -> bytes:
    """Return the next line, empty at the end; a note stands for one that the buffer cannot hold."""
    is_too_long = False
    while True:
        try:
            line = await stream.readuntil()
        except asyncio.LimitOverrunError as error:
            await stream.readexactly(error.consumed)  # the end of the line is still to come
            is_too_long = True
            continue
        except asyncio.IncompleteReadError as error:
            line = error.partial
        return b"(a line that is too long to show)\n" if is_too_long else line


@dataclass(frozen=True)
class Announcement:
    """What to print once a URL answers."""

    url: str
    lines: list[str]

    async def make(self) -> None:
        """Wait until the URL answers, then print."""
        async with httpx.AsyncClient() as client:
            while not await self._answers(client):
                await asyncio.sleep(0.2)
        console.print("\n" + "\n".join(self.lines) + "\n", style="bold")

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(self.url)).is_success
        except httpx.TransportError:
            return False


async def run_until_stopped(
    programs: list[Process], environment: Mapping[str, str], announcement: Announcement
) -> int:
    """Run all processes until Ctrl-C, or until one of them ends; return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    running = {}
    for index, program in enumerate(programs):
        colour = COLOURS[index % len(COLOURS)]
        running[program.label] = await run_process(program, environment, colour)
    endings = {asyncio.create_task(process.wait()): name for name, process in running.items()}
    stopping = asyncio.create_task(stop.wait())
    announcing = asyncio.create_task(announcement.make())
    done, _ = await asyncio.wait({stopping, *endings}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    for task in done - {stopping}:
        console.print(f"nova: {endings[task]} ended by itself (exit code {task.result()})")
        code = 1
    console.print(f"nova: stopping; running tasks have {STOP_SECONDS} s to finish")
    await stop_all(list(running.values()))
    announcing.cancel()
    stopping.cancel()
    return code


async def stop_all(processes: list[asyncio.subprocess.Process]) -> None:
    """Ask every process to stop, and kill those that do not in time."""
    running = [process for process in processes if process.returncode is None]
    for process in running:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(*(process.wait() for process in running))
    except TimeoutError:
        for process in running:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".nova/local"), help="folder for state")
    parser.add_argument("--api-port", type=int, default=8000)
    parser.add_argument("--flower-port", type=int, default=FLOWER_PORT)
    return parser.parse_args()


def main() -> int:
    """Run the stack and return the exit code."""
    options = parse()
    state = options.state.absolute()
    with only_stack(state) as lock:
        return run_stack(state, lock, options)


def run_stack(state: Path, lock: TextIO, options: argparse.Namespace) -> int:
    """Run the stack of a state folder, and return the exit code."""
    check_port(options.api_port, "the API", ADVICE.format(option="--api-port"))
    check_port(options.flower_port, "Flower", ADVICE.format(option="--flower-port"))
    with LocalRedis.create(state / "redis", inherits=(lock.fileno(),)) as server:
        print(server.process.pid if server.process else "", file=lock, flush=True)
        environment = os.environ | write_settings(state, server.url, options.api_port)
        console.print("Starting Redis, workers, beat, API and Flower; Ctrl-C stops them all.\n")
        lines = [
            f"API documentation  http://127.0.0.1:{options.api_port}/docs",
            f"Metrics            http://127.0.0.1:{options.api_port}/metrics",
            f"Flower             http://127.0.0.1:{options.flower_port}",
            f"Other shells       set -a; . {options.state}/nova.env; set +a; nova status",
        ]
        announcement = Announcement(f"http://127.0.0.1:{options.api_port}/readyz", lines)
        programs = processes(options.api_port, options.flower_port)
        return asyncio.run(run_until_stopped(programs, environment, announcement))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NovaError as error:
        sys.exit(f"nova: {error}")
