"""Sends a notification: one attempt, by webhook or by mail.

It may arrive twice - who sends again does not know whether the first attempt arrived - and then
carries the same key: the header Idempotency-Key, or the Message-ID of the mail.
"""

import logging
import smtplib
import ssl

import orjson
import redis

from nova.errors import NotificationError, SourceError, UnavailableError
from nova.fetching import Fetcher, PassingError, Target
from nova.fetching.hosts import host_of, parse_url
from nova.governance.notices import Notice, mail_of, slack_body
from nova.governance.watch import MailTarget, NotifyTarget, WebhookTarget
from nova.settings import Settings, read_credential

logger = logging.getLogger(__name__)

#: Longest answer of a mail server that a message repeats, in characters.
LONGEST_ANSWER = 200


class TargetAwayError(UnavailableError):
    """A notification did not arrive, and may do so later.

    `retry_after_seconds` is what the target asked for, None if it asked for nothing.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        # Only the message: exceptions are rebuilt from their arguments out of a task's result.
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


def send(
    client: redis.Redis, settings: Settings, target: NotifyTarget, notice: Notice, key: str
) -> str:
    """Send a notification once, and say in one line what became of it.

    Raises:
        TargetAwayError: it did not arrive, or nobody said that it did; it may at another attempt.
        NotificationError: the target does not take it.
        ConfigurationError: a credential is missing.
    """
    if isinstance(target, MailTarget):
        return _send_mail(target, notice, key)
    return _send_request(client, settings, target, notice, key)


def body_of(target: WebhookTarget, notice: Notice) -> bytes:
    """Return what is posted to a webhook."""
    if target.kind == "slack":
        return orjson.dumps(slack_body(notice))
    return notice.model_dump_json().encode()


def shown(target: NotifyTarget, notice: Notice, key: str) -> str:
    """Return what would be sent, for people: no secret is read."""
    if isinstance(target, MailTarget):
        return mail_of(notice, target, key).as_string()
    return f"Idempotency-Key: {key}\n\n{body_of(target, notice).decode()}"


def _send_request(
    client: redis.Redis, settings: Settings, target: WebhookTarget, notice: Notice, key: str
) -> str:
    url = _url(target)
    place = Target(url, target.timeout_seconds, target.headers, target.private)
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    try:
        Fetcher(client, settings, [place]).post(place, body_of(target, notice), headers)
    # Without what they say about the URL, and not as a cause: the URL may be a secret.
    except PassingError as error:
        raise TargetAwayError(_says(target, error.reason), error.retry_after_seconds) from None
    except SourceError as error:
        raise NotificationError(_says(target, error.reason)) from None
    return f"sent to {host_of(parse_url(url))}"


def _url(target: WebhookTarget) -> str:
    if target.url is not None:
        return target.url
    name = target.url_credential or ""
    url = read_credential(name).get_secret_value()
    try:
        parse_url(url)
    except SourceError:
        raise NotificationError(
            _says(target, f"credential {name} must be http://HOST... or https://HOST...")
        ) from None
    return url


def _send_mail(target: MailTarget, notice: Notice, key: str) -> str:
    password = _password(target)
    try:
        server = _server(target)
        try:
            if target.username is not None:
                server.login(target.username, password)
            refused = server.send_message(mail_of(notice, target, key))
        finally:
            _leave(server)
    except (OSError, smtplib.SMTPException) as error:
        raise _mail_error(target, error) from None
    sent = f"sent to {len(target.recipients) - len(refused)} of {len(target.recipients)} recipients"
    # Not again: those who have it would get it twice.
    return f"{sent}; the server refused {', '.join(sorted(refused))}" if refused else sent


def _leave(server: smtplib.SMTP) -> None:
    """Say good-bye. How the server takes it says nothing of the mail, which it has or has not."""
    try:
        server.quit()
    except (OSError, smtplib.SMTPException) as error:
        logger.debug("the mail server did not say good-bye: %s", _one_line(str(error)))
        server.close()


def _server(target: MailTarget) -> smtplib.SMTP:
    """Return a connection to the mail server, sealed as the target wants it."""
    host, port = target.address
    tls = ssl.create_default_context()
    if target.security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=target.timeout_seconds, context=tls)
    server = smtplib.SMTP(host, port, timeout=target.timeout_seconds)
    if target.security == "starttls":
        try:
            server.starttls(context=tls)
        except BaseException:
            server.close()
            raise
    return server


def _password(target: MailTarget) -> str:
    if target.password is None:
        return ""
    password = read_credential(target.password).get_secret_value()
    if not (password.isascii() and password.isprintable()):
        reason = f"credential {target.password} is not one line of ASCII"
        raise NotificationError(_says(target, reason))
    return password


def _mail_error(target: MailTarget, error: Exception) -> TargetAwayError | NotificationError:
    """Return what an error of the mail server means: one that passes by itself, or one that stays.

    An answer of 400 to 499 asks to come back (RFC 5321, section 4.2.1).
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, answer = min(error.recipients.values(), key=lambda reply: reply[0])
        return _refused(target, "refuses all recipients", code, answer)
    if isinstance(error, smtplib.SMTPAuthenticationError):
        # Without its words, which might repeat what it was given.
        return _refused(target, "refuses the login", error.smtp_code, b"")
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused(target, "refuses", error.smtp_code, error.smtp_error)
    stays = isinstance(error, ssl.SSLCertVerificationError | smtplib.SMTPNotSupportedError)
    # smtplib's own word for a server that knows no way to log in which it knows, too.
    if stays or type(error) is smtplib.SMTPException:
        return NotificationError(_says(target, _one_line(str(error))))
    reason = _one_line(str(error)) or type(error).__name__
    return TargetAwayError(_says(target, f"the mail server does not answer ({reason})"))


def _refused(
    target: MailTarget, what: str, code: int, answer: bytes | str
) -> TargetAwayError | NotificationError:
    words = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    reason = _says(target, f"the mail server {what}: {code} {_one_line(words)}".rstrip())
    return TargetAwayError(reason) if code < 500 else NotificationError(reason)


def _says(target: NotifyTarget, reason: str) -> str:
    return f"notification target {target.name}: {reason}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_ANSWER]
