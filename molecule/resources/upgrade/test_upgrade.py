"""A fleet under load goes to another release and back; a release that breaks takes itself back.

Nothing is lost, nothing happens twice, and no request fails, whatever the release does.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lab.load import RequestLoad, TaskLoad, effects
from scripts.lab.variants import BROKEN, EFFECTS_KEY, GOOD

Releases = Callable[..., Path]
Playbook = Callable[..., Any]
Running = Callable[[], set[str]]
UnderLoad = Callable[[int], contextlib.AbstractContextManager[None]]


@pytest.fixture
def under_load(
    fleet: Any,
    api_url: str,
    make_token: Callable[[str], str],
    wait_until: Callable[..., None],
) -> UnderLoad:
    """Publish numbered tasks, from a first number on, and ask the API meanwhile; then count."""

    @contextlib.contextmanager
    def load(first: int) -> Iterator[None]:
        with (
            TaskLoad(fleet.hosts("nova")["nova3"], first) as tasks,
            RequestLoad(api_url, make_token("viewer")) as requests,
        ):
            yield
        confirmed = tasks.confirmed()
        assert len(confirmed) > 50
        wait_until(lambda: set(confirmed) <= set(effects(fleet, EFFECTS_KEY)), "all tasks are done")
        found = effects(fleet, EFFECTS_KEY)
        assert {number: times for number, times in found.items() if times > 1} == {}
        assert requests.answers == Counter({"200": sum(requests.answers.values())})
        assert sum(requests.answers.values()) > 20

    return load


def audit(fleet: Any) -> list[dict[str, Any]]:
    """What was done to the fleet, newest first."""
    return list(fleet.ask_json("nova audit --json"))


def test_a_release_under_load_arrives_on_every_host_and_goes_back(
    base_release: str,
    playbook: Playbook,
    releases: Releases,
    running: Running,
    under_load: UnderLoad,
    fleet: Any,
) -> None:
    """A second deploy changes nothing; a rollback, under load too, brings the one before back."""
    new = releases(GOOD)
    with under_load(100_000):
        done = playbook("deploy", "-e", f"release={new}")
        assert done.returncode == 0, done.stdout[-8000:]
    [release] = running()
    assert release != base_release
    assert (audit(fleet)[0]["action"], audit(fleet)[0]["result"]) == ("deploy", "ok")

    again = playbook("deploy", "-e", f"release={new}")
    assert again.returncode == 0, again.stdout[-8000:]
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}

    with under_load(300_000):
        done = playbook("rollback")
        assert done.returncode == 0, done.stdout[-8000:]
    assert running() == {base_release}


@pytest.mark.parametrize("what", BROKEN)
def test_a_release_that_is_broken_takes_itself_back(
    what: str,
    base_release: str,
    playbook: Playbook,
    releases: Releases,
    running: Running,
    under_load: UnderLoad,
    fleet: Any,
) -> None:
    """Every host runs what it ran; the release is voided; the screen says why; nothing is lost."""
    broken = releases(BROKEN[what])
    with under_load(1_000_000 + 100_000 * list(BROKEN).index(what)):
        done = playbook("deploy", "-e", f"release={broken}")
        assert done.returncode != 0
    assert running() == {base_release}
    for host in fleet.hosts("nova").values():
        host.check_output("nova-host await --seconds 60")
        assert not host.file("/opt/nova/before/pending").exists

    screen = " ".join(done.stdout.split())
    if "broken on purpose" in BROKEN[what].new:
        assert "broken on purpose" in screen
    assert fleet.ask_json("nova fleet show --json")["lock"] is None
    # One that cannot even list its tasks is refused before any host is switched.
    [tried] = set(re.findall(r"deploy (\S+) failed on", screen))
    outcome = "refused" if "before anything was switched" in screen else "rolled-back"
    assert (audit(fleet)[0]["to"], audit(fleet)[0]["result"]) == (tried, outcome)
    again = playbook("deploy", "-e", f"release={broken}")
    assert again.returncode != 0
    if outcome == "rolled-back":
        assert "and was taken back" in screen
        assert "nothing was changed" in " ".join(again.stdout.split())
    assert running() == {base_release}
