"""`make run`: all of Nova on this machine - Redis, workers, beat, API, Flower - until Ctrl-C.

State lives in .nova/local/. Another shell gets the same settings with
`set -a; . .nova/local/nova.env; set +a`.
"""

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.text import Text

from nova.errors import ConfigurationError, NovaError
from nova.queues import QUEUES
from scripts.local.redis_server import LocalRedis

#: Seconds that the processes get to finish what they do, before they are killed.
STOP_SECONDS = 30
COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green")

console = Console(highlight=False, soft_wrap=True)


def commands(state: Path, flower_port: int) -> dict[str, list[str]]:
    """Return the command of every process, by the name that its output is prefixed with."""
    bin_folder = Path(sys.executable).parent
    celery = [str(bin_folder / "celery"), "--quiet", "-A", "nova.celery_app"]
    nova = str(bin_folder / "nova")
    workers = {
        name: [
            *celery,
            "worker",
            f"--queues={name}",
            f"--concurrency={queue.concurrency}",
            f"--hostname={name}@%h",
            "--without-gossip",
            "--without-mingle",
        ]
        for name, queue in QUEUES.items()
    }
    return workers | {
        "beat": [*celery, "beat"],
        "api": [nova, "api"],
        "flower": [nova, "flower", "--address=127.0.0.1", f"--port={flower_port}"],
    }


def check_port(port: int, what: str, option: str) -> None:
    """Refuse to start when somebody listens already.

    Raises:
        ConfigurationError: the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ConfigurationError(
                f"port {port}, which {what} needs, is taken; stop what listens there, or choose "
                f"another: make run RUN_OPTIONS={option}=PORT"
            ) from None


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
    name: str, command: list[str], environment: Mapping[str, str], colour: str
) -> asyncio.subprocess.Process:
    """Start a process; its output goes to the console line by line, behind its name."""
    # A session of its own, so that Ctrl-C reaches this program alone: it stops the others in order.
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )

    async def print_lines() -> None:
        assert process.stdout is not None  # noqa: S101  # asked for above
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            console.print(Text(f"{name:<12}", style=colour) + Text(text))

    process.pump = asyncio.create_task(print_lines())  # type: ignore[attr-defined]
    return process


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
    commands: Mapping[str, list[str]], environment: Mapping[str, str], announcement: Announcement
) -> int:
    """Run all processes until Ctrl-C, or until one of them ends; return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    processes = {}
    for index, (name, command) in enumerate(commands.items()):
        colour = COLOURS[index % len(COLOURS)]
        processes[name] = await run_process(name, command, environment, colour)
    endings = {asyncio.create_task(process.wait()): name for name, process in processes.items()}
    stopping = asyncio.create_task(stop.wait())
    announcing = asyncio.create_task(announcement.make())
    done, _ = await asyncio.wait({stopping, *endings}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    for task in done - {stopping}:
        console.print(f"nova: {endings[task]} ended by itself (exit code {task.result()})")
        code = 1
    console.print("nova: stopping; running tasks are finished first")
    await stop_all(list(processes.values()))
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
    parser.add_argument("--flower-port", type=int, default=5555)
    return parser.parse_args()


def main() -> int:
    """Run the stack and return the exit code."""
    options = parse()
    state = options.state.absolute()
    check_port(options.api_port, "the API", "--api-port")
    check_port(options.flower_port, "Flower", "--flower-port")
    with LocalRedis.create(state / "redis") as server:
        environment = os.environ | write_settings(state, server.url, options.api_port)
        console.print("Starting Redis, workers, beat, API and Flower; Ctrl-C stops them all.\n")
        lines = [
            f"API documentation  http://127.0.0.1:{options.api_port}/docs",
            f"Metrics            http://127.0.0.1:{options.api_port}/metrics",
            f"Flower             http://127.0.0.1:{options.flower_port}",
            f"Other shells       set -a; . {options.state}/nova.env; set +a; nova status",
        ]
        announcement = Announcement(f"http://127.0.0.1:{options.api_port}/readyz", lines)
        programs = commands(state, options.flower_port)
        return asyncio.run(run_until_stopped(programs, environment, announcement))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NovaError as error:
        sys.exit(f"nova: {error}")
