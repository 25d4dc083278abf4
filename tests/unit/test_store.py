"""Clients of Redis: no way of reaching it is without timeouts, and errors are for people."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool

from nova.errors import ConfigurationError, NovaError, UnavailableError
from nova.settings import Settings
from nova.store import connect, open_redis, redis_errors

MakeSettings = Callable[..., Settings]
URLS = ["redis://db/2", "rediss://db/2", "unix:///run/redis.sock?db=2", "sentinel://s1,s2/2"]


def options(client: redis.Redis) -> dict[str, Any]:
    found: dict[str, Any] = client.connection_pool.connection_kwargs
    return found


@pytest.mark.parametrize("url", URLS)
def test_every_client_has_timeouts_and_repeats_nothing(
    make_settings: MakeSettings, url: str
) -> None:
    settings = make_settings(REDIS_URL=url, NOVA_REDIS_USERNAME="nova", NOVA_REDIS_PASSWORD="a/b@c")
    with connect(settings, timeout_seconds=3) as client:
        found = options(client)
    assert (found["socket_timeout"], found["socket_connect_timeout"]) == (3, 2)
    assert found["retry"].get_retries() == 0
    assert found["health_check_interval"] == 5
    assert url.startswith("unix:") or found["socket_keepalive"]
    assert (found["username"], found["password"], found["db"]) == ("nova", "a/b@c", 2)


def test_the_sentinels_have_timeouts_and_a_password_of_their_own(
    make_settings: MakeSettings,
) -> None:
    """They inherit nothing, and redis-py's own default is to try ten times."""
    settings = make_settings(
        REDIS_URL="sentinel://s1,s2:26380/0",
        NOVA_REDIS_PASSWORD="of-redis",
        NOVA_REDIS_SENTINEL_MASTER="group",
        NOVA_REDIS_SENTINEL_PASSWORD="of-sentinel",
    )
    with connect(settings) as client:
        pool = client.connection_pool
        assert isinstance(pool, SentinelConnectionPool)
        assert pool.service_name == "group"
        sentinels = [options(sentinel) for sentinel in pool.sentinel_manager.sentinels]
    assert [(found["host"], found["port"]) for found in sentinels] == [("s1", 26379), ("s2", 26380)]
    for found in sentinels:
        assert (found["socket_timeout"], found["socket_connect_timeout"]) == (1, 1)
        assert found["retry"].get_retries() == 0
        assert found["password"] == "of-sentinel"


@pytest.mark.parametrize("url", ["rediss://db/0", "sentinel://s1/0"])
def test_certificates_are_verified(make_settings: MakeSettings, tmp_path: Path, url: str) -> None:
    ca_file = tmp_path / "ca.pem"
    settings = make_settings(
        REDIS_URL=url,
        NOVA_REDIS_CA_FILE=str(ca_file),
        NOVA_REDIS_TLS="true" if url.startswith("sentinel") else "false",
    )
    with connect(settings) as client:
        pool = client.connection_pool
        found = [options(client)]
        if isinstance(pool, SentinelConnectionPool):
            found += [options(sentinel) for sentinel in pool.sentinel_manager.sentinels]
        assert issubclass(pool.connection_class, redis.SSLConnection)
    for one in found:
        assert one["ssl_cert_reqs"] == "required"
        assert one["ssl_check_hostname"]
        assert one["ssl_ca_certs"] == str(ca_file)


def test_sentinels_that_do_not_answer_are_named_in_one_short_line(
    make_settings: MakeSettings,
) -> None:
    """redis-py puts all options of each client into the error."""
    settings = make_settings(
        REDIS_URL="sentinel://:hunter2@127.0.0.1:1,127.0.0.1:2/0",
        NOVA_REDIS_SENTINEL_MASTER="group",
        NOVA_REDIS_TLS="true",
    )
    with pytest.raises(UnavailableError) as caught, open_redis(settings) as client:
        client.ping()
    message = str(caught.value)
    for words in ("No master found for 'group'", "127.0.0.1:1 - ", "127.0.0.1:2 - ", "refused"):
        assert words in message
    assert len(message) < 400
    assert not any(part in message for part in ("\n", "<", "hunter2"))


def untrusted() -> Exception:
    error = redis.ConnectionError("certificate verify failed")
    error.__context__ = ssl.SSLCertVerificationError()
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (redis.AuthenticationError("WRONGPASS"), ConfigurationError, "user or password"),
        (redis.exceptions.NoPermissionError("NOPERM"), ConfigurationError, "user or password"),
        (redis.OutOfMemoryError("full"), UnavailableError, "refused a command: full"),
        (redis.TimeoutError("slow"), UnavailableError, "does not answer: slow"),
        (MasterNotFoundError("No master found"), UnavailableError, "No master found"),
        (untrusted(), ConfigurationError, "NOVA_REDIS_CA_FILE"),
    ],
)
def test_errors_say_what_to_do_and_where(
    make_settings: MakeSettings, error: Exception, kind: type[NovaError], words: str
) -> None:
    settings = make_settings(REDIS_URL="redis://nova:hunter2@db:6379/0")
    with pytest.raises(kind, match=words) as caught, redis_errors(settings):
        raise error
    assert "redis://db:6379/0" in str(caught.value)
    assert "hunter2" not in str(caught.value)
