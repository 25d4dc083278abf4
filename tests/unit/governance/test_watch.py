"""The watch file: what is taken, and what a person reads when it is wrong."""

from pathlib import Path

import pytest

from nova.errors import ConfigurationError
from nova.governance.watch import MailTarget, WatchFile, load_watch, parse_watch
from nova.settings import Settings

TOOL = "tools:\n  - name: a\n    url: http://example.org/\n    expected_latency_ms: 100\n"
VERSION = "versions:\n  - name: v\n    url: http://example.org/\n    kind: text\n"
HOOK = "notify:\n  targets:\n  - name: t\n    kind: webhook\n    url: http://example.org/\n"
MAIL = (
    "notify:\n  targets:\n  - name: t\n    kind: smtp\n    host: mail.example.org\n"
    "    sender: a@example.org\n    recipients: [b@example.org]\n"
)


def settings_with(path: Path | None) -> Settings:
    variables = {"REDIS_URL": "redis://localhost", "NOVA_GOVERNANCE_WATCH": path}
    return Settings.model_validate(variables)


def message_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_watch(text, "watch.yml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_setting_nothing_is_watched_and_nobody_notified() -> None:
    assert load_watch(settings_with(None)) == WatchFile()
    assert WatchFile().notify.targets == ()


def test_the_file_that_the_setting_names_is_used(tmp_path: Path) -> None:
    path = tmp_path / "own.yml"
    path.write_text(TOOL)
    [tool] = load_watch(settings_with(path)).tools
    assert (tool.name, tool.monthly_cost_usd, tool.target.url) == ("a", None, "http://example.org/")


def test_a_missing_file_names_the_path_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yml.*NOVA_GOVERNANCE_WATCH"):
        load_watch(settings_with(tmp_path / "absent.yml"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "must be a mapping"),
        ("tool: []", "line 1, tool: Extra inputs"),
        (TOOL + "    pasword: x\n", "line 5, tools.0.pasword: Extra inputs"),
        (TOOL.replace("http:", "ftp:"), "line 3, tools.0.url: must be http"),
        (TOOL.replace("example", "u:hunter2@example"), "line 3, tools.0.url: must not hold"),
        (TOOL.replace("100", "0"), "line 4, tools.0.expected_latency_ms: Input should be greater"),
        (TOOL + "    headers: {X-Key: NOVA_SOURCE_KEY}\n", "line 5, tools.0.headers.X-Key: "),
        (TOOL + "    headers: {X-Key: NOVA_NOTIFY_KEY}\n", "line 5, tools.0.headers.X-Key: "),
        (TOOL + "    cost_limit_usd: 1\n", "line 2, tools.0: cost_limit_usd needs cost_per_month"),
        (TOOL + "    cost_per_call_usd: 1\n", "line 2, tools.0: cost_per_call_usd and calls_per"),
        (TOOL + "    calls_per_month: 1\n", "line 2, tools.0: cost_per_call_usd and calls_per"),
        (TOOL + TOOL.removeprefix("tools:\n"), "several tools are called a"),
        (VERSION + "    path: a\n", "line 2, versions.0: kind text takes no path"),
        (VERSION.replace("text", "json"), "line 2, versions.0: kind json needs a path"),
        (VERSION + VERSION.removeprefix("versions:\n"), "several versions are called v"),
        ("notify: {about: [flag]}", "line 1, notify.about.0: Input should be 'flags', 'tools'"),
        ("notify: {flags: [none]}", "line 1, notify.flags.0: Input should be 'promote'"),
        (HOOK.replace("webhook", "pager"), "line 3, notify.targets.0: Input tag 'pager'"),
        (HOOK.replace("http:", "file:"), "line 5, notify.targets.0.webhook.url: must be http"),
        (HOOK + "    url_credential: NOVA_NOTIFY_URL\n", "needs either url or url_credential"),
        (HOOK + "    headers: {X-Key: hunter2}\n", "line 6, notify.targets.0.webhook.headers"),
        (MAIL + "    username: nova\n", "username and password need each other"),
        (
            MAIL + "    username: n\n    password: NOVA_NOTIFY_P\n    security: none\n",
            "security none sends the password in the clear",
        ),
        (MAIL + "    password: hunter2\n", "line 8, notify.targets.0.smtp.password: String"),
        (MAIL.replace("a@example.org", "A <a@example.org>"), "line 6, notify.targets.0.smtp.send"),
        (MAIL.replace("[b@example.org]", "[]"), "line 7, notify.targets.0.smtp.recipients: "),
        (HOOK + MAIL.removeprefix("notify:\n  targets:\n"), "several targets are called t"),
    ],
)
def test_a_wrong_file_names_line_field_and_reason(text: str, expected: str) -> None:
    message = message_of(text)
    assert message.startswith("governance watch file watch.yml: ")
    assert expected in message
    assert "hunter2" not in message, "what was taken for a secret is not repeated"


def test_a_month_costs_what_is_fixed_and_all_calls() -> None:
    costs = "    cost_per_month_usd: 10\n    cost_per_call_usd: 0.002\n    calls_per_month: 20000\n"
    [tool] = parse_watch(TOOL + costs, "watch.yml").tools
    assert tool.monthly_cost_usd == 50.0


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_a_mail_server_has_the_port_of_its_security(security: str, port: int) -> None:
    [target] = parse_watch(f"{MAIL}    security: {security}\n", "watch.yml").notify.targets
    assert isinstance(target, MailTarget)
    assert target.address == ("mail.example.org", port)


def test_a_target_that_is_not_there_is_named_with_those_that_are() -> None:
    watch = parse_watch(HOOK, "watch.yml")
    assert watch.target("t").name == "t"
    with pytest.raises(ConfigurationError, match=r"no target 'x'.*it has: t$"):
        watch.target("x")
