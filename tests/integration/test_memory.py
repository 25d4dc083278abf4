"""Agent memory in a real Redis: values, accesses, and forgetting what nobody uses."""

import json
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nova import cli
from nova.errors import NotFoundError
from nova.memory import Memory
from nova.settings import get_settings
from nova.store import Keys


@pytest.fixture
def memory(client: redis.Redis) -> Memory:
    """The memory of the private server."""
    return Memory(client)


def age(client: redis.Redis, member: str, hours: float) -> None:
    """Let an entry's last access be some hours ago."""
    seconds, _ = client.time()
    client.zadd(Keys.MEMORY_INDEX, {member: seconds - hours * 3600}, xx=True)


def test_what_is_put_is_got_until_it_is_deleted(memory: Memory) -> None:
    assert memory.get("trends", "cats") is None
    memory.put("trends", "cats", {"score": 3.2, "days": [1, 2]})
    assert memory.get("trends", "cats") == {"score": 3.2, "days": [1, 2]}
    assert memory.get("governance", "cats") is None, "another namespace"
    memory.delete("trends", "cats")
    assert memory.get("trends", "cats") is None
    with pytest.raises(NotFoundError, match="no 'cats' in trends"):
        memory.delete("trends", "cats")


TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(values=st.dictionaries(TEXT, JSON, max_size=20))
def test_any_json_comes_back_as_it_was(
    client: redis.Redis, memory: Memory, values: dict[str, Any]
) -> None:
    """Values and index stay in step, whatever the keys are."""
    client.flushall()
    with client.pipeline() as effects:
        memory.record(effects, "trends", values)
        effects.execute()
    found = memory.get_many("trends", [*values, "another key that is nowhere"])
    assert found == values
    members = cast(list[bytes], client.zrange(Keys.MEMORY_INDEX, 0, -1))
    assert {member.decode() for member in members} == {f"trends:{key}" for key in values}
    with client.pipeline() as effects:
        memory.record_delete(effects, "trends", values)
        effects.execute()
    assert client.zcard(Keys.MEMORY_INDEX) == client.exists(Keys.memory("trends")) == 0


def test_recorded_values_are_there_with_the_commit_only(
    client: redis.Redis, memory: Memory
) -> None:
    """More of them than one command takes; no command is longer than the ledger's limit."""
    values = {f"topic {number}": number for number in range(2500)}
    with client.pipeline() as effects:
        memory.record(effects, "trends", values)
        assert max(len(arguments) for arguments, _ in effects.command_stack) < 4000
        assert memory.get_many("trends", values) == {}
        effects.execute()
    assert memory.get_many("trends", values) == values


def test_reading_and_writing_count_as_access_and_looking_does_not(
    client: redis.Redis, memory: Memory
) -> None:
    for key in ("read", "written", "looked at", "left"):
        memory.put("trends", key, 1)
        age(client, f"trends:{key}", 48)
    memory.get("trends", "read")
    memory.put("trends", "written", 2)
    memory.entry("trends", "looked at")
    memory.entries("trends", 10)
    assert memory.count_unused(24) == 2
    forgotten = memory.forget_unused(24, 100)
    assert forgotten.entries == 2
    assert forgotten.stored_bytes == len("looked at") + len("left") + 2
    assert sorted(entry.key for entry in memory.entries("trends", 10)) == ["read", "written"]
    assert memory.forget_unused(24, 100).entries == 0


def test_forgetting_goes_oldest_first_and_slice_by_slice(
    client: redis.Redis, memory: Memory
) -> None:
    for number in range(5):
        memory.put("trends", f"k:{number}", number)
        age(client, f"trends:k:{number}", 100 - number)
    assert memory.forget_unused(24, 2).entries == 2
    assert [entry.key for entry in memory.entries("trends", 10)] == ["k:2", "k:3", "k:4"]
    assert [memory.forget_unused(24, 2).entries for _ in range(3)] == [2, 1, 0]
    assert memory.namespaces() == {}


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_slice_that_redis_would_be_blocked_by_is_refused(memory: Memory, limit: int) -> None:
    with pytest.raises(ValueError, match="not within 1 and 1000"):
        memory.forget_unused(24, limit)


def test_the_largest_slice_spans_namespaces(client: redis.Redis, memory: Memory) -> None:
    with client.pipeline() as effects:
        for namespace in ("trends", "governance"):
            memory.record(effects, namespace, {str(number): number for number in range(600)})
        effects.execute()
    assert memory.forget_unused(-1, 1000).entries == 1000
    assert sum(memory.namespaces().values()) == client.zcard(Keys.MEMORY_INDEX) == 200


def test_reading_an_entry_that_is_not_there_leaves_no_trace(
    client: redis.Redis, memory: Memory
) -> None:
    memory.get("trends", "nothing")
    assert client.dbsize() == 0


def test_a_full_redis_still_reads_and_forgets(client: redis.Redis, memory: Memory) -> None:
    memory.put("trends", "cats", 1)
    client.config_set("maxmemory", "1")
    try:
        assert memory.get("trends", "cats") == 1
        age_is_zero = memory.forget_unused(-1, 10)
    finally:
        client.config_set("maxmemory", "0")
    assert age_is_zero.entries == 1


def test_entries_are_limited_and_namespaces_counted(memory: Memory) -> None:
    for number in range(30):
        memory.put("trends", str(number), number)
    memory.put("governance", "tool", [1])
    assert len(memory.entries("trends", 7)) == 7
    assert memory.namespaces() == {"governance": 1, "trends": 30}


@pytest.fixture
def run(
    client: redis.Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Run a command of `nova memory`: exit code, and what it printed."""

    def run_(*arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("REDIS_URL", redis_url)
        monkeypatch.setattr(sys, "argv", ["nova", "memory", *arguments])
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        get_settings.cache_clear()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out + printed.err

    return run_


def test_the_commands_for_people(run: Callable[..., tuple[int, str]]) -> None:
    assert run("list") == (0, "Nothing is remembered.\n")
    assert run("set", "trends", "cats", '{"score": 3.2}') == (0, "trends cats: 13 bytes\n")
    code, text = run("list")
    assert (code, "trends" in text) == (0, True)
    code, text = run("list", "trends")
    assert "cats" in text
    assert "1 of 1" in text
    code, text = run("show", "trends", "cats")
    assert '"score": 3.2' in text
    assert run("forget", "trends", "cats") == (0, "trends cats: forgotten\n")
    code, text = run("show", "trends", "cats")
    assert (code, len(text.splitlines())) == (1, 1)
    assert text.startswith("nova: agent memory has no 'cats' in trends")


def test_the_commands_for_programs(run: Callable[..., tuple[int, str]]) -> None:
    stored = json.loads(run("set", "trends", "cats", "[1]", "--json")[1])
    assert (stored["value"], stored["value_bytes"]) == ([1], 3)
    assert json.loads(run("show", "trends", "cats", "--json")[1]) == stored
    assert json.loads(run("list", "trends", "--json")[1]) == {"total": 1, "entries": [stored]}
    assert json.loads(run("list", "--json")[1]) == {"trends": 1}
    assert json.loads(run("forget", "trends", "cats", "--json")[1])["key"] == "cats"


def test_a_value_that_is_no_json_is_one_line(run: Callable[..., tuple[int, str]]) -> None:
    code, text = run("set", "trends", "cats", "tom")
    assert (code, len(text.splitlines())) == (1, 1)
    assert "the value is not JSON" in text
