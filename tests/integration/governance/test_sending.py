"""Sending a notification once: what arrives, what passes by itself, and what stays."""

import json
import ssl
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

import nova
from nova.errors import ConfigurationError, NotificationError
from nova.governance import sending
from nova.governance.notices import notice_to_try
from nova.governance.sending import TargetAwayError
from nova.governance.watch import MailTarget, NotifyTarget, WebhookTarget
from nova.settings import Settings
from tests.integration.governance.servers import Hook, MailServer, serve_mail
from tests.integration.tls import make_certificates

NOTICE = notice_to_try(datetime(2026, 3, 28, 2, 0, tzinfo=UTC))
SECRETS = ("hunter2", "swordfish")

Send = Callable[[NotifyTarget], str]


def check_discreet(error: Exception) -> None:
    """Check that an error is one line, and tells no secret, not even in its stack trace."""
    assert str(error).startswith("notification target t: ")
    assert "\n" not in str(error)
    assert not any(secret in "".join(traceback.format_exception(error)) for secret in SECRETS)


@pytest.fixture
def send(client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Send:
    """Send the trial with the key `key-1`; no error may tell a secret."""
    monkeypatch.setenv("NOVA_NOTIFY_PASSWORD", SECRETS[0])

    def send(target: NotifyTarget) -> str:
        try:
            return sending.send(client, settings, target, NOTICE, "key-1")
        except (TargetAwayError, NotificationError) as error:
            check_discreet(error)
            raise

    return send


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server without TLS."""
    with serve_mail(MailServer()) as server:
        yield server


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server on 127.0.0.1 needs to speak TLS; its CA is trusted."""
    found = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(found.certificate, found.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(found.ca))
    return context


def webhook(hook: Hook, **fields: Any) -> WebhookTarget:
    values = {"name": "t", "kind": "webhook", "url": hook.url("/hook")} | fields
    return WebhookTarget.model_validate(values)


def mailbox(mail: MailServer, **fields: Any) -> MailTarget:
    values = {
        "name": "t",
        "kind": "smtp",
        "host": "127.0.0.1",
        "port": mail.port,
        "security": "none",
        "sender": "nova@example.org",
        "recipients": ["a@example.org", "b@example.org"],
        "timeout_seconds": 5,
    }
    return MailTarget.model_validate(values | fields)


LOGIN = {"username": "nova", "password": "NOVA_NOTIFY_PASSWORD"}


def test_a_webhook_gets_everything_as_json_with_its_key(hook: Hook, send: Send) -> None:
    target = webhook(hook, headers={"Authorization": "NOVA_NOTIFY_PASSWORD"})
    assert send(target) == "sent to 127.0.0.1"
    [(headers, body)] = hook.posted
    assert headers["Idempotency-Key"] == "key-1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "hunter2"
    assert headers["User-Agent"] == f"nova-agent/{nova.__release__}"
    assert json.loads(body) == NOTICE.model_dump(mode="json")


def test_slack_gets_text(hook: Hook, send: Send) -> None:
    send(webhook(hook, kind="slack"))
    [(_, body)] = hook.posted
    text = json.loads(body)["text"]
    assert text.startswith("*Nova governance: a trial of notifications*\n")


def test_a_url_may_be_a_secret_that_no_message_tells(
    hook: Hook, send: Send, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOVA_NOTIFY_URL", hook.url("/swordfish"))
    target = webhook(hook, url=None, url_credential="NOVA_NOTIFY_URL")
    caplog.set_level("DEBUG")
    assert send(target) == "sent to 127.0.0.1"
    assert hook.asked == ["/swordfish"]
    for status in (500, 404, 302):
        hook.answers["/swordfish"] = (status, b"")
        with pytest.raises((TargetAwayError, NotificationError), match=f"answers {status}"):
            send(target)
    assert "swordfish" not in caplog.text


def test_a_credential_that_is_no_url_is_named(
    hook: Hook, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVA_NOTIFY_URL", "swordfish://")
    with pytest.raises(NotificationError, match="credential NOVA_NOTIFY_URL must be http"):
        send(webhook(hook, url=None, url_credential="NOVA_NOTIFY_URL"))


def test_a_credential_that_is_not_there_is_named(hook: Hook, send: Send) -> None:
    with pytest.raises(ConfigurationError, match="NOVA_NOTIFY_ABSENT is not set"):
        send(webhook(hook, url=None, url_credential="NOVA_NOTIFY_ABSENT"))


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [(500, "", None), (503, "120", 120.0), (429, "7", 7.0), (504, "soon", None)],
)
def test_an_answer_that_may_change_is_to_be_tried_again(
    hook: Hook, send: Send, status: int, retry_after: str, seconds: float | None
) -> None:
    hook.answers["/hook"] = (status, b"")
    hook.headers["Retry-After"] = retry_after
    with pytest.raises(TargetAwayError, match=f"answers {status}") as caught:
        send(webhook(hook))
    assert caught.value.retry_after_seconds == seconds
    assert len(hook.posted) == 1, "tried again by the task, not here"


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410, 501])
def test_an_answer_that_stays_is_final_and_no_redirect_is_followed(
    hook: Hook, send: Send, status: int
) -> None:
    hook.answers["/hook"] = (status, b"")
    hook.headers["Location"] = hook.url("/elsewhere")
    with pytest.raises(NotificationError, match=f"answers {status}"):
        send(webhook(hook))
    assert hook.asked == ["/hook"]


def test_what_a_webhook_answers_is_not_read(
    hook: Hook, client: redis.Redis, make_settings: Callable[..., Settings]
) -> None:
    """It was delivered, however much its server has to say about it."""
    hook.answers["/hook"] = (200, b"x" * 10_000)
    settings = make_settings(NOVA_FETCH_MAX_BYTES=100)
    assert sending.send(client, settings, webhook(hook), NOTICE, "k") == "sent to 127.0.0.1"


def test_a_server_that_is_away_is_to_be_tried_again(hook: Hook, send: Send) -> None:
    with pytest.raises(TargetAwayError, match="cannot be reached"):
        send(webhook(hook, url="http://127.0.0.1:1/"))
    hook.delay_seconds = 1.0
    with pytest.raises(TargetAwayError, match="does not answer in time"):
        send(webhook(hook, timeout_seconds=0.2))


def test_a_name_that_leads_to_a_private_address_is_refused(
    hook: Hook, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sources are; the file may permit it."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0))])
    url = f"http://hooks.example:{hook.port}/hook"
    with pytest.raises(NotificationError, match="which is not a public address"):
        send(webhook(hook, url=url))
    assert hook.posted == []


def test_a_mail_arrives_with_its_message_id(mail: MailServer, send: Send) -> None:
    assert send(mailbox(mail)) == "sent to 2 of 2 recipients"
    [found] = mail.mails
    assert found["Message-ID"] == "<key-1@example.org>"
    assert found["To"] == "a@example.org, b@example.org"
    assert found["Subject"] == NOTICE.headline
    assert found.get_content().splitlines() == NOTICE.lines
    assert (mail.sealed, mail.logins) == ([False], [])


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_login_goes_over_tls(security: str, tls: ssl.SSLContext, send: Send) -> None:
    with serve_mail(MailServer(tls=tls, is_tls_only=security == "tls")) as mail:
        send(mailbox(mail, security=security, **LOGIN))
    assert mail.sealed == [True]
    assert mail.logins == [("nova", "hunter2")]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_server_whose_certificate_is_not_trusted_gets_nothing(
    security: str, tls: ssl.SSLContext, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = MailServer(tls=tls, is_tls_only=security == "tls")
    refused = pytest.raises(NotificationError, match="certificate verify failed")
    with serve_mail(server) as mail, refused:
        send(mailbox(mail, security=security, **LOGIN))
    assert (mail.logins, mail.mails) == ([], [])


def test_a_mail_server_with_a_login_of_another_kind_gets_no_password(
    tls: ssl.SSLContext, send: Send
) -> None:
    server = MailServer(tls=tls, is_tls_only=True, replies={"EHLO": "250-test\r\n250 AUTH X-OWN"})
    refused = pytest.raises(NotificationError, match="No suitable authentication method")
    with serve_mail(server) as mail, refused:
        send(mailbox(mail, security="tls", **LOGIN))
    assert mail.mails == []


def test_a_mail_server_without_starttls_gets_no_password(mail: MailServer, send: Send) -> None:
    mail.replies["EHLO"] = "250 test"
    with pytest.raises(NotificationError, match="STARTTLS extension not supported"):
        send(mailbox(mail, security="starttls", **LOGIN))
    assert (mail.logins, mail.mails) == ([], [])


@pytest.mark.parametrize(
    ("replies", "error", "reason"),
    [
        ({"CONNECT": "421 too busy"}, TargetAwayError, "refuses: 421 too busy"),
        ({"CONNECT": "554 no service"}, NotificationError, "refuses: 554 no service"),
        ({"MAIL": "451 later"}, TargetAwayError, "refuses: 451 later"),
        ({"MAIL": "550 not you"}, NotificationError, "refuses: 550 not you"),
        ({"RCPT": "450 greylisted"}, TargetAwayError, "refuses all recipients: 450 greylisted"),
        ({"RCPT": "550 unknown"}, NotificationError, "refuses all recipients: 550 unknown"),
        ({"DATA": "452 full"}, TargetAwayError, "refuses: 452 full"),
        ({"DATA": "554 spam"}, NotificationError, "refuses: 554 spam"),
        (
            {"RCPT": "550 unknown", "QUIT": "421 closing"},
            NotificationError,
            "refuses all recipients: 550 unknown",
        ),
    ],
)
def test_a_mail_server_that_asks_to_come_back_is_tried_again_and_one_that_refuses_is_not(
    mail: MailServer,
    send: Send,
    replies: dict[str, str],
    error: type[Exception],
    reason: str,
) -> None:
    mail.replies = replies
    with pytest.raises(error, match=f"the mail server {reason}$"):
        send(mailbox(mail))


@pytest.mark.parametrize("answer", ["421 closing", "500 what"])
def test_a_mail_that_was_taken_is_not_sent_again_for_a_bad_good_bye(
    mail: MailServer, send: Send, answer: str
) -> None:
    mail.replies = {"QUIT": answer}
    assert send(mailbox(mail)) == "sent to 2 of 2 recipients"
    assert len(mail.mails) == 1


def test_a_refused_login_is_final_and_says_nothing_of_what_was_given(
    tls: ssl.SSLContext, send: Send
) -> None:
    server = MailServer(tls=tls, replies={"AUTH": "535 hunter2 is wrong"})
    refused = pytest.raises(NotificationError, match=r"refuses the login: 535$")
    with serve_mail(server) as mail, refused:
        send(mailbox(mail, security="starttls", **LOGIN))


@pytest.mark.parametrize("password", ["hunter2ü", "hunter2\nQUIT"])
def test_a_password_that_no_login_can_hold_is_named(
    tls: ssl.SSLContext, send: Send, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("NOVA_NOTIFY_PASSWORD", password)
    reason = "credential NOVA_NOTIFY_PASSWORD is not one line of ASCII"
    refused = pytest.raises(NotificationError, match=reason)
    with serve_mail(MailServer(tls=tls)) as mail, refused:
        send(mailbox(mail, security="starttls", **LOGIN))


def test_a_mail_server_that_is_away_is_to_be_tried_again(send: Send) -> None:
    with pytest.raises(TargetAwayError, match="the mail server does not answer"):
        send(mailbox(MailServer(port=1)))
