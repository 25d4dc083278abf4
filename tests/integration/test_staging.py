"""Large keys on a real Redis: there as a whole when they are renamed, and not a moment before."""

from datetime import timedelta

import pytest
import redis

from nova.staging import BATCH, STAGING_EXPIRES_SECONDS, Staging, staging
from nova.store import Keys

HOUR = timedelta(hours=1)


def keys(client: redis.Redis) -> set[str]:
    return {key.decode() for key in client.scan_iter()}


def rename(client: redis.Redis, place: Staging) -> None:
    effects = client.pipeline()
    place.rename(effects)
    effects.execute()


def test_keys_become_visible_with_the_commit_and_in_place_of_the_old(client: redis.Redis) -> None:
    client.hset("hash", "old", "1")
    client.set("gone", "1")
    with staging(client, "toys") as place:
        place.write_hash("hash", [("new", "2")], HOUR)
        place.write_scores("scores", [("a", 1.5), (b"b", 2.5)], None)
        place.write_hash("gone", [], HOUR)
        place.write_text("text", "words", HOUR)
        assert client.hgetall("hash") == {b"old": b"1"}
        assert not client.exists("scores", "text")
        rename(client, place)
    assert client.hgetall("hash") == {b"new": b"2"}
    assert client.zrange("scores", 0, -1, withscores=True) == [(b"a", 1.5), (b"b", 2.5)]
    assert client.get("text") == b"words"
    assert keys(client) == {"hash", "scores", "text"}, "what has no records is removed"
    assert 3500 < client.ttl("hash") <= 3600
    assert (client.ttl("scores"), client.ttl("text") > 0) == (-1, True)


def test_more_than_a_batch_is_written(client: redis.Redis) -> None:
    with staging(client, "toys") as place:
        place.write_hash("hash", ((str(n), "x") for n in range(BATCH * 2 + 1)), None)
        rename(client, place)
    assert client.hlen("hash") == BATCH * 2 + 1


def test_a_run_that_fails_leaves_nothing(client: redis.Redis) -> None:
    def fail() -> None:
        with staging(client, "toys") as place:
            place.write_scores("scores", [("a", 1.0)], None)
            assert keys(client) != set()
            raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        fail()
    assert keys(client) == set()


def test_what_a_killed_run_leaves_expires_by_itself(client: redis.Redis) -> None:
    place = Staging(client, "toys")
    place.write_scores("scores", [("a", 1.0)], None)
    [left] = keys(client)
    assert left.startswith(Keys.staging("toys"))
    assert 0 < client.ttl(left) <= STAGING_EXPIRES_SECONDS


def test_two_runs_do_not_meet(client: redis.Redis) -> None:
    """The last commit counts, and it is one run's alone."""
    first, second = Staging(client, "toys"), Staging(client, "toys")
    first.write_hash("hash", [("a", "1")], None)
    second.write_hash("hash", [("b", "2")], None)
    rename(client, first)
    rename(client, second)
    assert client.hgetall("hash") == {b"b": b"2"}
