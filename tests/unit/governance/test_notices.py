"""What notifications say: when there is something to tell, and that no name can break out."""

from datetime import UTC, date, datetime
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest

from nova.governance.models import (
    Counts,
    Enforcement,
    Flag,
    PolicyNote,
    Report,
    ToolCheck,
    Topic,
    Verdict,
    VerdictPage,
    VersionCheck,
    Window,
)
from nova.governance.notices import (
    LONGEST_LINE,
    Notice,
    mail_of,
    notice_of,
    slack_body,
    topics_due,
)
from nova.governance.watch import MailTarget, Notify
from nova.reports import Basis

NOW = datetime(2026, 3, 28, 2, 0, tzinfo=UTC)
COUNTS = Counts(promote=2, watch=0, retire=0, none=5, not_judged=0, ignored=0)
NO_COUNTS = COUNTS.model_copy(update={"promote": 0})
EVERYTHING: list[Topic] = ["flags", "tools", "versions"]


def tool(status: Any = "failed", **changes: Any) -> ToolCheck:
    found = ToolCheck(
        name="thumbs",
        url="http://x.example/",
        status=status,
        latency_ms=None,
        expected_latency_ms=100,
        usual_latency_ms=None,
        past_checks=0,
        monthly_cost_usd=None,
        cost_limit_usd=None,
        problems=["answers 503 Service Unavailable"],
    )
    return found.model_copy(update=changes)


def version(status: Any = "changed") -> VersionCheck:
    return VersionCheck(
        name="api", url="http://x.example/", status=status, version="2", previous="1", since=NOW
    )


def report(**changes: Any) -> Report:
    found = Report(
        id="run-1",
        generated_at=NOW,
        release="7",
        basis=Basis(),
        window=Window(start=date(2026, 3, 1), end=NOW.date(), days_used=[], days_missing=[]),
        policy=PolicyNote(source="packaged", digest="0"),
        channels_seen=7,
        channels_judged=7,
        metrics=[],
        counts=COUNTS,
        top=[],
        bottom=[],
        enforcement=Enforcement(
            auto_actions=False, note="", taken=[], deferred=[], deferred_total=0
        ),
        overrides=[],
    )
    return found.model_copy(update=changes)


def page(*channels: str, total: int | None = None) -> VerdictPage:
    verdicts = [Verdict(channel=name, score=1.5, flag=Flag.PROMOTE) for name in channels]
    return VerdictPage(total=total or len(verdicts), channels=verdicts)


def target() -> MailTarget:
    return MailTarget(
        name="m",
        kind="smtp",
        host="mail.example.org",
        sender="nova@example.org",
        recipients=("a@example.org", "b@example.org"),
    )


@pytest.mark.parametrize(
    ("found", "notify", "topics"),
    [
        (report(), Notify(), ["flags"]),
        (report(), Notify(flags=("retire",)), []),
        (report(), Notify(about=("tools",)), []),
        (report(counts=NO_COUNTS), Notify(), []),
        (report(counts=NO_COUNTS, tools=[tool("ok")], versions=[version("new")]), Notify(), []),
        (report(counts=NO_COUNTS, tools=[tool("exceeded")]), Notify(), ["tools"]),
        (report(counts=NO_COUNTS, versions=[version("failed")]), Notify(), []),
        (report(tools=[tool()], versions=[version()]), Notify(), EVERYTHING),
        (report(tools=[tool()], versions=[version()]), Notify(about=("versions",)), ["versions"]),
    ],
)
def test_there_is_something_to_tell_when_it_happened_and_somebody_wants_to_know(
    found: Report, notify: Notify, topics: list[str]
) -> None:
    assert topics_due(found, notify) == topics


def test_a_notice_tells_all_topics_and_counts_what_it_does_not_name() -> None:
    found = report(tools=[tool(), tool("ok", name="fine")], versions=[version()])
    flagged = {Flag.PROMOTE: page("one", "two", total=30), Flag.RETIRE: page()}
    notice = notice_of(found, EVERYTHING, flagged)
    assert notice.headline == (
        "Nova governance: promote 30, 1 tool failed or exceeded, 1 version changed"
    )
    assert notice.lines == [
        "promote: one (1.500), two (1.500) and 28 more",
        "tool thumbs: answers 503 Service Unavailable",
        "version api: 1 -> 2",
        "all of it: nova report show run-1",
    ]
    assert (notice.counts, len(notice.tools)) == ({"promote": 30}, 1)


def test_a_notice_keeps_to_its_topics() -> None:
    found = report(tools=[tool()], versions=[version()])
    notice = notice_of(found, ["versions"], {Flag.PROMOTE: page("one")})
    assert (notice.counts, notice.channels, notice.tools) == ({}, [], [])
    assert notice.lines[:-1] == ["version api: 1 -> 2"]


def notice_about(channel: str) -> Notice:
    return notice_of(report(), ["flags"], {Flag.PROMOTE: page(channel)})


def test_a_channels_name_calls_nobody_in_slack() -> None:
    text = slack_body(notice_about("<!channel> & <http://evil.example|us>"))["text"]
    assert "&lt;!channel&gt; &amp; &lt;http://evil.example|us&gt; (1.500)" in text
    assert "<" not in text


def test_a_channels_name_stays_on_its_line_and_within_bounds() -> None:
    [line, _] = notice_about("a\r\nBcc: x@example.org\x00\u2028b").lines
    assert line == "promote: a Bcc: x@example.org b (1.500)"
    assert len(notice_about("x" * 100_000).lines[0]) == LONGEST_LINE + 3


def test_a_mail_is_the_same_whenever_it_is_made() -> None:
    """So that a second copy has the same Message-ID, by which mail servers know it."""
    notice = notice_about("Köln ☃")
    made = mail_of(notice, target(), "key-1").as_bytes()
    assert made == mail_of(notice, target(), "key-1").as_bytes()
    assert made.isascii()
    mail = message_from_bytes(made, policy=default)
    assert mail["Message-ID"] == "<key-1@example.org>"
    assert mail["To"] == "a@example.org, b@example.org"
    assert mail["Subject"] == "Nova governance: promote 1"
    assert mail["Date"].datetime == NOW
    assert "Köln ☃ (1.500)" in mail.get_content()
