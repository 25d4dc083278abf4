"""Every setting of Nova: name, type, default, secret or not. The only reader of the environment.

A setting comes from its environment variable; a secret may instead come from a credential
file, `$CREDENTIALS_DIRECTORY/<variable name in lower case>`, as systemd's LoadCredential
provides it. The environment wins where both are there.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nova.errors import ConfigurationError

#: HS256 wants a key of at least its hash's size (RFC 7518, section 3.2).
JWT_SECRET_MIN_BYTES = 32
#: Words that stand in sample secrets, the guide's own `your_secure_jwt_key_here` included.
PLACEHOLDER_WORDS = ("your_", "changeme", "change_me", "placeholder", "example", "secret_here")

LogLevel = Literal["debug", "info", "warning", "error", "critical"]


class Settings(BaseSettings):
    """Nova's settings, read once when a process starts."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_url: str = Field(
        alias="REDIS_URL",
        description="Redis for broker, results and data, such as redis://localhost:6379/0.",
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
    jwt_secret_key: SecretStr = Field(
        default=SecretStr(""),
        alias="JWT_SECRET_KEY",
        description="Key that signs the API's tokens; at least 32 bytes.",
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
    governance_policy: Path | None = Field(
        default=None,
        alias="NOVA_GOVERNANCE_POLICY",
        description="Governance policy file; the packaged policy when unset.",
    )
    report_retention_days: int = Field(
        default=90,
        alias="NOVA_REPORT_RETENTION_DAYS",
        ge=1,
        description="Days to keep a report.",
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
    notify_socket: str = Field(
        default="",
        alias="NOTIFY_SOCKET",
        description="Set by systemd for Type=notify services; not for people.",
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
    def _known_redis_scheme(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("redis", "rediss"):
            raise ValueError("must start with redis:// or rediss://")
        return value

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
        parts = urlsplit(self.redis_url)
        host = parts.netloc.rpartition("@")[2]
        user_and_password = f"{quote(self.redis_username, safe='')}:{quote(password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{user_and_password}@{host}"))

    @property
    def redis_location(self) -> str:
        """Where Redis is, without user and password: for messages."""
        parts = urlsplit(self.redis_url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))

    def require_jwt_secret(self) -> str:
        """Return the key that signs tokens.

        Raises:
            ConfigurationError: it is missing, shorter than 32 bytes, or a placeholder.
        """
        secret = self.jwt_secret_key.get_secret_value()
        advice = "set JWT_SECRET_KEY to the output of: openssl rand -hex 32"
        if not secret:
            raise ConfigurationError(f"JWT_SECRET_KEY is not set; {advice}")
        if any(word in secret.lower() for word in PLACEHOLDER_WORDS):
            raise ConfigurationError(f"JWT_SECRET_KEY is a placeholder; {advice}")
        if len(secret.encode()) < JWT_SECRET_MIN_BYTES:
            raise ConfigurationError(
                f"JWT_SECRET_KEY is shorter than {JWT_SECRET_MIN_BYTES} bytes; {advice}"
            )
        return secret


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


def _explain(error: ValidationError) -> str:
    """Say in one line which variables are wrong. Never shows a value: it may be a secret."""
    problems = []
    for item in error.errors(include_input=False, include_url=False):
        name = item["loc"][0]
        if item["type"] == "missing":
            problems.append(f"{name} is not set ({_description(str(name))})")
        else:
            problems.append(f"{name}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)


def _description(alias: str) -> str:
    fields = Settings.model_fields.values()
    return next((f.description or "" for f in fields if f.alias == alias), "").rstrip(".")


@lru_cache
def get_settings() -> Settings:
    """Return the settings of this process, read at the first call."""
    return load_settings()
