"""What is known of releases, on a real Redis."""

import json
from collections.abc import Callable

import pytest
import redis

import nova as nova_package
from nova.errors import ConflictError, InputError, NotFoundError
from nova.operations import release_commands
from nova.operations.audit import read_audit
from nova.operations.releases import (
    ReleaseState,
    check_release,
    find_release,
    list_releases,
    mark_release,
    previous_release,
)
from nova.settings import Settings
from tests.conftest import Invoke
from tests.integration.runtime.stopping import Fleet

Mark = Callable[[str, ReleaseState], None]


@pytest.fixture
def mark(client: redis.Redis, settings: Settings) -> Mark:
    def judge(release: str, state: ReleaseState) -> None:
        mark_release(client, settings, release, state, by="ann", reason=f"is {state}")

    return judge


def test_a_voided_release_comes_back_only_when_somebody_lets_it(
    client: redis.Redis, mark: Mark
) -> None:
    mark("2", "good")
    mark("2", "voided")
    for refused in (lambda: check_release(client, "2"), lambda: mark("2", "good")):
        with pytest.raises(ConflictError, match=r"voided by ann at .*: is voided; .* unvoid 2"):
            refused()
    mark("2", "unknown")
    assert check_release(client, "2").state == "unknown"
    mark("2", "good")
    assert check_release(client, "2").state == "good"


def test_the_first_reason_of_a_void_stays(client: redis.Redis, settings: Settings) -> None:
    """A run that is repeated voids again, and knows less."""
    for reason in ("the gate: no answer", "interrupted"):
        mark_release(client, settings, "2", "voided", by="ann", reason=reason)
    assert find_release(client, "2").reason == "the gate: no answer"
    assert len(read_audit(client, 10)) == 1


def test_a_rollback_goes_to_the_last_good_release_but_this_one(
    client: redis.Redis, mark: Mark
) -> None:
    with pytest.raises(NotFoundError, match="no good release besides 3"):
        previous_release(client, "3")
    for release in ("1", "2", "3"):
        mark(release, "good")
    assert previous_release(client, "3").id == "2"
    assert previous_release(client, "of no judgement").id == "3"
    mark("2", "voided")
    assert previous_release(client, "3").id == "1"
    mark("1", "good")  # it was deployed again
    mark("3", "voided")
    with pytest.raises(NotFoundError):
        previous_release(client, "1")


def test_every_judgement_stands_in_the_audit(client: redis.Redis, mark: Mark) -> None:
    states: tuple[ReleaseState, ...] = ("good", "voided", "unknown", "unknown")
    for state in states:
        mark("2", state)
    assert [(entry.action, entry.to, entry.by) for entry in read_audit(client, 10)] == [
        ("unvoid the release", "2", "ann"),
        ("void the release", "2", "ann"),
        ("call the release good", "2", "ann"),
    ]


def test_what_is_no_release_is_refused(client: redis.Redis, settings: Settings) -> None:
    with pytest.raises(InputError, match="is no release"):
        mark_release(client, settings, "../2", "good", by="ann")


def test_what_workers_run_is_listed_too(
    fleet: Fleet, make_settings: Callable[..., Settings]
) -> None:
    fleet.start("worker")
    settings = make_settings(REDIS_URL=fleet.url)
    with redis.Redis.from_url(fleet.url) as client:
        mark_release(client, settings, "9.9.9", "good", by="ann")
        found = {release.id: release for release in list_releases(client)}
    assert (found["9.9.9"].state, found["9.9.9"].workers) == ("good", 0)
    running = found[nova_package.__release__]
    assert (running.state, running.workers) == ("unknown", 1)


def test_the_commands(client: redis.Redis, command_line: Callable[..., Invoke]) -> None:
    """What playbooks rely on."""
    nova = command_line(release_commands)
    for release in ("1", "2"):
        nova("release", "good", release, "--by", "ann")
    assert nova("release", "previous", "--before", "2") == "1\n"
    answer = json.loads(nova("release", "previous", "--before", "2", "--json"))
    assert answer.keys() == {"id", "state", "since", "by", "reason"}
    nova("release", "void", "2", "--reason", "loses titles", "--by", "ann")
    with pytest.raises(ConflictError, match="loses titles"):
        nova("release", "check", "2")
    assert json.loads(nova("release", "check", "1", "--json"))["state"] == "good"
    listed = json.loads(nova("release", "list", "--json"))
    assert [(one["id"], one["state"], one["workers"]) for one in listed] == [
        ("2", "voided", 0),
        ("1", "good", 0),
    ]
    assert "loses titles" in nova("release", "list")
    assert nova("release", "unvoid", "2", "--by", "ann") == "2: unknown\n"
