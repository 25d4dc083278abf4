"""Playbooks, releases, load, and a fleet to start from."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from scripts.lab.load import Load, RequestLoad, TaskLoad, effects
from scripts.lab.plays import Begun, Played, try_to_play
from scripts.lab.variants import BROKEN, EFFECTS_KEY, Patch, make

Playbook = Callable[..., Played]
Lock = Callable[[], dict[str, Any] | None]
#: Seconds for the gate: hosts of the lab share two cores with all others, and break on purpose.
GATE = ("-e", "rollout_gate_seconds=60")
#: There while a host has been touched by a roll that has not ended.
PENDING = "/opt/nova/before/pending"
#: What the gate says of releases that start, and are broken all the same.
SAID = {
    "starts but is deaf": "direct queue: no answer",
    "says another version": "it runs release 0.0.0-wrong",
}
#: Numbered tasks a second, at most.
TASK_RATE = 10


@pytest.fixture(scope="session")
def playbook() -> Callable[..., Played]:
    """Run a playbook, with a gate that fits the lab."""
    return lambda name, *options: try_to_play(name, *GATE, *options)


@pytest.fixture
def start() -> Iterator[Callable[..., Begun]]:
    """Begin a playbook, to be disturbed; what is left of it ends with the test."""
    with contextlib.ExitStack() as stack:

        def begin(name: str, *options: str) -> Begun:
            begun = Begun(name, *GATE, *options)
            stack.callback(begun.end)
            return begun

        yield begin


@pytest.fixture
def reached(fleet: Any, wait_until: Callable[..., None]) -> Callable[[str], Host]:
    """Wait until a roll has come to a host; return the host."""

    def wait(name: str) -> Host:
        host = fleet.hosts("nova")[name]
        wait_until(lambda: host.file(PENDING).exists, f"the roll has come to {name}", seconds=300)
        return host

    return wait


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a release of this checkout, patched, that is like no other: some get voided."""

    def make_release(*patches: Patch) -> Path:
        unlike = Patch("nova/maintenance/tasks.py", f"\n# Release of {time.time_ns()}.\n")
        return make(tmp_path_factory.mktemp("release") / "nova", [unlike, *patches])

    return make_release


@pytest.fixture(scope="session")
def running(fleet: Any) -> Callable[[], set[str]]:
    """Return the releases that are installed on any host, or run in any of its workers."""

    def ask() -> set[str]:
        installed = {
            host.check_output("basename $(readlink -f /opt/nova/current)")
            for host in fleet.hosts("nova").values()
        }
        return installed | {worker["release"] for worker in fleet.status()["workers"]}

    return ask


@pytest.fixture(scope="session")
def audit(fleet: Any) -> Callable[[], dict[str, Any]]:
    """Return what was done to the fleet last."""
    return lambda: dict(fleet.ask_json("nova audit --json --limit 1")[0])


@pytest.fixture(scope="session")
def lock(fleet: Any) -> Lock:
    """Return who holds the lock of the fleet, None while nobody does."""
    return lambda: fleet.ask_json("nova fleet show --json")["lock"]


@pytest.fixture(scope="session")
def base_sources(releases: Callable[..., Path]) -> Path:
    """The folder of the release that every test starts from: the checkout, and a counting task.

    Its archive does not stay on the controller: the tests build more than are kept.
    """
    return releases()


@pytest.fixture(scope="session")
def base_release(playbook: Playbook, base_sources: Path, running: Callable[[], set[str]]) -> str:
    """Return the id of the release that every test starts from."""
    done = playbook("deploy", "-e", f"release={base_sources}")
    assert done.code == 0
    [release] = running()
    return release


@pytest.fixture(autouse=True)
def _from_the_base_release(
    base_release: str, playbook: Playbook, running: Callable[[], set[str]], lock: Lock, fleet: Any
) -> None:
    """A test that fails in the middle of a roll leaves nothing to the next one, nor its lock."""
    hosts = fleet.hosts("nova").values()
    if (
        running() != {base_release}
        or any(host.file(PENDING).exists for host in hosts)
        or lock() is not None
    ):
        done = playbook("rollback", "-e", f"release={base_release}", "-e", "take_over=true")
        assert done.code == 0


@pytest.fixture
def under_load(
    fleet: Any,
    front_door: Any,
    make_token: Callable[[str], str],
    wait_until: Callable[..., None],
) -> Callable[..., contextlib.AbstractContextManager[Load]]:
    """Publish numbered tasks and ask the API meanwhile; then count: 0 lost, 0 twice, 0 refused.

    A host may be named that publishes, and answers of the API that are allowed.
    """

    @contextlib.contextmanager
    def load(
        publisher: Host | None = None, allowed: frozenset[str] = frozenset({"200"})
    ) -> Iterator[Load]:
        first = int(time.time() * TASK_RATE)  # no number of an earlier load
        publisher = publisher or list(fleet.hosts("workers").values())[-1]
        with (
            TaskLoad(publisher, first) as tasks,
            RequestLoad(front_door.url, make_token("viewer"), front_door.trust) as requests,
        ):
            yield Load(tasks, requests)
        confirmed = set(tasks.confirmed())
        assert len(confirmed) > 50
        wait_until(
            lambda: confirmed <= set(effects(fleet, EFFECTS_KEY)), "all tasks are done", seconds=120
        )
        found = effects(fleet, EFFECTS_KEY)
        assert {number: times for number, times in found.items() if times > 1} == {}
        answers = Counter(requests.answers)
        assert {said: times for said, times in answers.items() if said not in allowed} == {}
        assert answers["200"] > 40

    return load


@pytest.fixture
def check_broken(
    base_release: str,
    playbook: Playbook,
    releases: Callable[..., Path],
    running: Callable[[], set[str]],
    under_load: Callable[..., contextlib.AbstractContextManager[Load]],
    audit: Callable[[], dict[str, Any]],
    fleet: Any,
) -> Callable[..., None]:
    """Deploy a release that is broken in a way, under load, and check that nothing comes of it.

    Every host runs what it ran; the release is voided; the screen says why; nothing is lost.
    """

    def check(what: str, *options: str) -> None:
        broken = releases(BROKEN[what])
        with under_load():
            done = playbook("deploy", "-e", f"release={broken}", *options)
            assert done.code != 0
        assert running() == {base_release}
        for host in fleet.hosts("nova").values():
            host.check_output("nova-host await --seconds 60")
            assert not host.file(PENDING).exists

        assert SAID.get(what, "broken on purpose") in done.words
        if what in SAID:  # the last lines of the workers that it names
            assert "celery-worker@" in done.words.partition(SAID[what])[2]
        assert fleet.ask_json("nova fleet show --json")["lock"] is None
        # One that cannot even list its tasks is refused before any host is switched.
        [tried] = set(re.findall(r"deploy (\S+) failed on", done.words))
        outcome = "refused" if "before anything was switched" in done.words else "rolled-back"
        assert (audit()["to"], audit()["result"]) == (tried, outcome)
        again = playbook("deploy", "-e", f"release={broken}")
        assert again.code != 0
        if outcome == "rolled-back":
            assert "and was taken back" in done.words
            assert "nothing was changed" in again.words
            back = playbook("rollback", "-e", f"release={tried}")
            assert back.code != 0
            assert "was voided" in back.words
        assert running() == {base_release}

    return check
