"""What notifications say: made of a stored report, the same however often it is made."""

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from pydantic import Field

import nova
from nova.governance.models import (
    Flag,
    Report,
    ToolCheck,
    Topic,
    Verdict,
    VerdictPage,
    VersionCheck,
)
from nova.governance.watch import MailTarget, Notify
from nova.reports import Record, counted

#: Channels of each flag that a notification names; it counts all of them.
CHANNELS_NAMED = 20
#: Characters of a line for people; Slack takes 40,000 in all.
LONGEST_LINE = 2000


class Notice(Record):
    """A notification. This, as JSON, is the body of a generic webhook."""

    event: Literal["governance.report", "governance.test"]
    report_id: str
    generated_at: datetime
    release: str = Field(description="Release of the worker that sends it.")
    headline: str = Field(description="One line for people.")
    lines: list[str] = Field(description="All there is to say, for people.")
    counts: dict[str, int] = Field(description="Flag -> channels; flags that are told of.")
    channels: list[Verdict] = Field(description="The first channels of each of these flags.")
    tools: list[ToolCheck] = Field(description="Tools that failed or exceed.")
    versions: list[VersionCheck] = Field(description="Versions that have changed.")


def topics_due(report: Report, notify: Notify) -> list[Topic]:
    """Return what there is to tell of a report, and somebody wants to be told."""
    due: dict[Topic, bool] = {
        "flags": any(getattr(report.counts, flag) for flag in notify.flags),
        "tools": any(tool.status != "ok" for tool in report.tools),
        "versions": any(version.status == "changed" for version in report.versions),
    }
    return [topic for topic, is_due in due.items() if is_due and topic in notify.about]


def notice_of(
    report: Report, topics: Sequence[Topic], flagged: Mapping[Flag, VerdictPage]
) -> Notice:
    """Return the notification about a report.

    Args:
        report: as it is stored.
        topics: what to tell of it.
        flagged: the first channels of the flags to tell of.
    """
    flagged = {flag: page for flag, page in flagged.items() if page.total and "flags" in topics}
    tools = [tool for tool in report.tools if tool.status != "ok" and "tools" in topics]
    versions = [v for v in report.versions if v.status == "changed" and "versions" in topics]
    return Notice(
        event="governance.report",
        report_id=report.id,
        generated_at=report.generated_at,
        release=nova.__release__,
        headline=_headline(flagged, tools, versions),
        lines=[
            *(_flag_line(flag, page) for flag, page in flagged.items()),
            *(_line(f"tool {tool.name}: {', '.join(tool.problems)}") for tool in tools),
            *(_line(f"version {v.name}: {v.previous} -> {v.version}") for v in versions),
            f"all of it: nova report show {report.id}",
        ],
        counts={flag.value: page.total for flag, page in flagged.items()},
        channels=[verdict for page in flagged.values() for verdict in page.channels],
        tools=tools,
        versions=versions,
    )


def notice_to_try(now: datetime) -> Notice:
    """Return a notification that says that it is only a trial."""
    return Notice(
        event="governance.test",
        report_id="none",
        generated_at=now,
        release=nova.__release__,
        headline="Nova governance: a trial of notifications",
        lines=["Somebody tried whether notifications arrive. This one did; nothing else happened."],
        counts={},
        channels=[],
        tools=[],
        versions=[],
    )


def slack_body(notice: Notice) -> dict[str, str]:
    """Return the JSON that Slack's incoming webhooks take.

    `&`, `<` and `>` are escaped, so that no channel's name becomes a link or calls anybody.
    Source: Slack's documentation, "Formatting text for app surfaces".
    """
    text = "\n".join([f"*{_escaped(notice.headline)}*", *map(_escaped, notice.lines)])
    return {"text": text}


def mail_of(notice: Notice, target: MailTarget, key: str) -> EmailMessage:
    """Return the mail; it has the same Message-ID whenever the same notification is sent."""
    # Not every server takes bytes above 127, or lines without an end.
    mail = EmailMessage(SMTP.clone(cte_type="7bit"))
    mail["Subject"] = notice.headline
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.recipients)
    mail["Date"] = format_datetime(notice.generated_at)
    mail["Message-ID"] = f"<{key}@{target.sender.partition('@')[2]}>"
    # So that nobody's holiday answers it (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(notice.lines) + "\n")
    return mail


def _headline(
    flagged: Mapping[Flag, VerdictPage],
    tools: Sequence[ToolCheck],
    versions: Sequence[VersionCheck],
) -> str:
    parts = [f"{flag} {page.total:,}" for flag, page in flagged.items()]
    if tools:
        parts.append(f"{counted(len(tools), 'tool')} failed or exceeded")
    if versions:
        parts.append(f"{counted(len(versions), 'version')} changed")
    return f"Nova governance: {', '.join(parts)}"


def _flag_line(flag: Flag, page: VerdictPage) -> str:
    channels = ", ".join(_channel(verdict) for verdict in page.channels)
    more = page.total - len(page.channels)
    return _line(f"{flag}: {channels}{f' and {more:,} more' if more else ''}")


def _channel(verdict: Verdict) -> str:
    score = "not judged" if verdict.score is None else f"{verdict.score:.3f}"
    return f"{verdict.channel} ({score})"


def _line(text: str) -> str:
    """Return a text on one line: names come from data, and may hold anything."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
