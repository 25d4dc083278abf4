"""Settings: where values come from, and what is refused with which words."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from nova.errors import ConfigurationError
from nova.settings import Settings, load_settings, present_user, read_credential

GOOD_SECRET = "c0ffee" * 8


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test sets the variables it is about."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def test_missing_redis_url_is_named_in_one_line() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL is not set") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_a_wrong_value_is_named_but_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong value may be a URL with a password in it."""
    monkeypatch.setenv("REDIS_URL", "http://user:hunter2@host/0")
    with pytest.raises(ConfigurationError, match="REDIS_URL: must start with redis://") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_secret_may_come_from_a_credential_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    (tmp_path / "jwt_secret_key").write_text(GOOD_SECRET + "\n")
    (tmp_path / "nova_redis_password").write_text("from-file\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings()
    assert settings.require_jwt_secret() == GOOD_SECRET
    assert settings.redis_password.get_secret_value() == "from-file"


def test_a_credential_file_that_is_no_text_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "jwt_secret_key").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("REDIS_URL", "redis://db/0")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f'credentials in {tmp_path}.*"jwt_secret_key"'):
        load_settings()


def test_an_empty_variable_is_one_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its default counts, and a credential file beside it."""
    (tmp_path / "jwt_secret_key").write_text("k" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://db/0")
    for name in ("JWT_SECRET_KEY", "NOVA_LOG_DIR", "NOVA_METRIC_RETENTION_DAYS", "NOVA_API_PORT"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.require_jwt_secret() == "k" * 32
    assert (settings.log_dir, settings.metric_retention_days) == (None, None)
    assert settings.api_port == 8000
    monkeypatch.setenv("REDIS_URL", "")
    with pytest.raises(ConfigurationError, match="REDIS_URL is not set"):
        load_settings()


def test_the_environment_wins_over_a_credential_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    (tmp_path / "nova_redis_password").write_text("from-file")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("NOVA_REDIS_PASSWORD", "from-environment")
    assert load_settings().redis_password.get_secret_value() == "from-environment"


def test_user_and_password_are_composed_and_escaped(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(
        REDIS_URL="redis://db:6379/2", NOVA_REDIS_USERNAME="nova", NOVA_REDIS_PASSWORD="a/b@c:d"
    )
    assert settings.redis_dsn == "redis://nova:a%2Fb%40c%3Ad@db:6379/2"


def test_credentials_that_stand_in_the_url_are_used_as_they_are(
    make_settings: Callable[..., Settings],
) -> None:
    url = "redis://nova:pw@db:6379/2"
    assert make_settings(REDIS_URL=url).redis_dsn == url


def test_the_location_for_messages_carries_no_password(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(REDIS_URL="redis://nova:pw@db:6379/2?password=pw")
    assert settings.redis_location == "redis://db:6379/2"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "is not set"),
        ("too-short", "shorter than 32 bytes"),
        ("your_secure_jwt_key_here", "placeholder"),
        ("your_secure_jwt_key_here_that_is_long_enough", "placeholder"),
        ("changeme" * 8, "placeholder"),
    ],
)
def test_a_bad_jwt_secret_is_refused_and_the_variable_named(
    make_settings: Callable[..., Settings], secret: str, reason: str
) -> None:
    """The guide's own sample key is among them, on purpose."""
    with pytest.raises(ConfigurationError, match=f"JWT_SECRET_KEY .*{reason}"):
        make_settings(JWT_SECRET_KEY=secret).require_jwt_secret()


def test_settings_do_not_show_secrets_when_printed(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(NOVA_REDIS_PASSWORD="hunter2", JWT_SECRET_KEY=GOOD_SECRET)
    assert "hunter2" not in repr(settings)
    assert GOOD_SECRET not in repr(settings)


@pytest.mark.parametrize(("given", "level"), [("INFO", "info"), ("20", "info"), ("30", "warning")])
def test_log_levels_are_taken_in_any_case_and_as_numbers(
    make_settings: Callable[..., Settings], given: str, level: str
) -> None:
    """Celery rewrites CELERY_LOG_LEVEL as a number in the processes it starts."""
    assert make_settings(CELERY_LOG_LEVEL=given).log_level == level


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://db/0", "must start with redis://"),
        ("redis://", "needs HOST or HOST:PORT"),
        ("redis://db:port/0", "needs HOST or HOST:PORT"),
        ("redis://db1,db2/0", "several hosts only after sentinel://"),
        ("sentinel://s1,,s3/0", "needs HOST or HOST:PORT"),
        ("redis://db/zero", "number of a database"),
        ("unix://", "must name the socket"),
        ("redis://db/0?db=zero", "option behind its"),
        ("redis://db/0?colour=red", "option behind its"),
        ("unix:///run/redis.sock?db=zero", "option behind its"),
        ("sentinel://s1,s2/0?db=zero", "option behind its"),
    ],
)
def test_a_wrong_redis_url_is_refused_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigurationError, match=f"REDIS_URL: .*{reason}"):
        load_settings()


@pytest.mark.parametrize(
    ("url", "dsn", "location", "addresses"),
    [
        (
            "sentinel://s1,s2:26380,[::1]/1",
            "sentinel://nova:p%2Fw@s1,s2:26380,[::1]/1",
            "sentinel://s1,s2:26380,[::1]/1",
            [("s1", 26379), ("s2", 26380), ("::1", 26379)],
        ),
        (
            "unix:///run/redis.sock?db=2",
            "unix://nova:p%2Fw@/run/redis.sock?db=2",
            "unix:///run/redis.sock",
            [],
        ),
        ("rediss://db/0", "rediss://nova:p%2Fw@db/0", "rediss://db/0", [("db", 6379)]),
    ],
)
def test_every_kind_of_redis_url_is_composed_and_taken_apart(
    make_settings: Callable[..., Settings],
    url: str,
    dsn: str,
    location: str,
    addresses: list[tuple[str, int]],
) -> None:
    settings = make_settings(REDIS_URL=url, NOVA_REDIS_USERNAME="nova", NOVA_REDIS_PASSWORD="p/w")
    assert settings.redis_dsn == dsn
    assert settings.redis_location == location
    assert settings.redis_addresses == addresses


@pytest.mark.parametrize(("size", "replicas"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_a_task_is_confirmed_by_a_majority_of_the_group(
    make_settings: Callable[..., Settings], size: int, replicas: int
) -> None:
    """With the primary, which has the task, more than half of the servers must have it."""
    assert make_settings(NOVA_REDIS_GROUP_SIZE=size).wait_replicas == replicas
    assert replicas + 1 > size / 2


def test_stock_parts_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://db/0")
    assert load_settings().stock_parts == frozenset()
    monkeypatch.setenv("NOVA_STOCK_PARTS", "transport, ledger")
    assert load_settings().stock_parts == {"transport", "ledger"}


def test_own_channels_are_a_list_with_commas_and_a_comma_goes_into_quotes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://db/0")
    assert load_settings().own_channels == frozenset()
    monkeypatch.setenv("NOVA_OWN_CHANNELS", 'Ken Jee, "Data, Science & Co",,')
    assert load_settings().own_channels == {"Ken Jee", "Data, Science & Co"}


def test_competitor_seeds_may_be_urls_and_names_with_a_comma(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    assert load_settings().competitor_seeds == frozenset()
    monkeypatch.setenv("COMPETITOR_SEEDS", 'Vox, "Red, White",https://feeds.example.org/a?b=c ,')
    assert load_settings().competitor_seeds == {
        "Vox",
        "Red, White",
        "https://feeds.example.org/a?b=c",
    }


def test_an_unknown_stock_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://db/0")
    monkeypatch.setenv("NOVA_STOCK_PARTS", "transport,legder")
    with pytest.raises(ConfigurationError, match=r"NOVA_STOCK_PARTS: .*'transport', 'scheduler'"):
        load_settings()


def test_the_switch_for_tls_is_for_sentinels(monkeypatch: pytest.MonkeyPatch) -> None:
    """With redis:// it would look as if the connection were encrypted."""
    monkeypatch.setenv("NOVA_REDIS_TLS", "true")
    monkeypatch.setenv("REDIS_URL", "redis://db/0")
    with pytest.raises(ConfigurationError, match="write rediss:// in REDIS_URL"):
        load_settings()
    monkeypatch.setenv("REDIS_URL", "sentinel://s1,s2,s3/0")
    assert load_settings().redis_tls


def test_a_named_credential_comes_from_the_environment_or_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "nova_source_key").write_text("from-file\n")
    assert read_credential("NOVA_SOURCE_KEY").get_secret_value() == "from-file"
    monkeypatch.setenv("NOVA_SOURCE_KEY", "from-environment")
    assert read_credential("NOVA_SOURCE_KEY").get_secret_value() == "from-environment"


@pytest.mark.parametrize("name", ["NOVA_TOOL_KEY", "NOVA_NOTIFY_KEY"])
def test_tools_and_notifications_have_credentials_too(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "secret")
    assert read_credential(name).get_secret_value() == "secret"


@pytest.mark.parametrize(
    "name", ["JWT_SECRET_KEY", "NOVA_SOURCE_../KEY", "NOVA_SOURCE_", "nova", "NOVA_REDIS_PASSWORD"]
)
def test_a_configuration_file_reaches_no_other_secret(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", GOOD_SECRET)
    with pytest.raises(ConfigurationError, match="its name must be NOVA_SOURCE_"):
        read_credential(name)


def test_an_absent_credential_says_how_to_give_it() -> None:
    with pytest.raises(ConfigurationError, match=r"NOVA_SOURCE_KEY is not set.*nova_source_key"):
        read_credential("NOVA_SOURCE_KEY")


def test_the_present_user_is_who_called_sudo_or_runs_the_process_or_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    monkeypatch.setenv("LOGNAME", "root")
    assert present_user() == "ann"
    monkeypatch.delenv("SUDO_USER")
    assert present_user() == "root"
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert present_user() == str(os.getuid())
