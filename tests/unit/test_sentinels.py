"""Which sentinel is believed, when they do not say the same, and what one that is away costs."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from nova import sentinels
from nova.sentinels import Sentinel, SentinelClient

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)
State = dict[str, Any]
Group = Callable[..., Sentinel]


def says(address: tuple[str, int], epoch: int, *flags: str) -> State:
    """What a sentinel answers of the primary."""
    return {
        "ip": address[0],
        "port": address[1],
        "config-epoch": epoch,
        "flags": ",".join(("master", *flags)),
        "is_master": True,
        "is_sdown": "s_down" in flags,
        "is_odown": "o_down" in flags,
        "num-other-sentinels": 2,
    }


@pytest.fixture
def asked() -> list[str]:
    """The sentinels that were asked, in their order."""
    return []


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> Group:
    """Sentinels s0, s1, ... that answer so; None does not answer."""
    answers: dict[str, State | None] = {}

    def sentinel_masters(self: SentinelClient) -> dict[str, State]:
        asked.append(str(self))
        answer = answers[str(self)]
        if answer is None:
            raise redis.TimeoutError("no answer")
        return {"nova": answer}

    monkeypatch.setattr(SentinelClient, "sentinel_masters", sentinel_masters)
    monkeypatch.setattr(Sentinel, "_silent_at", {})

    def group(*states: State | None) -> Sentinel:
        answers.update({f"s{number}:1": state for number, state in enumerate(states)})
        return Sentinel([(f"s{number}", 1) for number in range(len(states))])

    return group


@pytest.mark.parametrize(
    "states",
    [
        [says(OLD, 1), says(NEW, 2), says(NEW, 2)],
        # Its first answer after a failover that it led: the old one, until the failover has ended.
        [says(OLD, 2, "s_down", "o_down", "failover_in_progress"), says(OLD, 1), says(NEW, 2)],
        [says(OLD, 2, "failover_in_progress"), says(NEW, 2), says(OLD, 1)],
        [says(NEW, 2, "s_down"), says(OLD, 1), says(NEW, 2)],
        [says(OLD, 1), None, says(NEW, 2)],
        [None, None, says(NEW, 2)],
        [says(NEW, 2)],
    ],
)
def test_the_sentinel_that_knows_the_last_failover_is_believed(
    group: Group, states: list[State | None]
) -> None:
    """One that comes back with the host of the old primary names that one for some seconds."""
    assert group(*states).discover_master("nova") == NEW


def test_an_old_primary_is_nobodys_answer(group: Group) -> None:
    """The new one is down, or not known to be up: there is none for now."""
    with pytest.raises(MasterNotFoundError, match=r"'nova' : s2:1 - .*TimeoutError"):
        group(says(OLD, 1), says(NEW, 2, "s_down"), None).discover_master("nova")


def test_the_greater_part_is_asked(group: Group, asked: list[str]) -> None:
    group(says(NEW, 2), says(NEW, 2), says(NEW, 2)).discover_master("nova")
    assert asked == ["s0:1", "s1:1"]


def test_a_sentinel_that_is_away_is_asked_last_for_a_while(
    group: Group, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By new clients of the process, too: each task makes one, and would wait for its timeout."""
    states = [None, says(NEW, 2), says(NEW, 2)]
    group(*states).discover_master("nova")
    assert asked == ["s0:1", "s1:1", "s2:1"]
    asked.clear()
    group(*states).discover_master("nova")
    assert asked == ["s1:1", "s2:1"]
    asked.clear()
    monkeypatch.setattr(sentinels, "SILENT_SECONDS", 0.0)
    group(*states).discover_master("nova")
    assert asked[0] == "s0:1"
