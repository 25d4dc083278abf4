"""The program `nova-host`: what it keeps, switches and brings back, in a folder that is its `/`.

systemd is not asked here: a test says which units there are, and sees what would be asked of it.
What systemd makes of it is proven on the lab's hosts.
"""

import importlib.util
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nova.operations.commands import LOCK_LOST_EXIT_CODE

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "ansible" / "roles" / "base" / "files" / "nova_host.py"
WORKER = "celery-worker@trends.service"
BEAT = "celery-beat.service"
SOCKET = "nova-api.socket"
API = "nova-api.service"


class Host:
    """The program, with units that a test gives and a note of what it asked systemd."""

    def __init__(self, program: ModuleType, root: Path) -> None:
        self.program: Any = program
        self.root = root
        self.units: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []

    def systemctl(self, *arguments: str) -> str:
        """Stands for systemd: notes what is asked, and knows no property of any unit."""
        self.asked.append(" ".join(arguments))
        return ""

    def run(self, name: str, *arguments: Any, check: bool = False) -> list[str]:
        """Run one of the commands that change the host; return the lines it prints."""
        return list(getattr(self.program, name)(*arguments, check))

    def install(self, release: str, unit_text: str = "[Service]\n") -> None:
        """Install a release as `install_release.sh` leaves it."""
        folder = self.root / "opt/nova/releases" / release
        (folder / "systemd").mkdir(parents=True)
        (folder / "commands").mkdir()
        (folder / "systemd" / BEAT).write_text(unit_text)
        (folder / "commands/nova").write_text(f"#!/bin/sh\necho {release}\n")
        (folder / "commands/nova").chmod(0o755)
        (folder / "nova-release").write_text(release)

    def runs(self, name: str, state: str = "active", stale: bool = False) -> None:
        """Let a unit be enabled and in a state."""
        self.units[name] = {"state": state, "enabled": True, "stale": stale}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    for folder in ("etc/nova/workers", "etc/systemd/system", "usr/local/bin", "opt/nova/releases"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("NOVA_HOST_ROOT", str(tmp_path))
    spec = importlib.util.spec_from_file_location("nova_host", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    found = Host(program, tmp_path)
    monkeypatch.setattr(program, "systemctl", found.systemctl)
    monkeypatch.setattr(program, "units", lambda: found.units)
    return found


# --- Units


def test_a_unit_is_enabled_by_its_link_though_it_was_never_loaded(host: Host) -> None:
    """Instances of a template are in no list of systemctl's until they run."""
    wants = host.root / "etc/systemd/system/nova.target.wants"
    wants.mkdir()
    for name in (WORKER, BEAT, "redis-server.service"):
        (wants.parent / name).touch()
        (wants / name).symlink_to(f"../{name}")
    assert host.program.enabled_units() == {WORKER, BEAT}


# --- Releases


def test_a_switch_brings_units_commands_and_link(host: Host) -> None:
    host.install("1.0-a")
    assert host.run("switch", "1.0-a")[-1] == "switched to 1.0-a"
    assert (host.root / "opt/nova/current/nova-release").read_text() == "1.0-a"
    assert (host.root / "etc/systemd/system" / BEAT).read_text() == "[Service]\n"
    assert (host.root / "usr/local/bin/celery").stat().st_mode & 0o111
    assert host.asked == ["daemon-reload"]


def test_a_second_switch_changes_nothing(host: Host) -> None:
    host.install("1.0-a")
    host.run("switch", "1.0-a")
    host.asked.clear()
    assert host.run("switch", "1.0-a") == []
    assert host.asked == []


def test_a_switch_that_is_only_checked_says_the_same_and_changes_nothing(host: Host) -> None:
    host.install("1.0-a")
    said = host.run("switch", "1.0-a", check=True)
    assert not (host.root / "opt/nova/current").exists()
    assert said == host.run("switch", "1.0-a")


def test_an_installation_that_was_interrupted_is_refused(host: Host) -> None:
    host.install("1.0-a")
    (host.root / "opt/nova/releases/1.0-a/nova-release").unlink()
    with pytest.raises(host.program.HostError, match="is not installed"):
        host.run("switch", "1.0-a")


# --- One run at a time


def test_a_run_whose_lock_was_taken_over_changes_nothing_where_the_other_has_been(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand, without a token, everything is allowed."""
    host.install("1.0")
    host.install("2.0")

    def switch(token: str, release: str) -> int:
        monkeypatch.setenv("NOVA_LOCK_TOKEN", token)
        monkeypatch.setattr("sys.argv", ["nova-host", "switch", release])
        return int(host.program.main())

    assert switch("7", "1.0") == 0
    assert switch("8", "1.0") == 0
    assert switch("7", "2.0") == host.program.LOCK_LOST_EXIT_CODE == LOCK_LOST_EXIT_CODE
    assert "token 8" in capsys.readouterr().err
    assert host.program.current_release() == "1.0"
    assert host.program.last_token() == 8
    assert switch("", "2.0") == 0


def test_two_runs_do_not_change_a_host_at_once(host: Host) -> None:
    """The second waits until the first is through, and is judged then."""
    (host.root / "opt/nova").mkdir(parents=True, exist_ok=True)
    entered = threading.Event()

    def come(token: int) -> None:
        with host.program.one_at_a_time(token):
            entered.set()

    with host.program.one_at_a_time(7):
        second = threading.Thread(target=come, args=(8,))
        second.start()
        assert not entered.wait(0.2)
    second.join(10)
    assert entered.is_set()
    assert host.program.last_token() == 8


# --- The way back


def test_back_brings_everything_that_was_saved(host: Host) -> None:
    """Release, unit files, settings, commands; what the roll has added is gone."""
    host.install("1.0-a")
    host.install("2.0-b", "[Service]\n# new\n")
    host.run("switch", "1.0-a")
    settings = host.root / "etc/nova/nova.env"
    settings.write_text("old")
    host.runs(BEAT)
    host.run("save")
    host.run("switch", "2.0-b")
    settings.write_text("new")
    (host.root / "etc/nova/workers/added.env").write_text("new")
    host.runs(WORKER)

    assert host.run("back")[-1] == "went back to 1.0-a"
    assert (host.root / "opt/nova/current/nova-release").read_text() == "1.0-a"
    assert (host.root / "etc/systemd/system" / BEAT).read_text() == "[Service]\n"
    assert settings.read_text() == "old"
    assert not (host.root / "etc/nova/workers/added.env").exists()
    assert host.asked.index(f"stop {WORKER}") < host.asked.index(f"start --no-block {BEAT}")


def test_back_brings_the_units_that_the_target_wants(host: Host) -> None:
    """At once: what fails half-way leaves a host without its settings until it is tried again."""
    host.install("1.0-a")
    host.install("2.0-b")
    host.run("switch", "1.0-a")
    wants = host.root / "etc/systemd/system/nova.target.wants"
    wants.mkdir()
    (wants / BEAT).symlink_to(f"../{BEAT}")
    host.run("save")
    host.run("switch", "2.0-b")
    (wants / WORKER).symlink_to("../celery-worker@.service")
    assert host.run("back")[-1] == "went back to 1.0-a"
    assert [path.name for path in wants.iterdir()] == [BEAT]


def test_what_an_unfinished_roll_saved_is_kept(host: Host) -> None:
    """A second attempt goes back to what ran before the first, not to what that left."""
    host.install("1.0-a")
    host.install("2.0-b")
    host.run("switch", "1.0-a")
    assert host.run("save") == ["saved 1.0-a"]
    host.run("switch", "2.0-b")
    assert host.run("save") == []
    assert host.run("back")[-1] == "went back to 1.0-a"


def test_what_was_settled_is_not_gone_back_from(host: Host) -> None:
    host.install("1.0-a")
    host.run("switch", "1.0-a")
    host.run("save")
    assert host.run("settle") == ["settled"]
    assert host.run("settle") == []
    assert host.run("back") == []


def test_a_host_that_had_nothing_keeps_its_files_and_runs_nothing(host: Host) -> None:
    host.run("save")
    host.install("1.0-a")
    host.run("switch", "1.0-a")
    host.runs(WORKER)
    assert host.run("back") == ["stopped what had not run before"]
    assert host.asked[-2:] == [f"stop {WORKER}", f"disable --quiet {WORKER}"]
    assert (host.root / "opt/nova/current/nova-release").exists()


def test_only_root_can_read_what_was_saved(host: Host) -> None:
    """Credentials are in it."""
    host.run("save")
    for path in ("opt/nova/before", "opt/nova/before/files.tar"):
        assert (host.root / path).stat().st_mode & 0o077 == 0


# --- Restarts


def test_only_what_is_out_of_date_is_restarted(host: Host) -> None:
    host.runs(WORKER, stale=True)
    host.runs("celery-worker@analysis.service")
    host.runs(BEAT, stale=True)
    assert host.run("refresh") == [f"restarted {BEAT}", f"restarted {WORKER}"]
    # A worker is stopped, which waits for its tasks, and then started.
    assert f"stop {WORKER}" in host.asked
    assert host.asked.index(f"stop {WORKER}") < host.asked.index(f"start --no-block {WORKER}")
    assert f"restart --no-block {BEAT}" in host.asked


def test_what_was_stopped_on_purpose_stays_so(host: Host) -> None:
    host.runs(WORKER, state="inactive", stale=True)
    assert host.run("refresh") == []
    assert list(host.program.refresh(False, everything=True)) == []


def test_drained_workers_come_back_also_after_an_interruption(host: Host) -> None:
    """What drain stopped is remembered until it is started."""
    host.runs(WORKER)
    assert host.run("drain") == [f"drained {WORKER}"]
    host.runs(WORKER, state="inactive")
    assert host.run("drain") == []
    assert host.run("refresh") == [f"restarted {WORKER}"]
    assert host.run("refresh") == []


def test_the_api_stops_while_its_socket_is_changed(host: Host) -> None:
    """systemd changes no socket under a running service."""
    host.runs(SOCKET, stale=True)
    host.runs(API)
    host.run("refresh")
    order = [host.asked.index(step) for step in (f"stop {API}", f"restart {SOCKET}")]
    assert order == sorted(order)
    assert host.asked[-1] == f"restart --no-block {API}"


def test_a_socket_stays_open_from_one_release_to_the_next(host: Host) -> None:
    """What listens is not of a release; what runs is. Closed, it would refuse connections."""
    host.install("1.0-a")
    host.install("1.0-b")
    host.run("switch", "1.0-a")
    for name in (SOCKET, API):
        host.program.record(name)
    host.run("switch", "1.0-b")
    assert [name for name in (SOCKET, API) if host.program.is_stale(name)] == [API]


def test_a_restart_of_everything_leaves_the_socket_open(host: Host) -> None:
    host.runs(SOCKET)
    host.runs(API)
    assert list(host.program.refresh(check=False, everything=True)) == [f"restarted {API}"]
    assert [asked for asked in host.asked if SOCKET in asked] == []


def test_a_unit_starts_with_the_files_that_it_names(host: Host) -> None:
    """Settings and credentials count; `%i` is the instance."""
    text = (ROOT / "deployment/systemd/celery-worker@.service").read_text()
    assert host.program.named_files(text, WORKER) == [
        "/etc/nova/nova.env",
        "/etc/nova/workers/trends.env",
        "/etc/nova/credentials/nova_redis_password",
        "/etc/nova/credentials/nova_redis_sentinel_password",
    ]
