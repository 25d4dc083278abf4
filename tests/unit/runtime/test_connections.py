"""Celery's configuration of its connections, and the connections that Celery makes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool

from nova.runtime.app import NovaCelery
from nova.runtime.connections import broker_connection, result_connection
from nova.settings import Settings

MakeSettings = Callable[..., Settings]
PASSWORD = "a/b@c+d;e"
URLS = ["redis://db:1/2", "rediss://db:1/2", "unix:///run/r.sock?db=2", "sentinel://s1:1,s2:2/2"]


def make(make_settings: MakeSettings, url: str, **variables: object) -> Settings:
    return make_settings(
        REDIS_URL=url, NOVA_REDIS_USERNAME="nova", NOVA_REDIS_PASSWORD=PASSWORD, **variables
    )


def make_app(settings: Settings) -> NovaCelery:
    app = NovaCelery("test", settings)
    app.conf.update(**broker_connection(settings), **result_connection(settings))
    return app


def broker_pool(app: NovaCelery) -> redis.ConnectionPool:
    """The pool of a channel, which is made without connecting."""
    with app.connection_for_read() as connection:
        transport = connection.transport
        channel = object.__new__(transport.Channel)
        channel.connection = transport
        for name in transport.Channel.from_transport_options:
            if name in connection.transport_options:
                setattr(channel, name, connection.transport_options[name])
        pool: redis.ConnectionPool = channel._get_pool()
        return pool


def check(found: dict[str, Any]) -> None:
    assert found["socket_timeout"] == 5
    assert "path" in found or found["socket_connect_timeout"] == 2
    assert found["health_check_interval"] == 5
    assert (found["username"], found["password"], found["db"]) == ("nova", PASSWORD, 2)


@pytest.mark.parametrize("stock_parts", ["", "transport"])
def test_lost_sentinels_are_named_in_one_short_line(
    make_settings: MakeSettings, stock_parts: str
) -> None:
    """Celery logs such an error at each try to connect."""
    url = "sentinel://127.0.0.1:1,127.0.0.1:2/0"
    app = make_app(make(make_settings, url, NOVA_STOCK_PARTS=stock_parts))
    for pool in (broker_pool(app), app.backend.client.connection_pool):
        with pytest.raises(MasterNotFoundError) as caught:
            pool.get_connection()
        message = str(caught.value)
        assert "127.0.0.1:1 - " in message
        assert "127.0.0.1:2 - " in message
        assert message.count("refused") == 2
        assert len(message) < 250
        assert "<" not in message


def check_sentinels(pool: redis.ConnectionPool) -> None:
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "nova"
    found = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in found] == [("s1", 1), ("s2", 2)]
    for one in found:
        assert (one["socket_timeout"], one["socket_connect_timeout"]) == (1, 1)
        assert one["retry"].get_retries() == 0


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("stock_parts", ["", "transport"])
def test_the_broker_is_reached_with_timeouts(
    make_settings: MakeSettings, url: str, stock_parts: str
) -> None:
    pool = broker_pool(make_app(make(make_settings, url, NOVA_STOCK_PARTS=stock_parts)))
    check(pool.connection_kwargs)
    if url.startswith("sentinel"):
        check_sentinels(pool)
    elif url.startswith("unix"):
        assert issubclass(pool.connection_class, redis.UnixDomainSocketConnection)
        assert pool.connection_kwargs["path"] == "/run/r.sock"
    else:
        assert (pool.connection_kwargs["host"], pool.connection_kwargs["port"]) == ("db", 1)
        assert pool.connection_kwargs["socket_keepalive"]


@pytest.mark.parametrize("url", URLS)
def test_what_a_worker_tells_of_its_connection_is_json_without_secrets(
    make_settings: MakeSettings, url: str
) -> None:
    """`inspect stats` is answered with it, less the password of Redis itself."""
    settings = make(make_settings, url, NOVA_REDIS_SENTINEL_PASSWORD="of-sentinels")
    app = make_app(settings)
    app.amqp_cls = "nova.runtime.consumer:NovaAMQP"  # as nova/celery_app.py has it
    with app.connection_for_read() as connection:
        told = connection.info()
    told.pop("password")
    text = json.dumps(told)
    assert "of-sentinels" not in text
    assert PASSWORD not in text


@pytest.mark.parametrize("url", URLS)
def test_results_are_reached_with_timeouts(make_settings: MakeSettings, url: str) -> None:
    pool = make_app(make(make_settings, url)).backend.client.connection_pool
    check(pool.connection_kwargs)
    if url.startswith("sentinel"):
        check_sentinels(pool)
    elif url.startswith("unix"):
        assert issubclass(pool.connection_class, redis.UnixDomainSocketConnection)
        assert pool.connection_kwargs["path"] == "/run/r.sock"
    else:
        assert pool.connection_kwargs["socket_keepalive"]


@pytest.mark.parametrize(("url", "tls"), [("rediss://db/0", "false"), ("sentinel://s1/0", "true")])
@pytest.mark.parametrize("stock_parts", ["", "transport"])
def test_certificates_are_verified(
    make_settings: MakeSettings, tmp_path: Path, url: str, tls: str, stock_parts: str
) -> None:
    """kombu's own default for rediss:// is to trust anybody."""
    ca_file = str(tmp_path / "ca.pem")
    settings = make_settings(
        REDIS_URL=url,
        NOVA_REDIS_TLS=tls,
        NOVA_REDIS_CA_FILE=ca_file,
        NOVA_STOCK_PARTS=stock_parts,
    )
    app = make_app(settings)
    for pool in (broker_pool(app), app.backend.client.connection_pool):
        assert issubclass(pool.connection_class, redis.SSLConnection)
        connections = [pool.make_connection()]
        if isinstance(pool, SentinelConnectionPool):
            sentinels = pool.sentinel_manager.sentinels
            connections += [one.connection_pool.make_connection() for one in sentinels]
        for connection in connections:
            assert isinstance(connection, redis.SSLConnection)
            assert connection.cert_reqs.name == "CERT_REQUIRED"
            assert connection.check_hostname
            assert connection.ca_certs == ca_file


@pytest.mark.parametrize("url", URLS)
def test_the_password_is_not_shown(make_settings: MakeSettings, url: str) -> None:
    """Celery prints both URLs when a worker starts."""
    app = make_app(make(make_settings, url))
    with app.connection_for_read() as connection:
        shown = connection.as_uri() + app.backend.as_uri()
    assert PASSWORD not in shown
    assert "a%2Fb" not in shown


def test_publishers_wait_less_long_than_consumers(make_settings: MakeSettings) -> None:
    app = make_app(make(make_settings, "redis://db/0"))
    with app.connection_for_write() as writing, app.connection_for_read() as reading:
        assert writing.transport_options["socket_timeout"] == 3
        assert reading.transport_options["socket_timeout"] == 5
