"""Every setting of Nova: name, type, default, secret or not. The only reader of the environment.

A setting comes from its environment variable; a secret may instead come from a credential
file, `$CREDENTIALS_DIRECTORY/<variable name in lower case>`, as systemd's LoadCredential
provides it. The environment wins where both are there. A variable that is empty counts as not set.
"""

import csv
import getpass
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from nova.errors import ConfigurationError

#: HS256 wants a key of at least its hash's size (RFC 7518, section 3.2).
JWT_SECRET_MIN_BYTES = 32
#: Names of secrets that configuration files may refer to: sources, watched tools and versions, and
#: those who are notified.
CREDENTIAL_NAME = r"NOVA_SOURCE_[A-Z0-9_]+"
TOOL_CREDENTIAL_NAME = r"NOVA_TOOL_[A-Z0-9_]+"
NOTIFY_CREDENTIAL_NAME = r"NOVA_NOTIFY_[A-Z0-9_]+"
#: Words that stand in sample secrets, the guide's own `your_secure_jwt_key_here` included.
PLACEHOLDER_WORDS = ("your_", "changeme", "change_me", "placeholder", "example", "secret_here")

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
#: Parts of the runtime that can be switched back to what Celery and kombu bring.
StockPart = Literal["transport", "scheduler", "ledger", "watchdog"]
#: Who runs the schedule: the API's loops, both they and beat, or beat.
SchedulerMode = Literal["legacy", "parallel", "celery"]

REDIS_SCHEMES = ("redis", "rediss", "unix", "sentinel")
REDIS_PORT = 6379
SENTINEL_PORT = 26379


class Settings(BaseSettings):
    """Nova's settings, read once when a process starts."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    redis_url: str = Field(
        alias="REDIS_URL",
        description="Redis for broker, results and data: redis://HOST:6379/0, rediss:// for TLS, "
        "unix:///PATH?db=0, or sentinel://HOST1:26379,HOST2:26379,HOST3:26379/0.",
    )
    redis_username: str = Field(
        default="",
        alias="NOVA_REDIS_USERNAME",
        description="Redis ACL user, when it does not stand in REDIS_URL.",
    )
    redis_password: SecretStr = Field(
        default=SecretStr(""),
        alias="NOVA_REDIS_PASSWORD",
        description="Redis password, when it does not stand in REDIS_URL.",
    )
    redis_ca_file: Path | None = Field(
        default=None,
        alias="NOVA_REDIS_CA_FILE",
        description="CA certificates (PEM) that Redis' certificate is verified with; those of the "
        "system when unset.",
    )
    redis_tls: bool = Field(
        default=False,
        alias="NOVA_REDIS_TLS",
        description="With sentinel://: talk TLS to the sentinels and to Redis.",
    )
    redis_sentinel_master: str = Field(
        default="nova",
        alias="NOVA_REDIS_SENTINEL_MASTER",
        min_length=1,
        description="Name that the sentinels watch the Redis group under.",
    )
    redis_sentinel_username: str = Field(
        default="",
        alias="NOVA_REDIS_SENTINEL_USERNAME",
        description="ACL user of the sentinels, where they ask for one.",
    )
    redis_sentinel_password: SecretStr = Field(
        default=SecretStr(""),
        alias="NOVA_REDIS_SENTINEL_PASSWORD",
        description="Password of the sentinels, where they ask for one.",
    )
    redis_group_size: int = Field(
        default=1,
        alias="NOVA_REDIS_GROUP_SIZE",
        ge=1,
        description="Redis servers in the group, the primary included; a published task is "
        "confirmed when most of them have it.",
    )
    jwt_secret_key: SecretStr = Field(
        default=SecretStr(""),
        alias="JWT_SECRET_KEY",
        description="Key that signs the API's tokens; at least 32 bytes.",
    )
    jwt_secret_key_previous: SecretStr = Field(
        default=SecretStr(""),
        alias="NOVA_JWT_SECRET_KEY_PREVIOUS",
        description="Key that signed the API's tokens before JWT_SECRET_KEY did; those are "
        "accepted too, for as long as it is set.",
    )
    jwt_issuer: str = Field(
        default="nova", alias="NOVA_JWT_ISSUER", description="Issuer that a token must name."
    )
    jwt_audience: str = Field(
        default="nova-api", alias="NOVA_JWT_AUDIENCE", description="Audience a token must name."
    )
    log_level: LogLevel = Field(
        default="info", alias="CELERY_LOG_LEVEL", description="Log level of every process."
    )
    log_dir: Path | None = Field(
        default=None,
        alias="NOVA_LOG_DIR",
        description="Folder for log files, besides stderr; none are written when unset.",
    )
    api_host: str = Field(
        default="127.0.0.1", alias="NOVA_API_HOST", description="Address the API listens on."
    )
    api_port: int = Field(
        default=8000, alias="NOVA_API_PORT", ge=1, le=65535, description="Port of the API."
    )
    api_tls_cert_file: Path | None = Field(
        default=None,
        alias="NOVA_API_TLS_CERT_FILE",
        description="Certificate (PEM, with its chain) that the API shows; with it the API speaks "
        "TLS only. It is read when the API starts.",
    )
    api_tls_key_file: Path | None = Field(
        default=None,
        alias="NOVA_API_TLS_KEY_FILE",
        description="File of the certificate's private key (PEM, without a passphrase).",
    )
    api_rate_limit: int = Field(
        default=1200,
        alias="NOVA_API_RATE_LIMIT",
        ge=0,
        description="Requests a minute that the API takes with the same token; 0 is no limit.",
    )
    governance_policy: Path | None = Field(
        default=None,
        alias="NOVA_GOVERNANCE_POLICY",
        description="Governance policy file; the packaged policy when unset.",
    )
    governance_watch: Path | None = Field(
        default=None,
        alias="NOVA_GOVERNANCE_WATCH",
        description="File of the tools and versions that governance watches and of whom it "
        "notifies; none when unset.",
    )
    sources: Path | None = Field(
        default=None,
        alias="NOVA_SOURCES",
        description="File of the sources to fetch from; there are none when unset.",
    )
    own_channels: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        alias="NOVA_OWN_CHANNELS",
        description="Names of our channels, with commas between; one that holds a comma in double "
        "quotes. When unset: those of which there is data that only owners see.",
    )
    competitor_seeds: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        alias="COMPETITOR_SEEDS",
        description="Competitors to compare us with, with commas between: each a channel's name or "
        "id, or the URL of its feed; one that holds a comma in double quotes.",
    )
    analysis_window_days: int = Field(
        default=28,
        alias="NOVA_ANALYSIS_WINDOW_DAYS",
        ge=7,
        le=366,
        description="Days that analysis looks at, counted back from the newest day of each source.",
    )
    trends_window_days: int = Field(
        default=14,
        alias="NOVA_TRENDS_WINDOW_DAYS",
        ge=2,
        le=90,
        description="Days of titles that trends looks at, the scanned day included.",
    )
    fetch_timeout_seconds: float = Field(
        default=20.0,
        alias="NOVA_FETCH_TIMEOUT_SECONDS",
        gt=0,
        le=300,
        description="Seconds for one request to a source, from connecting to the last byte.",
    )
    fetch_max_bytes: int = Field(
        default=8 * 1024 * 1024,
        alias="NOVA_FETCH_MAX_BYTES",
        ge=1,
        description="Largest answer that is taken from a source, in bytes, unpacked.",
    )
    fetch_pause_seconds: float = Field(
        default=1.0,
        alias="NOVA_FETCH_PAUSE_SECONDS",
        ge=0,
        le=60,
        description="Least seconds between two requests of a process to the same host.",
    )
    report_retention_days: int = Field(
        default=90,
        alias="NOVA_REPORT_RETENTION_DAYS",
        ge=1,
        description="Days to keep a report.",
    )
    metric_retention_days: int | None = Field(
        default=None,
        alias="NOVA_METRIC_RETENTION_DAYS",
        ge=1,
        description="Days of channel metrics and of videos to keep, counted back from the newest "
        "day that has any; all when unset.",
    )
    agent_memory_days: int = Field(
        default=90,
        alias="NOVA_AGENT_MEMORY_DAYS",
        ge=1,
        description="Days after which an entry of agent memory that nobody used is forgotten.",
    )
    cache_max_mb: int = Field(
        default=256,
        alias="NOVA_CACHE_MAX_MB",
        ge=0,
        description="Most megabytes of fetched pages to keep in Redis; the oldest go first.",
    )
    redis_memory_limit_mb: int | None = Field(
        default=None,
        alias="NOVA_REDIS_MEMORY_LIMIT_MB",
        ge=1,
        description="Megabytes of Redis' memory above which maintenance frees fetched pages, the "
        "oldest first; 80 percent of Redis' maxmemory when unset, if it has one.",
    )
    worker_memory_limit_mb: int = Field(
        default=512,
        alias="NOVA_WORKER_MEMORY_LIMIT_MB",
        ge=16,
        description="A worker's process that ever held more megabytes is replaced after its task.",
    )
    analytics_memory_limit_mb: int = Field(
        default=2000,
        alias="NOVA_ANALYTICS_MEMORY_LIMIT_MB",
        ge=1,
        description="Megabytes that a run of analytics may need, about 400 for each 100,000 "
        "channels; one that needs more is refused.",
    )
    result_expires_hours: int = Field(
        default=24,
        alias="NOVA_RESULT_EXPIRES_HOURS",
        ge=1,
        description="Hours to keep a task's result and the memory that its id was issued.",
    )
    ingest_max_bytes: int = Field(
        default=512 * 1024 * 1024,
        alias="NOVA_INGEST_MAX_BYTES",
        ge=1,
        description="Largest upload that POST /api/metrics takes, in bytes.",
    )
    lease_seconds: int = Field(
        default=60,
        alias="NOVA_LEASE_SECONDS",
        ge=3,
        description="Seconds after which the tasks of a worker that has vanished go to others; "
        "the same for all processes.",
    )
    drain_seconds: int | None = Field(
        default=None,
        alias="NOVA_DRAIN_SECONDS",
        ge=0,
        description="Most seconds that a stopping worker waits for its running tasks; as long as "
        "the time limits of its queues when unset.",
    )
    worker_metrics_host: str = Field(
        default="127.0.0.1",
        alias="NOVA_WORKER_METRICS_HOST",
        description="Address at which a worker shows its own metrics, if it has a port for it.",
    )
    worker_metrics_port: int | None = Field(
        default=None,
        alias="NOVA_WORKER_METRICS_PORT",
        ge=1,
        le=65535,
        description="Port at which a worker shows its own metrics, another for each worker of a "
        "host; none when unset. The API's `/metrics` shows all workers without it.",
    )
    scheduler: SchedulerMode = Field(
        default="celery",
        alias="NOVA_SCHEDULER",
        description="Who runs the schedule: `celery`, beat; `legacy`, loops in the API; "
        "`parallel`, beat, and the loops beside it, which only report. The same for all processes.",
    )
    stock_parts: Annotated[frozenset[StockPart], NoDecode] = Field(
        default=frozenset(),
        alias="NOVA_STOCK_PARTS",
        description="Parts of Nova's runtime to replace by Celery's own, with commas between: "
        "transport, scheduler, ledger, watchdog.",
    )
    notify_socket: str = Field(
        default="",
        alias="NOTIFY_SOCKET",
        description="Set by systemd for Type=notify services; not for people.",
    )
    watchdog_usec: int = Field(
        default=0,
        alias="WATCHDOG_USEC",
        ge=0,
        description="Set by systemd for services with WatchdogSec; not for people.",
    )
    listen_pid: int = Field(
        default=0,
        alias="LISTEN_PID",
        description="Set by systemd for socket-activated services; not for people.",
    )
    listen_fds: int = Field(
        default=0,
        alias="LISTEN_FDS",
        description="Set by systemd for socket-activated services; not for people.",
    )

    @field_validator("redis_url")
    @classmethod
    def _known_redis_url(cls, value: str) -> str:
        parts = split_url(value)
        if parts.scheme not in REDIS_SCHEMES:
            raise ValueError("must start with redis://, rediss://, unix:// or sentinel://")
        if parts.scheme == "unix":
            if not parts.path:
                raise ValueError("must name the socket, such as unix:///run/redis/redis.sock?db=0")
            return value
        if parts.scheme != "sentinel" and "," in parts.netloc.rpartition("@")[2]:
            raise ValueError("takes several hosts only after sentinel://")
        for host in parts.netloc.rpartition("@")[2].split(","):
            _host_and_port(host, REDIS_PORT)
        if not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
            raise ValueError("must end with the number of a database, such as /0")
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_redis_options(cls, value: str) -> str:
        """Let redis-py read what stands behind the question mark."""
        import redis

        parts = split_url(value)
        scheme = "redis" if parts.scheme == "sentinel" else parts.scheme
        host = parts.netloc.rpartition(",")[2]
        url = _url(parts._replace(scheme=scheme, netloc=host))
        try:
            redis.ConnectionPool.from_url(url).make_connection()  # connects at its first command
        except (TypeError, ValueError):
            raise ValueError(
                "has an option behind its ? that redis-py does not know, or cannot read"
            ) from None
        return value

    @field_validator("stock_parts", mode="before")
    @classmethod
    def _comma_list(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return frozenset(word.strip() for word in value.split(",") if word.strip())

    @field_validator("own_channels", "competitor_seeds", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        rows = csv.reader(value.splitlines(), skipinitialspace=True)
        return frozenset(name.strip() for row in rows for name in row if name.strip())

    @model_validator(mode="after")
    def _tls_where_the_url_does_not_say(self) -> "Settings":
        if self.redis_tls and not self.redis_uses_sentinel:
            raise ValueError("NOVA_REDIS_TLS is for sentinel:// only; write rediss:// in REDIS_URL")
        return self

    @model_validator(mode="after")
    def _certificate_and_key_together(self) -> "Settings":
        if (self.api_tls_cert_file is None) != (self.api_tls_key_file is None):
            raise ValueError(
                "NOVA_API_TLS_CERT_FILE and NOVA_API_TLS_KEY_FILE belong together; set both or none"
            )
        return self

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_name(cls, value: Any) -> Any:
        """Take level names in any case, and numbers: Celery rewrites the variable as one."""
        numbers = {"10": "debug", "20": "info", "30": "warning", "40": "error", "50": "critical"}
        text = str(value).lower()
        return numbers.get(text, text) or "info"

    @property
    def redis_dsn(self) -> str:
        """REDIS_URL with user and password in it. The one place where they are composed."""
        password = self.redis_password.get_secret_value()
        if not password:
            return self.redis_url
        user_and_password = f"{quote(self.redis_username, safe='')}:{quote(password, safe='')}@"
        return _url(split_url(self.redis_url), user_and_password)

    @property
    def redis_location(self) -> str:
        """Where Redis is, without user and password: for messages."""
        return _url(split_url(self.redis_url)._replace(query=""))

    @property
    def redis_addresses(self) -> list[tuple[str, int]]:
        """Host and port of Redis, or of each sentinel; none for a Unix socket."""
        parts = split_url(self.redis_url)
        if parts.scheme == "unix":
            return []
        default_port = SENTINEL_PORT if parts.scheme == "sentinel" else REDIS_PORT
        hosts = parts.netloc.rpartition("@")[2].split(",")
        return [_host_and_port(host, default_port) for host in hosts]

    @property
    def redis_uses_sentinel(self) -> bool:
        """Whether sentinels say which server is the primary."""
        return self.redis_url.startswith("sentinel:")

    @property
    def redis_uses_tls(self) -> bool:
        """Whether connections to Redis, and to its sentinels, are encrypted."""
        return self.redis_tls or self.redis_url.startswith("rediss:")

    @property
    def wait_replicas(self) -> int:
        """How many replicas must have a published task, or a commit of one, before it counts.

        A majority of the group less the primary, which has it already: whichever majority elects
        the next primary, one of its members has it.
        """
        return self.redis_group_size // 2

    def require_jwt_secret(self) -> str:
        """Return the key that signs tokens.

        Raises:
            ConfigurationError: it is missing, shorter than 32 bytes, or a placeholder.
        """
        secret = self.jwt_secret_key.get_secret_value()
        if not secret:
            raise ConfigurationError(f"JWT_SECRET_KEY is not set; {_KEY_ADVICE}")
        _check_secret("JWT_SECRET_KEY", secret)
        return secret

    def previous_jwt_secret(self) -> str | None:
        """Return the key that signed tokens before, None if there is none.

        Raises:
            ConfigurationError: it is shorter than 32 bytes, or a placeholder.
        """
        secret = self.jwt_secret_key_previous.get_secret_value()
        if not secret:
            return None
        _check_secret("NOVA_JWT_SECRET_KEY_PREVIOUS", secret)
        return secret


_KEY_ADVICE = "set it to the output of: openssl rand -hex 32"


def _check_secret(name: str, secret: str) -> None:
    if any(word in secret.lower() for word in PLACEHOLDER_WORDS):
        raise ConfigurationError(f"{name} is a placeholder; {_KEY_ADVICE}")
    if len(secret.encode()) < JWT_SECRET_MIN_BYTES:
        raise ConfigurationError(
            f"{name} is shorter than {JWT_SECRET_MIN_BYTES} bytes; {_KEY_ADVICE}"
        )


def split_url(url: str) -> SplitResult:
    """Take the URL of a Redis apart.

    Not by `urlsplit`: Debian's, and that of newer Pythons, refuses an IPv6 address beside other
    hosts, which `sentinel://` takes.
    """
    rest, _, fragment = url.partition("#")
    rest, _, query = rest.partition("?")
    scheme, _, rest = rest.partition("://")
    netloc, slash, path = rest.partition("/")
    return SplitResult(scheme.lower(), netloc, slash + path, query, fragment)


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise ValueError("needs HOST or HOST:PORT, for each host")
    return unquote(host), port or default_port


def _url(parts: SplitResult, user_and_password: str = "") -> str:
    """Put a URL together anew. `urlunsplit` would drop the slashes of unix:///path."""
    host = parts.netloc.rpartition("@")[2]
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{user_and_password}{host}{parts.path}{query}"


def load_settings() -> Settings:
    """Read the settings from the environment and the credential files.

    Raises:
        ConfigurationError: a variable is missing or wrong; the message names it.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    # An absent folder would only make pydantic-settings warn; systemd removes it on stop.
    secrets_dir = folder if folder and Path(folder).is_dir() else None
    try:
        return Settings(_secrets_dir=secrets_dir)  # type: ignore[call-arg]
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None
    except (SettingsError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"cannot read the credentials in {folder}: {error}") from None


def read_credential(name: str) -> SecretStr:
    """Return a secret that a configuration file names: the variable, or the credential file.

    Only names that begin with NOVA_SOURCE_, NOVA_TOOL_ or NOVA_NOTIFY_ are read, so that no such
    file can send another secret of Nova's to a stranger.

    Raises:
        ConfigurationError: the name is not such a one, or there is no such secret.
    """
    names = (CREDENTIAL_NAME, TOOL_CREDENTIAL_NAME, NOTIFY_CREDENTIAL_NAME)
    if not any(re.fullmatch(pattern, name) for pattern in names):
        raise ConfigurationError(
            f"credential {name!r}: its name must be NOVA_SOURCE_, NOVA_TOOL_ or NOVA_NOTIFY_ and "
            "capital letters or digits"
        )
    value = os.environ.get(name, "")
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, name.lower()) if folder else None
    if not value and file is not None and file.is_file():
        value = file.read_text(encoding="utf-8")
    if not value.strip():
        raise ConfigurationError(
            f"credential {name} is not set; give it as environment variable or as credential file "
            f"{name.lower()}"
        )
    return SecretStr(value.strip())


def _explain(error: ValidationError) -> str:
    """Say in one line which variables are wrong. Never shows a value: it may be a secret."""
    problems = []
    for item in error.errors(include_input=False, include_url=False):
        if not item["loc"]:  # about several variables, which the message names
            problems.append(item["msg"].removeprefix("Value error, "))
            continue
        name = item["loc"][0]
        if item["type"] == "missing":
            problems.append(f"{name} is not set ({_description(str(name))})")
        else:
            problems.append(f"{name}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)


def _description(alias: str) -> str:
    fields = Settings.model_fields.values()
    return next((f.description or "" for f in fields if f.alias == alias), "").rstrip(".")


def present_user() -> str:
    """Return the name of whoever runs this process, behind sudo too; a number if there is none."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@lru_cache
def get_settings() -> Settings:
    """Return the settings of this process, read at the first call."""
    return load_settings()
