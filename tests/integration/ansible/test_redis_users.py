"""The users that the role redis writes, on a real Redis with an append-only file."""

import contextlib
import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from jinja2 import Environment

from scripts.local.redis_server import find_redis_server, free_port

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = ROOT / "ansible" / "roles" / "redis" / "templates" / "etc" / "redis" / "nova.acl.j2"
PASSWORD = "n" * 32
TWO_WRITES = "redis.call('set', 'a', 1) redis.call('rpush', 'b', 2)"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """The role's file of users."""
    environment = Environment(autoescape=False, trim_blocks=True)  # noqa: S701 - no HTML
    environment.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    template = environment.from_string(TEMPLATE.read_text())
    path = tmp_path / "nova.acl"
    path.write_text(
        template.render(redis_nova_password=PASSWORD, redis_admin_password="a" * 32) + "\n"
    )
    return path


@contextlib.contextmanager
def running(users: Path) -> Iterator[int]:
    """A Redis with these users, on the data beside the file; its port."""
    port = free_port()
    command = [find_redis_server(), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--aclfile", str(users), "--dir", str(users.parent), "--appendonly", "yes"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        with connect(port) as client:
            while True:
                assert server.poll() is None, "redis-server ended"
                assert time.monotonic() < deadline, "redis-server does not answer"
                with contextlib.suppress(redis.RedisError):
                    client.ping()
                    break
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


def connect(port: int) -> redis.Redis:
    """A client that is the user nova."""
    return redis.Redis(port=port, username="nova", password=PASSWORD)


def test_scripts_and_transactions_survive_a_restart(users: Path) -> None:
    """Redis replays both as the user `default`, and drops without a word what that may not run."""
    with running(users) as port, connect(port) as client:
        client.eval(TWO_WRITES, 0)
        with client.pipeline(transaction=True) as pipe:
            pipe.set("c", 3).set("d", 4).execute()
        client.set("e", 5)
    with running(users) as port, connect(port) as client:
        assert sorted(client.scan_iter()) == [b"a", b"b", b"c", b"d", b"e"]


def test_nobody_is_the_user_default(users: Path) -> None:
    """Its rights are there for replay alone: strangers and AUTH without a user are refused."""
    with running(users) as port:
        for password in (None, "", PASSWORD):
            stranger = redis.Redis(port=port, password=password)
            with stranger as client, pytest.raises(redis.AuthenticationError):
                client.ping()
