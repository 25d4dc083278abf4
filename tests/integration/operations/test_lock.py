"""The lock of the fleet on a real Redis: who gets it, who keeps it, and what others are told."""

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from nova.cli import app
from nova.errors import ConflictError, InputError, NovaError
from nova.operations import commands
from nova.operations.audit import read_audit
from nova.operations.lock import (
    REMEMBER_SECONDS,
    FleetLock,
    free_lock,
    read_lock,
    renew_lock,
    take_lock,
)
from nova.settings import Settings
from nova.store import Keys, connect
from tests.conftest import Invoke, wait_until


def take(
    client: redis.Redis, settings: Settings, owner: str = "ann", ttl_seconds: int = 900
) -> FleetLock:
    return take_lock(
        client, settings, owner=owner, reason=f"work of {owner}", ttl_seconds=ttl_seconds
    )


def expire(client: redis.Redis, settings: Settings, owner: str = "ann") -> FleetLock:
    """Take the lock for the shortest time, and wait until it has expired."""
    lock = take(client, settings, owner, ttl_seconds=1)
    wait_until(lambda: read_lock(client) is None)
    return lock


def test_who_holds_it_is_told_with_all_that_one_needs_to_know(
    client: redis.Redis, settings: Settings
) -> None:
    lock = take(client, settings, ttl_seconds=60)
    with pytest.raises(ConflictError) as caught:
        take(client, settings, "bob")
    words = str(caught.value)
    for part in ("ann", "work of ann", f"{lock.acquired_at:%H:%M:%S}", "--take-over"):
        assert part in words
    assert any(f"expires in {left} s" in words for left in (58, 59, 60))
    assert read_lock(client) == lock
    assert read_audit(client, 5) == []


def test_of_two_that_race_one_gets_it(client: redis.Redis, settings: Settings) -> None:
    """Over many rounds, each on a connection of its own."""
    rounds = 50
    barrier = threading.Barrier(2)
    taken: list[list[FleetLock]] = [[] for _ in range(rounds)]

    def race(owner: str) -> None:
        with connect(settings) as own:
            for number in range(rounds):
                barrier.wait(30)
                with contextlib.suppress(ConflictError):
                    taken[number].append(take(own, settings, owner))
                if barrier.wait(30) == 0:
                    free_lock(own, taken[number][0].token)

    threads = [threading.Thread(target=race, args=(owner,)) for owner in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(winners) for winners in taken] == [1] * rounds
    tokens = [winners[0].token for winners in taken]
    assert tokens == sorted(set(tokens))


def test_it_expires_by_itself_and_the_next_gets_a_higher_token(
    client: redis.Redis, settings: Settings
) -> None:
    first = expire(client, settings)
    second = take(client, settings, "bob")
    assert second.token > first.token
    with pytest.raises(ConflictError, match="bob took it") as caught:
        renew_lock(client, first.token)
    assert "change nothing" in str(caught.value)
    with pytest.raises(ConflictError, match="bob has it"):
        free_lock(client, first.token)
    assert read_lock(client) == second
    [entry] = read_audit(client, 5)
    assert (entry.by, entry.action, entry.result) == ("ann", "work of ann", "interrupted")
    assert entry.detail == "its lock expired, and bob took it"


def test_one_that_has_expired_is_renewed_if_nobody_took_it(
    client: redis.Redis, settings: Settings
) -> None:
    lock = expire(client, settings)
    renewed = renew_lock(client, lock.token, 60)
    assert (renewed.token, renewed.owner) == (lock.token, "ann")
    assert read_lock(client) == renewed
    with pytest.raises(ConflictError):
        take(client, settings, "bob")


def test_one_that_was_freed_is_not_renewed(client: redis.Redis, settings: Settings) -> None:
    """Also when another had it in between and has gone: much may have changed."""
    mine = expire(client, settings)
    theirs = take(client, settings, "bob")
    assert free_lock(client, theirs.token)
    with pytest.raises(ConflictError, match="was freed"):
        renew_lock(client, mine.token)
    assert read_lock(client) is None


def test_freeing_is_repeatable(client: redis.Redis, settings: Settings) -> None:
    lock = take(client, settings)
    assert [free_lock(client, lock.token) for _ in range(2)] == [True, False]


def test_a_take_over_stands_in_the_audit(client: redis.Redis, settings: Settings) -> None:
    first = take(client, settings)
    second = take_lock(client, settings, owner="bob", reason="ann is ill", take_over=True)
    assert (second.owner, second.token) == ("bob", first.token + 1)
    with pytest.raises(ConflictError, match="bob took it"):
        renew_lock(client, first.token)
    [entry] = read_audit(client, 5)
    assert (entry.by, entry.from_, entry.to) == ("bob", "ann", "bob")
    assert "work of ann" in entry.detail
    assert "ann is ill" in entry.detail


def test_a_token_is_above_what_hosts_have_seen(client: redis.Redis, settings: Settings) -> None:
    """Redis has lost its data, and hosts refuse whoever comes with a lower token than the last."""
    assert take_lock(client, settings, owner="ann", reason="work", above=41).token == 42
    again = take_lock(client, settings, owner="bob", reason="work", take_over=True, above=7)
    assert again.token == 43


def test_who_has_not_heard_that_he_got_it_gets_it_again(
    client: redis.Redis, settings: Settings
) -> None:
    """The connection broke after Redis had done it; a playbook tries again, as the same run."""

    def take_as(run: str, **more: Any) -> FleetLock:
        return take_lock(client, settings, owner="ann", reason="work", run=run, **more)

    first = take_as("r1", ttl_seconds=60)
    again = take_as("r1", ttl_seconds=900)
    assert (again.token, again.acquired_at) == (first.token, first.acquired_at)
    assert again.expires_at > first.expires_at
    assert client.ttl(Keys.FLEET_LOCK) > REMEMBER_SECONDS + 800
    assert read_lock(client) == again
    # Nor does it take over from itself.
    assert take_as("r1", take_over=True).token == first.token
    assert read_audit(client, 5) == []
    for other in ("r2", ""):
        with pytest.raises(ConflictError, match="ann holds the lock"):
            take_as(other)
    free_lock(client, first.token)
    assert take_as("r1").token == first.token + 1


def test_who_gives_no_id_does_not_get_the_lock_of_another_without_one(
    client: redis.Redis, settings: Settings
) -> None:
    """Nor one that a release has taken that knew no ids."""
    take(client, settings)
    for _ in range(2):
        with pytest.raises(ConflictError):
            take(client, settings)
        client.hdel(Keys.FLEET_LOCK, "run")
    with pytest.raises(InputError, match="--run must be one line"):
        take_lock(client, settings, owner="ann", reason="work", run="a\nb")


def test_a_clock_that_was_set_back_does_not_keep_a_lock(
    client: redis.Redis, settings: Settings
) -> None:
    take(client, settings, ttl_seconds=60)
    ahead = float(client.hget(Keys.FLEET_LOCK, "expires_at") or 0) + 86400
    client.hset(Keys.FLEET_LOCK, "expires_at", str(ahead))
    assert take(client, settings, "bob").owner == "bob"


def test_a_full_redis_can_be_locked(client: redis.Redis, settings: Settings) -> None:
    """Work on the fleet may be what helps it."""
    client.config_set("maxmemory", "1")
    try:
        lock = take_lock(client, settings, owner="ann", reason="work", run="r1")
        take_lock(client, settings, owner="ann", reason="work", run="r1")
        renew_lock(client, lock.token)
        take_lock(client, settings, owner="bob", reason="urgent", take_over=True)
    finally:
        client.config_set("maxmemory", "0")
    assert len(read_audit(client, 5)) == 1


@pytest.mark.parametrize(("owner", "reason"), [("", "work"), ("ann", " "), ("ann\nbob", "work")])
def test_owner_and_reason_are_a_line_each(
    client: redis.Redis, settings: Settings, owner: str, reason: str
) -> None:
    with pytest.raises(InputError):
        take_lock(client, settings, owner=owner, reason=reason)


def test_a_lost_lock_has_an_exit_code_of_its_own(
    client: redis.Redis, settings: Settings, command_line: Callable[..., Invoke]
) -> None:
    """A playbook must tell it from any other failure: it may then not even take anything back."""
    command_line(commands)
    lock = take(client, settings)
    take_lock(client, settings, owner="bob", reason="ann is ill", take_over=True)
    result = CliRunner().invoke(app, ["fleet", "renew", str(lock.token)])
    assert result.exit_code == commands.LOCK_LOST_EXIT_CODE
    assert "bob took it" in result.stderr
    assert "change nothing" in result.stderr


def test_a_playbook_gives_the_id_of_its_run_by_the_environment(
    client: redis.Redis, command_line: Callable[..., Invoke], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It also asks releases that do not know the option."""
    nova = command_line(commands)
    monkeypatch.setenv("NOVA_LOCK_RUN", "r1")
    words = ("--owner", "ann", "--reason", "deploy", "--json")
    tokens = [json.loads(nova("fleet", "lock", *words))["token"] for _ in range(2)]
    assert tokens[0] == tokens[1]


def test_the_commands(client: redis.Redis, command_line: Callable[..., Invoke]) -> None:
    """What playbooks rely on."""
    nova = command_line(commands)
    words = ("--owner", "ann", "--reason", "deploy", "--json")
    lock = json.loads(nova("fleet", "lock", *words))
    assert lock.keys() == {"token", "owner", "reason", "acquired_at", "expires_at"}
    with pytest.raises(NovaError, match="ann holds the lock"):
        nova("fleet", "lock", *words)
    assert json.loads(nova("fleet", "show", "--json"))["lock"] == lock
    token = str(lock["token"])
    renewed = json.loads(nova("fleet", "renew", token, "--ttl", "1800", "--json"))
    assert renewed["expires_at"] > lock["expires_at"]
    assert json.loads(nova("fleet", "unlock", token, "--json")) == {"token": 1, "freed": True}
    assert "gone already" in nova("fleet", "unlock", token)
    nothing = {"lock": None, "api_pause": None, "last": None}
    assert json.loads(nova("fleet", "show", "--json")) == nothing
    assert "Lock: free" in nova("fleet", "show")
