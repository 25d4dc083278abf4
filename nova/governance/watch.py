"""What governance watches, and whom it notifies: a YAML file, checked when it is read.

NOVA_GOVERNANCE_WATCH names the file; without it nothing is watched and nobody is notified.
docs/governance.md describes it.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from nova.config_files import Section, load_file, parse_text
from nova.errors import ConfigurationError, SourceError
from nova.fetching import Target
from nova.fetching.hosts import parse_url
from nova.governance.models import Topic
from nova.settings import NOTIFY_CREDENTIAL_NAME, TOOL_CREDENTIAL_NAME, Settings
from nova.sources import HeaderName, Name

#: How messages call the file.
WHAT = "governance watch file"
#: Port of a mail server by how the connection is secured (RFC 6409, RFC 8314; RFC 5321).
MAIL_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def _can_be_asked(url: str) -> str:
    try:
        parse_url(url)
    except SourceError as error:
        raise ValueError(error.reason) from None
    return url


Url = Annotated[str, AfterValidator(_can_be_asked)]
ToolCredential = Annotated[str, Field(pattern=f"^{TOOL_CREDENTIAL_NAME}$")]
NotifyCredential = Annotated[str, Field(pattern=f"^{NOTIFY_CREDENTIAL_NAME}$")]
TimeoutSeconds = Annotated[float, Field(gt=0, le=300)]
Usd = Annotated[float, Field(ge=0, le=1e9)]
#: An address without a display name (RFC 5321, section 4.1.2, without quoted parts).
MailAddress = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$")
]


class _Endpoint(Section):
    """Something that is asked over HTTP."""

    name: Name = Field(description="What reports call it; small letters, digits, - and _.")
    url: Url = Field(description="http or https; no password in it.")
    timeout_seconds: TimeoutSeconds | None = Field(
        default=None, description="In place of NOVA_FETCH_TIMEOUT_SECONDS."
    )
    headers: dict[HeaderName, ToolCredential] = Field(
        default_factory=dict, description="Header -> name of the credential that is its value."
    )
    private: bool = Field(
        default=False, description="Its host name may lead to a private network's address."
    )

    @property
    def target(self) -> Target:
        """What to fetch."""
        return Target(self.url, self.timeout_seconds, self.headers, self.private)


class Tool(_Endpoint):
    """A tool that must answer in time, and may cost so much."""

    expected_latency_ms: float = Field(
        gt=0, le=300_000, description="An answer that takes longer exceeds; milliseconds."
    )
    cost_per_month_usd: Usd = Field(default=0.0, description="What it costs whatever it does.")
    cost_per_call_usd: Usd = Field(default=0.0, description="What each call costs.")
    calls_per_month: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Calls that are paid for; with cost_per_call_usd."
    )
    cost_limit_usd: Usd | None = Field(default=None, description="A month that costs more exceeds.")

    @property
    def monthly_cost_usd(self) -> float | None:
        """What a month costs: fixed, and for all calls; None if nothing was said about it."""
        if not (self.cost_per_month_usd or self.cost_per_call_usd):
            return None
        calls = self.calls_per_month or 0
        return round(self.cost_per_month_usd + self.cost_per_call_usd * calls, 2)

    @model_validator(mode="after")
    def _costs_fit_together(self) -> Self:
        if (self.calls_per_month is None) != (not self.cost_per_call_usd):
            raise ValueError("cost_per_call_usd and calls_per_month need each other")
        if self.cost_limit_usd is not None and self.monthly_cost_usd is None:
            raise ValueError("cost_limit_usd needs cost_per_month_usd or cost_per_call_usd")
        return self


class WatchedVersion(_Endpoint):
    """Something whose version is told when it changes."""

    kind: Literal["json", "text", "feed"] = Field(
        description="json: a value of a document; text: the first line; feed: the title of the "
        "newest entry of an RSS or Atom feed."
    )
    path: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="For json: dotted path, such as `info.version`."
    )

    @model_validator(mode="after")
    def _path_fits_the_kind(self) -> Self:
        if (self.path is None) == (self.kind == "json"):
            needs = "needs a path" if self.kind == "json" else "takes no path"
            raise ValueError(f"kind {self.kind} {needs}")
        return self


class WebhookTarget(Section):
    """Somebody who is notified by an HTTP request."""

    name: Name = Field(description="What commands and reports call it.")
    kind: Literal["webhook", "slack"] = Field(
        description="webhook: JSON with all there is to say; slack: text, as Slack, Mattermost "
        "and others take it."
    )
    url: Url | None = Field(default=None, description="http or https; no password in it.")
    url_credential: NotifyCredential | None = Field(
        default=None, description="In place of url: name of the credential that is the URL."
    )
    timeout_seconds: TimeoutSeconds | None = Field(
        default=None, description="In place of NOVA_FETCH_TIMEOUT_SECONDS."
    )
    headers: dict[HeaderName, NotifyCredential] = Field(
        default_factory=dict, description="Header -> name of the credential that is its value."
    )
    private: bool = Field(
        default=False, description="Its host name may lead to a private network's address."
    )

    @model_validator(mode="after")
    def _has_one_url(self) -> Self:
        if (self.url is None) == (self.url_credential is None):
            raise ValueError("needs either url or url_credential")
        return self


class MailTarget(Section):
    """Somebody who is notified by mail."""

    name: Name = Field(description="What commands and reports call it.")
    kind: Literal["smtp"]
    host: str = Field(
        pattern=r"^[A-Za-z0-9.:-]{1,253}$", description="Name or address of the mail server."
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="587 for starttls, 465 for tls, 25 for none, when left out."
    )
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="none: in the clear; only without a login."
    )
    username: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Whom to log in as; nobody when left out."
    )
    password: NotifyCredential | None = Field(
        default=None, description="Name of the credential that is the password."
    )
    sender: MailAddress
    recipients: tuple[MailAddress, ...] = Field(strict=False, min_length=1, max_length=50)
    timeout_seconds: TimeoutSeconds = Field(
        default=20.0, description="For connecting, and for each answer of the server."
    )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port or MAIL_PORTS[self.security]

    @model_validator(mode="after")
    def _login_is_whole_and_sealed(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password need each other")
        if self.username is not None and self.security == "none":
            raise ValueError("security none sends the password in the clear; use starttls or tls")
        return self


NotifyTarget = WebhookTarget | MailTarget


class Notify(Section):
    """Who is notified, and of what."""

    about: tuple[Topic, ...] = Field(
        default=("flags", "tools", "versions"),
        strict=False,
        description="flags: channels are flagged; tools: one fails or exceeds; versions: one has "
        "changed.",
    )
    flags: tuple[Literal["promote", "watch", "retire"], ...] = Field(
        default=("promote", "watch", "retire"),
        strict=False,
        description="Flags that are told of.",
    )
    targets: tuple[Annotated[NotifyTarget, Field(discriminator="kind")], ...] = Field(
        default=(), strict=False, description="Who is notified."
    )


class WatchFile(Section):
    """The file. All of it may be left out."""

    tools: tuple[Tool, ...] = Field(default=(), strict=False)
    versions: tuple[WatchedVersion, ...] = Field(default=(), strict=False)
    notify: Notify = Field(default_factory=Notify)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _check_unique("tools", (tool.name for tool in self.tools))
        _check_unique("versions", (watched.name for watched in self.versions))
        _check_unique("targets", (target.name for target in self.notify.targets))
        return self

    def target(self, name: str) -> NotifyTarget:
        """Return who is notified under a name.

        Raises:
            ConfigurationError: nobody is.
        """
        for target in self.notify.targets:
            if target.name == name:
                return target
        known = ", ".join(target.name for target in self.notify.targets) or "none"
        raise ConfigurationError(
            f"{WHAT}: has no target {name[:80]!r} under notify.targets; it has: {known}"
        )


def _check_unique(what: str, names: Iterable[str]) -> None:
    found = list(names)
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise ValueError(f"several {what} are called {', '.join(twice)}")


def load_watch(settings: Settings) -> WatchFile:
    """Read the file that NOVA_GOVERNANCE_WATCH names; without it nothing is watched.

    Raises:
        ConfigurationError: the file cannot be read or is wrong; names file, line, field, reason.
    """
    path = settings.governance_watch
    if path is None:
        return WatchFile()
    return load_file(path, WatchFile, what=WHAT, setting="NOVA_GOVERNANCE_WATCH")


def parse_watch(text: str, name: str) -> WatchFile:
    """Check the text of a watch file; `name` is how messages call it.

    Raises:
        ConfigurationError: one line with all that is wrong, each with its line.
    """
    return parse_text(text, WatchFile, what=WHAT, name=name)
