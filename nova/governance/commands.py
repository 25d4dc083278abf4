"""The commands `nova override`, `nova governance` and `nova trigger governance`."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from nova.domain_commands import TaskIdOption, TimeoutOption, WaitOption, run_now
from nova.errors import InputError
from nova.governance.models import (
    Flag,
    Override,
    Report,
    ToolCheck,
    Verdict,
    VerdictPage,
    VersionCheck,
)
from nova.settings import get_settings, present_user
from nova.store import open_redis
from nova.terminal import JsonOption, console, new_table, print_json

override = typer.Typer(
    name="override", help="Overrule governance for one channel.", no_args_is_help=True
)
governance = typer.Typer(
    name="governance", help="The governance policy, and what runs did.", no_args_is_help=True
)

STYLES = {Flag.PROMOTE: "green", Flag.WATCH: "yellow", Flag.RETIRE: "red", Flag.NONE: "dim"}

CHECK_STYLES = {
    "ok": "green",
    "unchanged": "green",
    "new": "green",
    "changed": "yellow",
    "exceeded": "yellow",
    "failed": "red",
}

TRIGGER_EPILOG = "Example: nova trigger governance --report-only --wait"

NOT_WATCHED = (
    "Nothing is watched. Name a file in NOVA_GOVERNANCE_WATCH; see config/governance-watch.yml"
)

ChannelArgument = Annotated[str, typer.Argument(help="The channel's id.")]


def _print_models(records: Sequence[BaseModel]) -> None:
    print_json([record.model_dump(mode="json") for record in records])


def print_report(found: Report, limit: int | None) -> None:
    """Print a report's summary, with so many channels from the top and the bottom."""
    limit = limit or 5
    console.print(_facts(found))
    if found.top:
        console.print(_verdict_table("Top channels", found.top[:limit]))
        console.print(_verdict_table("Bottom channels, lowest first", found.bottom[:limit]))
    if found.enforcement.taken or found.enforcement.deferred:
        console.print(_action_table(found))
    if found.overrides:
        table = new_table("channel", "override", "by", "reason", "effect", title="Overrides")
        for note in found.overrides:
            rule = note.rule if note.flag is None else f"{note.rule} {note.flag}"
            table.add_row(*map(escape, (note.channel, rule, note.by, note.reason, note.effect)))
        console.print(table)
    _print_checks(found.tools, found.versions)
    if found.notifications:
        title = "Notifications; what became of one: nova task show TASK"
        table = new_table("target", "kind", "about", "task", title=title)
        for sent in found.notifications:
            table.add_row(sent.target, sent.kind, ", ".join(sent.about), sent.task_id)
        console.print(table)


def print_channels(flag: Flag, page: VerdictPage) -> None:
    """Print the channels of a report with a flag, with reasons."""
    console.print(_verdict_table(f"Flag {flag}", page.channels))
    console.print(f"{len(page.channels)} of {page.total:,}")


def _facts(found: Report) -> Table:
    """Return the report's head: one fact a line."""
    window, counts = found.window, found.counts
    used, missing = len(window.days_used), len(window.days_missing)
    by_flag = " ".join(f"[{STYLES[flag]}]{flag} {getattr(counts, flag):,}[/]" for flag in Flag)
    judged = f"{found.channels_judged:,} of {found.channels_seen:,} channels"
    if counts.not_judged:
        judged += f", {counts.not_judged:,} with too little data"
    if counts.ignored:
        judged += f", {counts.ignored:,} ignored on an operator's word"
    metrics = ", ".join(f"{metric.name} ({metric.channels:,})" for metric in found.metrics)
    table = Table.grid(padding=(0, 2))
    table.add_row("report", f"{found.id}, {found.generated_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("window", f"{window.start} to {window.end}: {used} days with data, {missing} not")
    table.add_row("judged", judged)
    table.add_row("metrics", metrics or "none")
    table.add_row("flags", by_flag)
    table.add_row("actions", found.enforcement.note)
    table.add_row("policy", escape(f"{found.policy.source}, {found.policy.digest}"))
    for omission in found.basis.left_out:
        if omission.count is None:  # the channels left out are counted above
            table.add_row("left out", escape(f"{omission.what}: {omission.reason}"))
    return table


def _print_checks(tools: Sequence[ToolCheck], versions: Sequence[VersionCheck]) -> None:
    if tools:
        console.print(_tool_table(tools))
    if versions:
        console.print(_version_table(versions))
    problems = [f"{tool.name}: {', '.join(tool.problems)}" for tool in tools if tool.problems]
    problems += [f"{found.name}: {found.problem}" for found in versions if found.problem]
    for problem in problems:
        console.print(escape(problem), soft_wrap=True)


def _tool_table(tools: Sequence[ToolCheck]) -> Table:
    headings = ("tool", "status", "latency", "expected", "usual", "USD a month")
    table = new_table(*headings, title="Tools")
    for tool in tools:
        usual = "" if tool.usual_latency_ms is None else f"{tool.usual_latency_ms:,.0f} ms"
        table.add_row(
            tool.name,
            f"[{CHECK_STYLES[tool.status]}]{tool.status}[/]",
            "" if tool.latency_ms is None else f"{tool.latency_ms:,.0f} ms",
            f"{tool.expected_latency_ms:,.0f} ms",
            usual,
            "" if tool.monthly_cost_usd is None else f"{tool.monthly_cost_usd:,.2f}",
        )
    return table


def _version_table(versions: Sequence[VersionCheck]) -> Table:
    headings = ("version of", "status", "version", "before", "since (UTC)")
    table = new_table(*headings, title="Versions")
    for found in versions:
        table.add_row(
            found.name,
            f"[{CHECK_STYLES[found.status]}]{found.status}[/]",
            escape(found.version or ""),
            escape(found.previous or ""),
            "" if found.since is None else f"{found.since:%Y-%m-%d %H:%M}",
        )
    return table


def _verdict_table(title: str, verdicts: Sequence[Verdict]) -> Table:
    table = new_table("channel", "score", "flag", "reasons", title=title)
    for verdict in verdicts:
        score = "not judged" if verdict.score is None else f"{verdict.score:.3f}"
        flag = f"[{STYLES[verdict.flag]}]{verdict.flag}[/]"
        reasons = escape("\n".join(verdict.reasons))
        table.add_row(escape(verdict.channel), score, flag, reasons, end_section=True)
    return table


def _action_table(found: Report) -> Table:
    table = new_table("channel", "new status", "score", "done or deferred", title="Actions")
    parts = (("done", found.enforcement.taken), ("deferred", found.enforcement.deferred))
    for what, actions in parts:
        for action in actions:
            score = "" if action.score is None else f"{action.score:.3f}"
            table.add_row(escape(action.channel), action.status, score, what)
    return table


@override.command("list", epilog="Example: nova override list --json")
def list_overrides_(as_json: JsonOption = False) -> None:
    """List the overrides."""
    from nova.governance.overrides import list_overrides

    with open_redis(get_settings()) as client:
        overrides = list_overrides(client)
    if as_json:
        _print_models(overrides)
        return
    if not overrides:
        console.print("There is no override.")
        return
    table = new_table("channel", "override", "reason", "by", "since (UTC)")
    for found in overrides:
        since = f"{found.at:%Y-%m-%d %H:%M}"
        table.add_row(
            escape(found.channel), _rule(found), escape(found.reason), escape(found.by), since
        )
    console.print(table)


@override.command("set", epilog="Example: nova override set UC123 --force watch --reason 'rebrand'")
def set_(
    channel: ChannelArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why; stands in every report.")],
    ignore: Annotated[bool, typer.Option("--ignore", help="Leave it out of judging.")] = False,
    force: Annotated[Flag | None, typer.Option(help="Set this flag, whatever its score.")] = None,
    by: Annotated[str, typer.Option(help="Who says so; the present user if not given.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Overrule governance for a channel, from the next run on."""
    from nova.governance.overrides import set_override

    if ignore == (force is not None):
        raise InputError("give either --ignore or --force FLAG")
    with open_redis(get_settings()) as client:
        found = set_override(
            client,
            channel,
            "ignore" if ignore else "force",
            reason=reason,
            by=by or present_user(),
            flag=force,
        )
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    console.print(f"{escape(found.channel)}: {_rule(found)}, from the next run on")


@override.command(epilog="Example: nova override clear UC123")
def clear(channel: ChannelArgument) -> None:
    """Remove the override of a channel."""
    from nova.governance.overrides import clear_override

    with open_redis(get_settings()) as client:
        clear_override(client, channel)
    console.print(f"{escape(channel)}: no override any more, from the next run on")


def _rule(found: Override) -> str:
    return found.rule if found.flag is None else f"{found.rule} {found.flag}"


@governance.command(epilog="Example: nova governance policy --json")
def policy(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the policy in use and print it."""
    from nova.governance.policy import Policy, load_policy, policy_source

    if schema:
        print_json(Policy.model_json_schema())
        return
    settings = get_settings()
    found = load_policy(settings)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    table = new_table("field", "value", title=escape(f"{policy_source(settings)}, {found.digest}"))
    for name, value in _flatten(found.model_dump()):
        table.add_row(name, str(value).lower() if isinstance(value, bool) else str(value))
    console.print(table)


@governance.command(epilog="Example: nova governance watch --json")
def watch(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the watch file, and list what is watched and who is notified."""
    from nova.governance.watch import WatchFile, load_watch

    if schema:
        print_json(WatchFile.model_json_schema())
        return
    found = load_watch(get_settings())
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    rows = [("tool", tool.name, _where(tool.url)) for tool in found.tools]
    rows += [("version", watched.name, _where(watched.url)) for watched in found.versions]
    rows += [(f"notify, {t.kind}", t.name, _place(t)) for t in found.notify.targets]
    if not rows:
        console.print(NOT_WATCHED)
        return
    table = new_table("what", "name", "where")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    notify = found.notify
    if notify.targets:
        flags = f" ({', '.join(notify.flags)})" if "flags" in notify.about else ""
        console.print(f"notified of: {', '.join(notify.about)}{flags}")


@governance.command(epilog="Example: nova governance tools --json")
def tools(as_json: JsonOption = False) -> None:
    """Check the watched tools and versions once; exit code 1 if one fails or exceeds.

    Nothing is remembered of it: the next run still tells what has changed since the last one.
    """
    from nova.governance.checks import run_checks
    from nova.governance.watch import load_watch

    watched = load_watch(get_settings())
    with open_redis(get_settings()) as client:
        found = run_checks(client, get_settings(), watched, datetime.now(UTC))
    if as_json:
        found_tools = [check.model_dump(mode="json") for check in found.tools]
        found_versions = [check.model_dump(mode="json") for check in found.versions]
        print_json({"tools": found_tools, "versions": found_versions})
    elif not (found.tools or found.versions):
        console.print(NOT_WATCHED)
    else:
        _print_checks(found.tools, found.versions)
    failed = any(check.status == "failed" for check in found.versions)
    if failed or any(check.status != "ok" for check in found.tools):
        raise typer.Exit(1)


@governance.command("notify-test", epilog="Example: nova governance notify-test ops --dry-run")
def notify_test(
    target: Annotated[str, typer.Argument(help="Name of the target in the watch file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send a trial notification to a target from here; exit code 1 if it does not take it."""
    from nova.governance.notices import notice_to_try
    from nova.governance.sending import send, shown
    from nova.governance.watch import load_watch

    settings = get_settings()
    found = load_watch(settings).target(target)
    notice, key = notice_to_try(datetime.now(UTC)), str(uuid.uuid4())
    if dry_run:
        message = shown(found, notice, key)
    else:
        with open_redis(get_settings()) as client:
            message = send(client, settings, found, notice, key)
    if as_json:
        sent = not dry_run
        print_json({"target": target, "sent": sent, "idempotency_key": key, "message": message})
    else:
        typer.echo(message if dry_run else f"{target}: {message}")


def _where(url: str) -> str:
    from nova.fetching import shown_url

    return shown_url(url)


def _place(target: Any) -> str:
    """Return where a target of notifications is, without secrets."""
    if target.kind == "smtp":
        host, port = target.address
        return f"{host}:{port} for {', '.join(target.recipients)}"
    return _where(target.url) if target.url else f"credential {target.url_credential}"


@governance.command(epilog="Example: nova governance status")
def status(as_json: JsonOption = False) -> None:
    """List the channels that runs with auto actions promoted or retired."""
    from nova.governance.overrides import list_statuses

    with open_redis(get_settings()) as client:
        statuses = list_statuses(client)
    if as_json:
        _print_models(statuses)
        return
    if not statuses:
        console.print("No run has acted on any channel.")
        return
    table = new_table("channel", "status", "since (UTC)", "report")
    for found in statuses:
        since = f"{found.since:%Y-%m-%d %H:%M}"
        table.add_row(escape(found.channel), found.status, since, found.report)
    console.print(table)


@governance.command(epilog="Example: nova governance reset UC123")
def reset(channel: ChannelArgument) -> None:
    """Take a channel's status away; a later run may give it one again."""
    from nova.governance.overrides import reset_status

    with open_redis(get_settings()) as client:
        reset_status(client, channel)
    console.print(f"{escape(channel)}: no status any more")


def trigger_governance(
    auto_actions: Annotated[
        bool | None,
        typer.Option(
            "--auto-actions/--report-only",
            help="Act on flags, or only report; the policy decides if not given.",
            show_default=False,
        ),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300,
    task_id: TaskIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score all channels now."""
    arguments = {"auto_actions": auto_actions}
    run_now("governance", arguments, wait=wait, timeout=timeout, task_id=task_id, as_json=as_json)


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
