"""Rolls that are disturbed: the controller dies, hosts are cut off, freeze, or have a full disk.

Whatever happens, nothing is lost, and the fleet ends on one release: the new one, or what it ran.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from scripts.lab.outages import cut_link
from scripts.lab.plays import Begun, Played

Playbook = Callable[..., Any]
Releases = Callable[..., Path]
Running = Callable[[], set[str]]
UnderLoad = Callable[[], Any]
Begin = Callable[[], tuple[Begun, Path]]


@pytest.fixture
def begin(
    base_release: str,
    start: Callable[..., Begun],
    reached: Callable[[str], Host],
    releases: Releases,
) -> Begin:
    """Begin a deploy, and wait until it has come to the second host; return it and its release."""

    def begin_roll() -> tuple[Begun, Path]:
        new = releases()
        roll = start("deploy", "-e", f"release={new}")
        reached("nova2")
        return roll, new

    return begin_roll


def test_a_roll_whose_controller_died_goes_on_when_asked(
    base_release: str,
    begin: Begin,
    playbook: Playbook,
    running: Running,
    under_load: UnderLoad,
) -> None:
    """kill -9 in the middle of the second host: the lock stays, and only --take-over goes on."""
    with under_load():
        roll, new = begin()
        roll.signal(signal.SIGKILL)
        assert len(running()) > 1
        refused = playbook("deploy", "-e", f"release={new}")
        assert refused.code != 0
        assert "nothing was changed" in refused.words
        done = playbook("deploy", "-e", f"release={new}", "-e", "take_over=true")
        assert done.code == 0
    [release] = running()
    assert release != base_release
    assert playbook("rollback", "-e", f"release={base_release}").code == 0
    assert running() == {base_release}


def test_a_roll_whose_controller_died_goes_back_when_asked(
    base_release: str,
    begin: Begin,
    playbook: Playbook,
    running: Running,
    under_load: UnderLoad,
) -> None:
    """Ctrl-C this time; rollback without a name finds what ran before the roll."""
    with under_load():
        roll, _new = begin()
        roll.signal(signal.SIGINT)
        roll.wait(seconds=60)
        done = playbook("rollback", "-e", "take_over=true")
        assert done.code == 0
    assert running() == {base_release}


def test_a_roll_that_died_before_a_host_was_touched_is_nothing_to_go_back_from(
    base_release: str,
    start: Callable[..., Begun],
    playbook: Playbook,
    releases: Releases,
    running: Running,
    tmp_path: Path,
    wait_until: Callable[..., None],
    lock: Callable[[], dict[str, Any] | None],
) -> None:
    """kill -9 while an operator's hook runs: the release before would be one too far.

    Nothing is due then, and the lock of the roll that died is freed all the same.
    """
    hook, reached = tmp_path / "before-host", tmp_path / "reached"
    hook.write_text(f"#!/bin/sh\ntouch {reached}\nsleep 60\n")
    hook.chmod(0o755)
    roll = start("deploy", "-e", f"release={releases()}", "-e", f"rollout_hooks={tmp_path}")
    wait_until(reached.exists, "the hook runs", seconds=300)
    roll.signal(signal.SIGKILL)
    refused = playbook("rollback", "-e", "take_over=true")
    assert refused.code != 0
    assert "no host was left in the middle of a roll" in refused.words
    assert running() == {base_release}
    assert lock() is not None
    back = ("-e", f"release={base_release}", "-e", "take_over=true")
    assert playbook("rollback", *back).code == 0
    assert lock() is None


def test_a_restart_after_a_roll_that_was_interrupted_leaves_the_way_back(
    base_release: str,
    begin: Begin,
    playbook: Playbook,
    running: Running,
    under_load: UnderLoad,
) -> None:
    """Each host goes on with what it has; rollback without a name still finds what ran before."""
    with under_load():
        roll, _new = begin()
        roll.signal(signal.SIGKILL)
        assert playbook("rolling-restart", "-e", "take_over=true").code == 0
        assert len(running()) > 1
        assert playbook("rollback").code == 0
    assert running() == {base_release}


def test_a_roll_that_was_frozen_and_overtaken_changes_nothing_any_more(
    base_release: str,
    begin: Begin,
    playbook: Playbook,
    running: Running,
    under_load: UnderLoad,
    audit: Callable[[], dict[str, Any]],
) -> None:
    """SIGSTOP to the controller in the middle of the second host; it wakes when all is over."""
    with under_load():
        roll, _new = begin()
        roll.signal(signal.SIGSTOP)
        back = ("-e", f"release={base_release}", "-e", "take_over=true")
        assert playbook("rollback", *back).code == 0
        roll.signal(signal.SIGCONT)
        ended = roll.wait(seconds=600)
    assert ended.code != 0
    assert "another run has taken the lock" in ended.words
    assert running() == {base_release}
    assert audit()["result"] == "interrupted"


Disturbances = dict[str, Callable[[Host], object]]
Disturbed = Callable[..., Played]


@pytest.fixture
def disturbed(
    start: Callable[..., Begun],
    reached: Callable[[str], Host],
    releases: Releases,
    under_load: UnderLoad,
) -> Disturbed:
    """Deploy under load, and disturb it when it comes to hosts; return what came of it."""

    def deploy(disturbances: Disturbances, **load: Any) -> Played:
        with under_load(**load):
            roll = start("deploy", "-e", f"release={releases()}")
            for name, disturb in disturbances.items():
                disturb(reached(name))
            return roll.wait(seconds=1200)

    return deploy


@pytest.fixture
def check_arrived(
    base_release: str, running: Running, playbook: Playbook
) -> Callable[[Played], None]:
    """Check that a deploy has brought every host to the other release, and take it back."""

    def check(ended: Played) -> None:
        assert ended.code == 0
        [release] = running()
        assert release != base_release
        assert playbook("rollback", "-e", f"release={base_release}").code == 0

    return check


def cut_off(seconds: int) -> Callable[[Host], object]:
    """Take a host's link down for a while."""
    return lambda host: cut_link(host, seconds)


def test_a_host_that_is_cut_off_goes_back_when_it_returns(
    base_release: str,
    disturbed: Disturbed,
    running: Running,
    audit: Callable[[], dict[str, Any]],
) -> None:
    """The link of the second host is down for longer than a roll waits for an answer."""
    ended = disturbed({"nova2": cut_off(200)})
    assert ended.code != 0
    assert "nova2 is back" in ended.words
    assert running() == {base_release}
    assert audit()["result"] == "rolled-back"


def test_a_host_that_crashes_goes_back_when_it_is_up_again(
    base_release: str,
    disturbed: Disturbed,
    running: Running,
    audit: Callable[[], dict[str, Any]],
) -> None:
    """All processes of the second host are killed while it is drained, and it boots anew."""
    crash = "systemd-run --collect sh -c 'sleep 1; kill -KILL -1; systemctl reboot --force'"
    ended = disturbed({"nova2": lambda host: host.check_output(crash)})
    assert ended.code != 0
    assert "nova2 is back" in ended.words
    assert running() == {base_release}
    assert audit()["result"] == "rolled-back"


def test_a_short_cut_is_no_reason_to_go_back(
    disturbed: Disturbed,
    check_arrived: Callable[[Played], None],
) -> None:
    """Ten seconds without a link: connections live on, and so does the roll."""
    check_arrived(disturbed({"nova2": cut_off(10)}))


def test_a_redis_that_is_killed_meanwhile_ends_no_roll(
    disturbed: Disturbed,
    check_arrived: Callable[[Played], None],
    fleet: Any,
) -> None:
    """kill -9, again with each host; systemd brings it back. Until then the API says: not now."""

    def kill(_host: Host) -> None:
        fleet.one("redis").check_output("systemctl kill -s KILL redis-server")

    kills = dict.fromkeys(("nova1", "nova2", "nova3"), kill)
    check_arrived(disturbed(kills, allowed=frozenset({"200", "503"})))


def test_a_worker_that_freezes_meanwhile_loses_nothing(
    disturbed: Disturbed,
    check_arrived: Callable[[Played], None],
) -> None:
    """SIGSTOP to a worker that is about to be drained: the watchdog ends it, the roll goes on."""
    freeze = "systemctl kill --kill-who=main -s STOP celery-worker@maintenance"
    check_arrived(disturbed({"nova2": lambda host: host.check_output(freeze)}))


def test_a_full_disk_refuses_the_release_before_anything_is_switched(
    base_release: str,
    playbook: Playbook,
    releases: Releases,
    running: Running,
    fleet: Any,
) -> None:
    """With room for what is there and 8 MB more. Nothing half-installed is left."""
    host = fleet.hosts("nova")["nova2"]
    host.check_output(
        "set -e; used=$(du -sk /opt/nova/releases | cut -f1); mkdir -p /mnt/small;"
        " mount -t tmpfs -o size=$((used + 8192))k tmpfs /mnt/small;"
        " cp -a /opt/nova/releases/. /mnt/small; mount --bind /mnt/small /opt/nova/releases"
    )
    try:
        done = playbook("deploy", "-e", f"release={releases()}")
        left = host.check_output("ls -A /opt/nova/releases").split()
    finally:
        host.check_output("umount -l /opt/nova/releases /mnt/small")
    assert done.code != 0
    assert "before anything was switched" in done.words
    assert "No space left on device" in done.words
    assert running() == {base_release}
    assert [name for name in left if not host.file(f"/opt/nova/releases/{name}").exists] == []
