"""Nova's processes on this machine, in the background: workers, beat, API and Flower."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import redis
import typer
from celery.exceptions import TimeoutError as NoAnswerError

from nova.errors import InputError, NotFoundError, NovaError, UnavailableError
from nova.queues import QUEUES
from nova.runtime.fleet import read_fleet
from nova.runtime.fleet_commands import status as show_fleet
from nova.settings import Settings, get_settings
from nova.store import open_redis
from nova.terminal import console, new_table
from scripts.local.launchers import write_launchers
from scripts.local.processes import (
    FLOWER_PORT,
    ROOT,
    Process,
    api_process,
    beat_process,
    flower_process,
    worker_processes,
)
from scripts.local.services import Services

PROGRAM = "start_celery.sh"
STATE = ROOT / ".nova" / "processes"
LOGS = ROOT / "logs"

app = typer.Typer(
    name=PROGRAM,
    help=f"{__doc__} They need Redis; REDIS_URL says where it is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

GroupedOption = Annotated[
    bool | None,
    typer.Option(
        "--grouped/--per-queue",
        help="Three workers, grouped as in the guide's Worker Scaling, or one for each queue (so "
        "it is unless said otherwise; `restart` keeps to what runs).",
    ),
]
ApiOption = Annotated[bool, typer.Option("--api/--no-api", help="Start the management API too.")]
FlowerOption = Annotated[bool, typer.Option("--flower/--no-flower", help="Start Flower too.")]
FlowerPortOption = Annotated[
    int, typer.Option(min=1, max=65535, help="Port of Flower; the API's is NOVA_API_PORT.")
]
NowOption = Annotated[
    bool,
    typer.Option("--now", help="Do not wait for running tasks: kill them, they run again later."),
]


def _services(settings: Settings) -> Services:
    return Services(settings, STATE, settings.log_dir or LOGS, typer.echo)


@app.command(epilog=f"Example: {PROGRAM} start --grouped")
def start(
    grouped: GroupedOption = None,
    api: ApiOption = True,
    flower: FlowerOption = True,
    flower_port: FlowerPortOption = FLOWER_PORT,
) -> None:
    """Start what does not run yet, and wait until all of it is ready."""
    settings = get_settings()
    settings.require_jwt_secret()
    services = _services(settings)
    processes = [*worker_processes(grouped=bool(grouped)), beat_process()]
    if api:
        processes.append(api_process(settings.api_port))
    if flower:
        processes.append(flower_process(flower_port))
    refuse_other_workers(services, processes)
    with open_redis(settings) as client:
        client.ping()
        services.start(processes)
    for line in write_launchers():
        typer.echo(line)
    _say_what_is_open(processes, services)


def refuse_other_workers(services: Services, processes: list[Process]) -> None:
    """Refuse to start one grouping of workers beside the other.

    Raises:
        InputError: workers run that are not among the processes.
    """
    names = {process.name for process in processes}
    others = [
        worker.name
        for worker in worker_processes() + worker_processes(grouped=True)
        if worker.name not in names and services.background(worker.name).state == "running"
    ]
    if others:
        raise InputError(f"workers of the other grouping run: {', '.join(others)}; stop them first")


def _say_what_is_open(processes: list[Process], services: Services) -> None:
    ports = {process.name: process.port for process in processes if process.port}
    typer.echo(f"logs                       {_short(services.logs)}")
    if "api" in ports:
        typer.echo(f"API documentation          http://localhost:{ports['api']}/docs")
        typer.echo("a token for it             ADMIN_TOKEN=$(nova token create --role admin)")
    if "flower" in ports:
        typer.echo(f"Flower                     http://localhost:{ports['flower']}")


@app.command(epilog=f"Example: {PROGRAM} stop")
def stop(now: NowOption = False) -> None:
    """Stop everything; workers finish the tasks they run first, however long that takes."""
    services = _services(get_settings())
    known = services.known()
    if not known:
        typer.echo("nothing runs that was started from here")
        return
    typer.echo("stopping; tasks that run are finished first (Ctrl-C leaves the processes to it)")
    try:
        services.stop(known, now=now)
    except KeyboardInterrupt:
        left = ", ".join(one.name for one in services.known())
        raise UnavailableError(f"still stopping by themselves: {left}; see: status") from None


@app.command(epilog=f"Example: {PROGRAM} restart")
def restart(
    grouped: GroupedOption = None,
    api: ApiOption = True,
    flower: FlowerOption = True,
    flower_port: FlowerPortOption = FLOWER_PORT,
    now: NowOption = False,
) -> None:
    """Stop everything as `stop` does, and start it anew."""
    settings = get_settings()
    settings.require_jwt_secret()  # before anything is stopped
    if grouped is None:
        grouped = _runs_grouped(_services(settings))
    stop(now=now)
    start(grouped=grouped, api=api, flower=flower, flower_port=flower_port)


def _runs_grouped(services: Services) -> bool:
    names = {one.name for one in services.known()}
    return any(worker.name in names for worker in worker_processes(grouped=True))


@app.command(epilog=f"Example: {PROGRAM} status")
def status() -> None:
    """Show what was started from here, all workers and queues; exit code 1 if something is gone."""
    settings = get_settings()
    services = _services(settings)
    known = services.known()
    title = f"Processes started from here; their logs are in {_short(services.logs)}"
    table = new_table("process", "state", "pid", title=title)
    for one in known:
        table.add_row(one.name, one.state, str(one.pid))
    console.print(table if known else "No process was started from here.")
    show_fleet()
    gone = [one.name for one in known if one.state in ("stale", "lost")]
    if gone:
        raise NotFoundError(f"not running any more: {', '.join(gone)}; see their logs, and: start")
    if not known:
        raise typer.Exit(1)


@app.command("test", epilog=f"Example: {PROGRAM} test")
def check_health(
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Most seconds to wait for the answer of a queue.")
    ] = 10.0,
) -> None:
    """Send a health check through every queue, and print how long each took."""
    settings = get_settings()
    with open_redis(settings) as client:
        begin = time.perf_counter()
        client.ping()
        typer.echo(f"Redis at {settings.redis_location} answers in {_milliseconds(begin)}")
        silent = _check_queues(client, timeout)
    if silent:
        raise UnavailableError(f"no health check came back from: {', '.join(silent)}")


def _check_queues(client: redis.Redis, timeout: float) -> list[str]:
    """Print the answer of every queue; return the queues that gave none."""
    from nova.celery_app import health_check

    fleet, silent = read_fleet(client), []
    for queue in QUEUES:
        begin = time.perf_counter()
        if not fleet.workers_of(queue):
            typer.echo(f"{queue:<12} no worker takes tasks from it")
            silent.append(queue)
            continue
        result = health_check.apply_async(queue=queue, expires=timeout)
        try:
            answer = result.get(timeout=timeout)
        except NoAnswerError:
            typer.echo(f"{queue:<12} no answer within {timeout:g} s; its workers may be busy")
            silent.append(queue)
        else:
            by = answer["worker_name"]
            typer.echo(f"{queue:<12} {answer['status']} in {_milliseconds(begin)}, by {by}")
    return silent


def _milliseconds(begin: float) -> str:
    return f"{(time.perf_counter() - begin) * 1000:.0f} ms"


@app.command(epilog=f"Example: {PROGRAM} logs celery-beat --follow")
def logs(
    names: Annotated[
        list[str] | None, typer.Argument(help="Logs to show, without `.log`; all by default.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines of each.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")
    ] = False,
) -> None:
    """Show the end of every log."""
    folder = get_settings().log_dir or LOGS
    files = [folder / f"{name}.log" for name in names] if names else sorted(folder.glob("*.log"))
    missing = [_short(file) for file in files if not file.is_file()]
    if missing or not files:
        raise NotFoundError(f"there is no log {', '.join(missing) or f'in {_short(folder)}'}")
    command = ["tail", "--verbose", f"--lines={lines}", *(["--follow=name"] if follow else [])]
    os.execvp(command[0], [*command, *map(_short, files)])  # noqa: S606  # Ctrl-C is tail's alone


def _short(path: Path) -> str:
    """Return a path as seen from the checkout, if it is in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def main() -> None:
    """Run the command line; an error that is meant for people becomes one line and exit code 1."""
    try:
        app(prog_name=PROGRAM)
    except NovaError as error:
        typer.echo(f"{PROGRAM}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
