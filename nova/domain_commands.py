"""The commands `nova report ...`, and what the commands `nova trigger DOMAIN` share."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import uuid4

import redis
import typer
from rich.markup import escape
from rich.table import Table

from nova.domains import DOMAINS, find_report, list_reports
from nova.errors import InputError, NovaError, UnavailableError, UnconfirmedPublishError
from nova.governance.models import Flag
from nova.reports import LATEST, BaseReport
from nova.settings import get_settings
from nova.store import open_redis, redis_errors
from nova.terminal import JsonOption, console, new_list, print_json

report = typer.Typer(name="report", help="Read the reports of runs.", no_args_is_help=True)


def _known_domain(name: str | None) -> str | None:
    if name is not None and name not in DOMAINS:
        raise typer.BadParameter(f"{name} is none of {', '.join(DOMAINS)}")
    return name


DomainOption = Annotated[
    str | None,
    typer.Option(
        "--domain",
        help="Only of this domain.",
        callback=_known_domain,
        autocompletion=lambda: list(DOMAINS),
        show_default=False,
    ),
]
#: The options of every `nova trigger DOMAIN`, for `run_now`.
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the end.")]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Most seconds to wait.")]
TaskIdOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Publish under this id, say one that was not confirmed; it runs once.",
        show_default=False,
    ),
]


@report.command("list", epilog="Example: nova report list --domain governance --limit 5")
def list_(
    domain: DomainOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Most reports of a domain.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """List the reports of all domains, newest first."""
    with open_redis(get_settings()) as client:
        total, found = list_reports(client, [domain] if domain else DOMAINS, limit)
    if as_json:
        lines = [{"domain": name, **line.model_dump(mode="json")} for name, line in found]
        print_json({"total": total, "reports": lines})
        return
    if not found:
        console.print(f"There is no report yet. Run: nova trigger {domain or 'governance'}")
        return
    table = new_list("report", "generated (UTC)", "found", unwrapped=2)
    for name, line in found:
        generated = f"{line.generated_at:%Y-%m-%d %H:%M}"
        table.add_row(escape(line.id), generated, escape(f"{name}: {line.headline}"))
    console.print(table)
    console.print(f"{len(found)} of {total}")


@report.command(epilog="Example: nova report show latest --flag promote --limit 5")
def show(
    report_id: Annotated[
        str, typer.Argument(metavar="[ID|latest]", help="The report's id, which is its task's.")
    ] = LATEST,
    domain: DomainOption = None,
    flag: Annotated[
        Flag | None,
        typer.Option(help="Governance: list the channels with this flag, with reasons."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most lines of each table; governance lists 20 channels with a flag, else 5 from "
            "the top and the bottom.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a report; `latest` is the newest of governance, unless a domain is named."""
    with open_redis(get_settings()) as client:
        found_in, found = find_report(client, report_id, domain)
        if flag is not None:
            if found_in.name != "governance":
                raise InputError(f"{found_in.name} reports have no --flag; governance's have")
            _show_channels(client, found.id, flag, limit, as_json)
            return
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        found_in.print_report(found, limit)


def _show_channels(
    client: redis.Redis, report_id: str, flag: Flag, limit: int | None, as_json: bool
) -> None:
    from nova.governance.commands import print_channels
    from nova.governance.reports import list_channels

    page = list_channels(client, report_id, flag, limit=limit or 20)
    if as_json:
        print_json(page.model_dump(mode="json"))
    else:
        print_channels(flag, page)


def facts_table(found: BaseReport) -> Table:
    """Return the head of a report, one fact a line: which it is, and what it rests on.

    For the domain to add rows of two cells, and to print.
    """
    basis = found.basis
    table = Table.grid(padding=(0, 2))
    table.add_row("report", escape(f"{found.id}, {found.generated_at:%Y-%m-%d %H:%M:%S} UTC"))
    if basis.days_used or basis.days_missing:
        days = sorted([*basis.days_used, *basis.days_missing])
        used, missing = len(basis.days_used), len(basis.days_missing)
        table.add_row("days", f"{days[0]} to {days[-1]}: {used} with data, {missing} not")
    rows = "" if basis.rows is None else f"{basis.rows:,} rows of "
    table.add_row("rests on", escape(rows + (", ".join(basis.sources) or "nothing")))
    for omission in basis.left_out:
        count = "" if omission.count is None else f"{omission.count:,} "
        table.add_row("left out", escape(f"{count}{omission.what}: {omission.reason}"))
    return table


def run_now(
    domain: str,
    arguments: Mapping[str, Any],
    *,
    wait: bool,
    timeout: float,
    task_id: str | None,
    as_json: bool,
) -> None:
    """Publish a domain's run, and wait for its end where that is wanted.

    Args:
        domain: word of the domain.
        arguments: keyword arguments of its task.
        wait: whether to wait, and to print what the task returned.
        timeout: seconds to wait at most.
        task_id: id to publish under; a new one if None.
        as_json: whether to print for a program.

    Raises:
        InputError: an argument or the id is wrong.
        ConflictError: something else was asked for under this id before.
        UnavailableError: Redis or, when waiting, the worker is away; the message says what to do.
        NovaError: the task failed with it, or was ended.
    """
    if task_id is not None and not 1 <= len(task_id) <= 200:
        raise InputError("--task-id takes 1 to 200 characters")
    task = _publish(domain, arguments, task_id)
    # At once: whoever interrupts the waiting still knows the id.
    typer.echo(f"task {task.id}", err=as_json)
    answer: dict[str, Any] = {"task_id": task.id}
    if wait:
        answer |= {"result": _result(task, domain, timeout)}
    if as_json:
        print_json(answer)
        return
    if wait:
        typer.echo(answer["result"]["message"])
    else:
        typer.echo(f"when it has run: nova report show {task.id}")


def _publish(domain: str, arguments: Mapping[str, Any], task_id: str | None) -> Any:
    from nova.celery_app import app

    # Kept with the id: other arguments under it are refused. Celery's own transport keeps nothing.
    is_repeatable = "transport" not in get_settings().stock_parts
    task_id = task_id or str(uuid4())
    try:
        return DOMAINS[domain].publish(app, arguments, task_id, is_repeatable=is_repeatable)
    except UnconfirmedPublishError as error:
        raise UnavailableError(
            f"{error}: add --task-id {error.task_id} to this command, and change nothing else of it"
        ) from error


def _result(task: Any, domain: str, timeout_seconds: float) -> dict[str, Any]:
    from celery.exceptions import TimeoutError as NotReadyError

    try:
        with redis_errors(get_settings()):
            result: dict[str, Any] = task.get(timeout=timeout_seconds)
    except NotReadyError:
        raise UnavailableError(
            f"task {task.id} has not ended after {timeout_seconds:.0f} s; it stays queued and "
            f"will run; is a {domain} worker online? see: nova status"
        ) from None
    except NovaError:
        raise
    except Exception as error:  # what ended the task, such as a time limit: in another process
        raise NovaError(
            f"task {task.id} ended with {type(error).__name__}: {error}; "
            f"see: nova task show {task.id}"
        ) from error
    return result
