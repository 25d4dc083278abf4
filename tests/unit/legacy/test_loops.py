"""What a loop does when Redis goes away as it takes a slot."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery

from nova.legacy import loops
from nova.legacy.loops import Loops
from nova.legacy.runs import Planned
from nova.runtime.leader import Leader
from nova.runtime.slots import Mark
from nova.settings import Settings
from nova.store import Keys

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
SLOT = datetime(2026, 3, 28, 2, tzinfo=UTC)
MARK = Mark(SLOT, "cron 0 2 * * *")
PLANNED = Planned("nightly", "nova.governance.run_governance_task", SLOT, reports_only=False)


@pytest.fixture
def leading(client: Client, make_settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loops]:
    """Loops that lead; they do not wait between two tries."""
    monkeypatch.setattr(loops, "LOOK_SECONDS", 0)
    settings: Settings = make_settings(NOVA_SCHEDULER="legacy")
    found = Loops(settings, Celery())
    assert found._leader.look().leads
    yield found
    found._client.close()


def fail_once(monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Let the next take get no answer: it was done, or it was not."""
    real, failures = Leader.take, [redis.TimeoutError("no answer")]

    def take(*args: Any, **kwargs: Any) -> Any:
        if failures and not after:
            raise failures.pop()
        answer = real(*args, **kwargs)
        if failures:
            raise failures.pop()
        return answer

    monkeypatch.setattr(Leader, "take", take)


@pytest.mark.parametrize("after", [True, False], ids=["done", "not done"])
def test_a_take_without_an_answer_is_tried_again_and_the_slot_runs_once(
    client: Client, leading: Loops, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    fail_once(monkeypatch, after=after)
    assert leading._take(PLANNED, "", MARK, 0)
    assert client.hget(Keys.BEAT_SLOTS, "nightly").decode() == str(MARK)
    # A loop that looked before the mark moved does not run it again.
    assert not leading._take(PLANNED, "", MARK, 0)


def test_a_slot_of_another_is_not_run_after_a_take_without_an_answer(
    client: Client, leading: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another leads by the time Redis answers, and has the slot."""
    leading._leader.resign(client)
    other = Leader(client, 600, mode="legacy")
    other.look()
    note = PLANNED.note(other.value)
    other.take("nightly", "", MARK, PLANNED.id, note, expires_seconds=60)
    fail_once(monkeypatch, after=False)
    assert not leading._take(PLANNED, "", MARK, 0)
    assert leading._running == {}


def test_a_stopping_process_does_not_insist(
    leading: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, after=False)
    leading._is_stopping = True
    with pytest.raises(redis.TimeoutError):
        leading._take(PLANNED, "", MARK, 0)
    assert leading._running == {}
