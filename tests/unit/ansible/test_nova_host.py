"""The program `nova-host`: what it keeps, switches and brings back, in a folder that is its `/`.

systemd is not asked here: a test says which units there are, and sees what would be asked of it.
What systemd makes of it is proven on the lab's hosts.
"""

import importlib.util
import json
import subprocess
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from nova.operations.commands import LOCK_LOST_EXIT_CODE

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "ansible" / "roles"
PROGRAM = ROLES / "base" / "files" / "nova_host.py"
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
    assert host.program.enabled_units(host.program.UNIT_PATTERNS) == {WORKER, BEAT}


def test_debians_units_are_shown_and_never_touched(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no units that a roll restarts, or that `back` stops."""
    program = host.program
    assert not set(program.DEBIAN_UNITS) & set(program.UNIT_PATTERNS)
    wants = host.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "redis-server.service").symlink_to("/lib/systemd/system/redis-server.service")
    monkeypatch.setattr(program, "systemctl", lambda *_: f"haproxy.service loaded active {WORKER}")
    assert program.listed(program.DEBIAN_UNITS) == {
        "redis-server.service": {"state": "inactive", "enabled": True, "stale": False},
        "haproxy.service": {"state": "active", "enabled": False, "stale": False},
    }


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


def test_a_release_that_is_left_while_it_runs_is_marked(host: Host) -> None:
    """`install_release.sh` then removes others first."""
    host.install("1.0-a")
    host.install("1.0-b")
    host.runs(WORKER)
    host.run("switch", "1.0-a")
    host.run("save", check=True)
    assert marked(host) == []
    host.run("save")
    host.run("switch", "1.0-b")
    host.run("save")  # the roll goes on after an interruption
    assert marked(host) == ["1.0-a"]


def test_a_release_of_which_nothing_runs_is_not_marked(host: Host) -> None:
    """It failed on a new host, which had nothing to go back to."""
    host.install("1.0-a")
    host.run("switch", "1.0-a")
    host.runs(WORKER, state="inactive")
    host.run("save")
    assert marked(host) == []


def marked(host: Host) -> list[str]:
    """The releases that are said to have run well."""
    return [path.parent.name for path in host.root.glob("opt/nova/releases/*/ran-well")]


def test_a_host_that_had_nothing_keeps_its_files_and_runs_nothing(host: Host) -> None:
    host.run("save")
    host.install("1.0-a")
    host.run("switch", "1.0-a")
    host.runs(WORKER)
    assert host.run("back") == ["stopped what had not run before"]
    assert host.asked[-2:] == [f"stop {WORKER}", f"disable --quiet {WORKER}"]
    assert (host.root / "opt/nova/current/nova-release").exists()


def test_no_copy_of_the_credentials_stays_when_the_roll_has_ended(host: Host) -> None:
    host.run("save")
    host.run("settle", check=True)
    assert (host.root / "opt/nova/before/files.tar").exists()
    host.run("settle")
    assert not (host.root / "opt/nova/before/files.tar").exists()


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


def test_a_host_on_which_nothing_ran_before_is_back_when_nothing_runs(host: Host) -> None:
    """Not when all that is enabled does what it should: that was stopped on purpose."""
    host.runs(BEAT, stale=True)
    host.program.await_units([], seconds=0)
    with pytest.raises(host.program.HostError, match=BEAT):
        host.program.await_units(None, seconds=0)


def test_drained_workers_come_back_also_after_an_interruption(host: Host) -> None:
    """What drain stopped is remembered until it is started."""
    host.runs(WORKER)
    assert host.run("drain") == [f"drained {WORKER}"]
    host.runs(WORKER, state="inactive")
    assert host.run("drain") == []
    assert host.run("refresh") == [f"restarted {WORKER}"]
    assert host.run("refresh") == []


def test_a_drained_worker_that_is_stopped_for_good_does_not_come_back(host: Host) -> None:
    """Its settings go: it would serve every queue. Interrupted, it is enabled yet, and found."""
    other = "celery-worker@analysis.service"
    host.runs(WORKER)
    host.runs(other)
    host.run("drain")
    host.runs(WORKER, state="inactive")
    host.runs(other, state="inactive")
    assert host.run("stop", [WORKER], check=True) == [f"stopped {WORKER}"]
    assert host.program.drained() == [other, WORKER]
    assert host.run("stop", [WORKER]) == [f"stopped {WORKER}"]
    assert host.asked[-2:] == [f"stop {WORKER}", f"disable --quiet {WORKER}"]
    assert host.run("refresh") == [f"restarted {other}"]
    del host.units[WORKER]
    assert host.run("stop", [WORKER]) == []


def test_the_last_drained_worker_that_is_stopped_for_good_leaves_nothing_to_start(
    host: Host,
) -> None:
    host.runs(WORKER)
    host.run("drain")
    host.run("stop", [WORKER])
    assert host.program.drained() == []
    assert host.run("refresh") == []


def test_a_drained_worker_that_had_not_run_before_stays_stopped_when_a_host_goes_back(
    host: Host,
) -> None:
    """A roll has added it, and the next one has drained it: its settings are not brought back."""
    host.install("1.0-a")
    host.run("switch", "1.0-a")
    host.runs(BEAT)
    host.run("save")
    host.runs(WORKER)
    host.run("drain")
    host.runs(WORKER, state="inactive")
    host.asked.clear()
    assert host.run("back")[-1] == "went back to 1.0-a"
    assert host.program.drained() == []
    assert [asked for asked in host.asked if WORKER in asked] == []


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


# --- The survey


def test_what_an_unfinished_roll_found_is_told_until_it_is_settled(host: Host) -> None:
    host.install("1.0-a")
    host.install("2.0-b")
    host.run("switch", "1.0-a")
    assert host.program.saved_release() == ""
    host.run("save")
    host.run("switch", "2.0-b")
    assert host.program.saved_release() == "1.0-a"
    host.run("settle")
    assert host.program.saved_release() == ""


CHRONY = """\
Reference ID    : CB00710F (203.0.113.15)
Stratum         : 3
System time     : 0.000006523 seconds {0} of NTP time
Last offset     : -0.000006747 seconds
Leap status     : {1}
"""
TIMESYNC = """\
       Server: 203.0.113.15 (ntp.example)
    Root distance: 1.2ms (max: 5s)
       Offset: {0}
        Delay: 2.3ms
"""


@pytest.mark.parametrize(
    ("program", "answer", "ahead"),
    [
        ("chronyc", CHRONY.format("fast", "Normal"), 0.000006523),
        ("chronyc", CHRONY.format("slow", "Normal"), -0.000006523),
        ("chronyc", CHRONY.format("slow", "Not synchronised"), None),
        ("chronyc", "506 Cannot talk to daemon\n", None),
        ("timedatectl", TIMESYNC.format("-563us"), 0.000563),
        ("timedatectl", TIMESYNC.format("+1min 2.5s"), -62.5),
        ("timedatectl", "Packet count: 0\n", None),
    ],
)
def test_the_clock_is_off_by_what_its_time_daemon_says(
    host: Host, monkeypatch: pytest.MonkeyPatch, program: str, answer: str, ahead: float | None
) -> None:
    """Ahead is more than nothing, however the daemon puts it."""
    monkeypatch.setattr(
        host.program, "said_by", lambda *command: answer if command[0] == program else ""
    )
    found = host.program.clock_daemon_offset()
    assert found == (None if ahead is None else pytest.approx(ahead))


def test_folders_that_somebody_removed_are_missed(host: Host) -> None:
    """Or that a run did not come to make. A host without the list of them misses none."""
    assert host.program.missing_folders() == []
    folders = host.root / "etc/tmpfiles.d/nova.conf"
    folders.parent.mkdir()
    folders.write_text((ROLES / "base/files/etc/tmpfiles.d/nova.conf").read_text())
    assert "/etc/nova" not in host.program.missing_folders()
    assert "/etc/nova/credentials" in host.program.missing_folders()


def test_the_survey_tells_where_redis_is_and_no_secret(host: Host) -> None:
    assert host.program.redis_settings() == {}
    settings = host.root / "etc/nova/nova.env"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("NOVA_REDIS_TLS='True'\nREDIS_URL='redis://a:6379/0'\nOTHER='x'\n")
    found = {"NOVA_REDIS_TLS": "True", "REDIS_URL": "redis://a:6379/0"}
    assert host.program.redis_settings() == found


def test_the_survey_sees_each_part_of_a_firewall(host: Host) -> None:
    """Of those that the role takes away: what it does not see would stay."""
    tasks = yaml.safe_load((ROLES / "firewall/tasks/absent.yml").read_text())
    [paths] = [task["loop"] for task in tasks if "loop" in task]
    assert {f"/{path}" for path in host.program.FIREWALL_PATHS} == set(paths)
    assert not host.program.has_firewall()
    for path in paths:
        part = host.root / path.lstrip("/")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        assert host.program.has_firewall(), path
        part.unlink()


def test_a_program_that_is_not_there_says_nothing(host: Host) -> None:
    assert host.program.said_by("no-such-program") == ""


# --- Logs


@pytest.fixture
def journal(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What journalctl finds, to be filled; no other program is run."""
    entries: list[dict[str, Any]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[0] == "journalctl"
        return subprocess.CompletedProcess(command, 0, "\n".join(map(json.dumps, entries)), "")

    monkeypatch.setattr(host.program.subprocess, "run", run)
    return entries


def entry(microseconds: int, message: object, **more: str) -> dict[str, Any]:
    """What journalctl says of a message, so long after 2026-03-01 12:00 UTC."""
    stamp = str(1_772_366_400_000_000 + microseconds)
    known = {"_SYSTEMD_UNIT": WORKER, "SYSLOG_IDENTIFIER": "nova"}
    return known | {"__REALTIME_TIMESTAMP": stamp, "MESSAGE": message} | more


def test_each_line_of_the_journal_has_its_precise_time_in_utc(
    host: Host, journal: list[dict[str, Any]]
) -> None:
    """Lines of one message stay in their order; what systemd says of a unit is the unit's."""
    journal += [
        entry(1, "z first\na second"),
        entry(1, list(b"\x1b[1mwith colour")),
        entry(2, None),
        entry(3, "Failed", _SYSTEMD_UNIT="init.scope", UNIT=WORKER, SYSLOG_IDENTIFIER="systemd"),
    ]
    found = host.program.log_lines("celery-worker@trends", 20)
    assert found[0] == {
        "time": "2026-03-01T12:00:00.000001Z",
        "unit": WORKER,
        "program": "nova",
        "text": "z first",
    }
    assert [line["text"] for line in found] == [
        *("z first", "a second", "\x1b[1mwith colour", "Failed")
    ]
    assert (found[-1]["unit"], found[-1]["program"]) == (WORKER, "systemd")
    assert host.program.log_lines("celery-worker@trends", 1) == found[-1:]


def test_a_journal_that_cannot_be_read_says_why(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "Failed to add match: bad unit\n")
    monkeypatch.setattr(host.program.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(host.program.HostError, match="journalctl: Failed to add match: bad unit"):
        host.program.log_lines("bad unit", 20)


def test_what_redis_writes_to_its_file_is_among_the_lines(
    host: Host, journal: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times are those of the host's zone; a report without times stays where it was."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    journal.append(entry(500_000, "Started", SYSLOG_IDENTIFIER="systemd"))
    log = host.root / "var/log/redis/redis-server.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        "cut off\n"
        "812:M 01 Mar 2026 13:00:00.400 * Ready\n"
        "812:M 01 Mar 2026 13:00:00.600 # Crashed\n"
        "=== REPORT ===\n"
    )
    try:
        found = host.program.log_lines("redis-server", 20)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [(line["time"][-10:], line["text"]) for line in found] == [
        ("00.400000Z", "* Ready"),
        ("00.500000Z", "Started"),
        ("00.600000Z", "# Crashed"),
        ("00.600000Z", "=== REPORT ==="),
    ]
    assert {line["program"] for line in found} == {"redis-server", "systemd"}


def test_redis_writes_where_the_role_lets_it(host: Host) -> None:
    role = (ROOT / "ansible/roles/redis/vars/main.yml").read_text()
    for path in host.program.REDIS_LOGS.values():
        assert f"/{path.relative_to(host.root)}" in role


def test_without_a_name_the_logs_are_those_of_units_that_should_be_up(
    host: Host, journal: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.runs(WORKER, state="failed")
    host.runs(BEAT)
    down = {"state": "failed", "enabled": True, "stale": False}
    monkeypatch.setattr(host.program, "listed", lambda _: {"haproxy.service": down})
    found = host.program.logs([], 20)
    assert host.program.log_text(found).splitlines() == [
        *(f"{WORKER}:", "no line", "haproxy.service:", "no line")
    ]
