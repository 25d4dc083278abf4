#!/usr/bin/python3
"""What playbooks ask of a host, and do on it, in one step each; installed as `nova-host`.

    nova-host survey           all that the roles want to know of the host, as JSON
    nova-host record UNIT      note what UNIT starts with; the unit itself calls this at its start
    nova-host drain            stop the workers, which finish what they run, and remember which
    nova-host stop UNIT...     stop units for good: neither a boot nor `refresh` starts them again
    nova-host switch RELEASE   make an installed release the current one, with its units
    nova-host refresh          restart what runs something else than what is installed
    nova-host save             keep what is installed, until `settle`, to be able to go back to it
    nova-host back             go back to what was saved
    nova-host settle           the host stays as it is: what was saved is only for looking at
    nova-host await [UNIT...]  wait until units run what is installed; all that are enabled
    nova-host logs [UNIT...]   the last lines of units' logs; of those that should be up and are not

`drain`, `stop`, `switch`, `refresh`, `save`, `back` and `settle` print a line for each thing they
changed, and nothing when there was nothing to change; with --check they only say what they would
do. Each may be interrupted, and run again. Playbooks put the token of the fleet's lock into
NOVA_LOCK_TOKEN: a run whose lock was taken over is refused, with exit code 3, where the other run
has been. Only the standard library is used: a host has nothing else when it is surveyed for the
first time.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("NOVA_HOST_ROOT", "/"))  # another one in tests
CURRENT = ROOT / "opt/nova/current"
RELEASES = ROOT / "opt/nova/releases"
SAVED = ROOT / "opt/nova/before"
CONFIGURATION = ROOT / "etc/nova"
UNIT_FILES = ROOT / "etc/systemd/system"
PROGRAMS = ROOT / "usr/local/bin"
#: The highest token of the fleet's lock that a playbook has come with.
LOCK_TOKEN = ROOT / "opt/nova/lock-token"
#: Held by whoever changes the host.
BUSY = ROOT / "run/lock/nova-host"
#: Of a run whose lock another has taken: what `nova fleet renew` ends with, too.
LOCK_LOST_EXIT_CODE = 3
#: In the folder of a release that ran when a roll began; install_release.sh looks for it.
RAN_WELL = "ran-well"
#: What each running unit was started with, and the workers that `drain` stopped; until a reboot.
RECORDS = ROOT / "run/nova/units"
DRAINED = ROOT / "run/nova/drained"

UNIT_PATTERNS = (
    "celery-worker@*.service",
    "celery-beat.service",
    "nova-api.socket",
    "nova-api.service",
    "flower.service",
)
#: Debian's own units that a fleet needs. Here they are only looked at.
DEBIAN_UNITS = ("redis-server.service", "redis-sentinel.service", "haproxy.service")
#: Where Redis writes, by unit: not to the journal. The role redis sets it.
REDIS_LOGS = {
    "redis-server": ROOT / "var/log/redis/redis-server.log",
    "redis-sentinel": ROOT / "var/log/redis/redis-sentinel.log",
}
#: How Redis begins what it writes: process and role, then the time of its host.
REDIS_LINE = re.compile(r"\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) (.*)")
#: How time daemons say by how much the clock is off, and systemd's units in seconds.
CHRONY_OFFSET = re.compile(r"^System time +: ([\d.]+) seconds (slow|fast) of NTP time$", re.M)
TIMESYNC_OFFSET = re.compile(r"^ *Offset: ([+-])(.+)$", re.M)
TIMESYNC_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
#: Nova's folders, as systemd-tmpfiles reads it.
FOLDERS = ROOT / "etc/tmpfiles.d/nova.conf"
#: Files outside of /etc/nova that roles write, for the survey.
OTHER_FILES = (
    "etc/logrotate.d/nova",
    "etc/needrestart/conf.d/nova.conf",
    "etc/tmpfiles.d/nova.conf",
    "etc/systemd/system/nova*.d/*.conf",
    "usr/local/sbin/nova-host",
    "opt/nova/packages/Packages",
    "opt/nova/packages/complete",
)
#: What a firewall of Nova's consists of.
FIREWALL_PATHS = (
    "etc/nova-firewall",
    "etc/systemd/system/nova-firewall.service",
    "usr/local/sbin/nova-firewall",
)
#: Of the host's settings, those that say where Redis is and how it talks.
REDIS_SETTING = re.compile(r"^(REDIS_URL|NOVA_REDIS_TLS)='([^']*)'$", re.M)
#: Files and folders in /etc/systemd/system that belong to Nova, links in *.wants included.
OWN_UNIT_NAME = re.compile(r"^(celery-worker@|celery-beat\.|nova\.target|nova-api\.|flower\.)")


class HostError(Exception):
    """Something that a person must mend; the message is one line."""


class LockLostError(HostError):
    """Another run has taken the fleet's lock, and has been here since."""


# --- One run at a time


@contextlib.contextmanager
def one_at_a_time(token: int) -> Iterator[None]:
    """Hold the host for one change by the run with this token of the fleet's lock; 0 is no run.

    The lock itself is looked at between batches: too late for a run that was frozen within one.
    Source: fencing tokens, Kleppmann, "How to do distributed locking", 2016.

    Raises:
        LockLostError: a run with a higher token has been here.
    """
    BUSY.parent.mkdir(parents=True, exist_ok=True)
    with BUSY.open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        last = last_token()
        if 0 < token < last:
            raise LockLostError(
                f"the run with token {last} of the fleet's lock has been here, this one has token "
                f"{token}: its lock was taken over, and nothing was changed"
            )
        if token > last:
            new = LOCK_TOKEN.with_name(".lock-token.new")
            new.write_text(f"{token}\n")
            new.replace(LOCK_TOKEN)
        yield


def last_token() -> int:
    """Return the highest token of the fleet's lock that has been here; 0 if none is known."""
    text = content_of(LOCK_TOKEN).strip()  # empty, perhaps, after a power cut
    return int(text) if text.isdigit() else 0


# --- Units


def systemctl(*arguments: str) -> str:
    """Run systemctl and return what it prints.

    Raises:
        HostError: it failed.
    """
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0 and done.stderr:  # a list that has nothing in it fails without a word
        raise HostError(f"systemctl {arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def units() -> dict[str, dict[str, Any]]:
    """Return Nova's units by name: state, whether enabled, whether what runs is out of date."""
    found = listed(UNIT_PATTERNS)
    for name, unit in found.items():
        unit["stale"] = is_up(unit) and is_stale(name)
    return found


def listed(patterns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return units by name: state, and whether enabled; nothing is said to be out of date."""
    found: dict[str, dict[str, Any]] = {
        name: {"state": "inactive", "enabled": True, "stale": False}
        for name in enabled_units(patterns)
    }
    listing = systemctl("list-units", "--all", "--plain", "--no-legend", *patterns)
    for line in listing.splitlines():
        name, loaded, state, *_ = line.split()
        unit = found.setdefault(name, {"enabled": False, "stale": False})
        unit["state"] = state
        if loaded == "not-found" and not is_up(unit) and not unit["enabled"]:
            del found[name]  # another unit only mentions it
    return found


def enabled_units(patterns: Iterable[str]) -> set[str]:
    """Return the names of the units that start at boot.

    systemctl has no list of them: it knows a template's instances only while they are loaded.
    """
    links = (link for pattern in patterns for link in UNIT_FILES.glob(f"*.wants/{pattern}"))
    return {link.name for link in links}


def is_up(unit: dict[str, Any]) -> bool:
    """Say whether a unit runs, or systemd is at it."""
    return unit["state"] in ("active", "activating", "reloading")


def is_worker(name: str) -> bool:
    """Say whether a unit is a worker."""
    return name.startswith("celery-worker@")


def is_socket(name: str) -> bool:
    """Say whether a unit is a socket, which systemd itself holds open."""
    return name.endswith(".socket")


def is_stale(name: str) -> bool:
    """Say whether a running unit was started with something else than what is installed now."""
    if systemctl("show", "--property=NeedDaemonReload", "--value", name).strip() == "yes":
        return True
    record = RECORDS / name
    return not record.exists() or record.read_text() != fingerprint(name)


def fingerprint(name: str) -> str:
    """Return a digest of all that a unit starts with.

    That is the release, the unit's file and drop-ins, and the files of settings and credentials
    which these name. A socket has nothing of the release: it stays open from one to the next.
    """
    properties = ("--property=FragmentPath", "--property=DropInPaths", "--value")
    texts = [Path(path).read_bytes() for path in systemctl("show", *properties, name).split()]
    named = [path for text in texts for path in named_files(text.decode(), name)]
    release = "" if is_socket(name) else os.path.realpath(CURRENT)
    digest = hashlib.sha256(os.fsencode(release))
    for content in (*texts, *(content_of(ROOT / path.lstrip("/")) for path in named)):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def named_files(unit_text: str, name: str) -> list[str]:
    """Return the files of settings and credentials that the text of a unit names."""
    instance = name.partition("@")[2].rpartition(".")[0]
    lines = re.findall(r"^(?:EnvironmentFile=-?|LoadCredential=[^:\n]*:)(.+)$", unit_text, re.M)
    return [line.replace("%i", instance) for line in lines]


def content_of(path: Path) -> bytes:
    """Return what a file has in it; nothing when it is not there, which units allow."""
    return path.read_bytes() if path.exists() else b""


def record(name: str) -> None:
    """Note what a unit that is just being started starts with."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    (RECORDS / name).write_text(fingerprint(name))


def drain(check: bool) -> Iterator[str]:
    """Stop the workers, all at once; each finishes what it runs, as long as its queues allow."""
    running = [name for name, unit in units().items() if is_worker(name) and is_up(unit)]
    if running:
        if not check:
            remember_drained(running)
            systemctl("stop", *running)
        yield f"drained {' '.join(running)}"


def remember_drained(names: Iterable[str]) -> None:
    """Note that these units are stopped only for now."""
    DRAINED.parent.mkdir(parents=True, exist_ok=True)
    DRAINED.write_text("\n".join(sorted({*drained(), *names})))


def drained() -> list[str]:
    """Return the units that were stopped only for now."""
    return DRAINED.read_text().split() if DRAINED.exists() else []


def forget_drained(names: Iterable[str]) -> None:
    """Note that these units, if `drain` has stopped them, are not to be started again."""
    left = {*drained()} - {*names}
    if left:
        DRAINED.write_text("\n".join(sorted(left)))
    else:
        DRAINED.unlink(missing_ok=True)


def stop(names: list[str], check: bool) -> Iterator[str]:
    """Stop and disable these units, those too that an interrupted run has drained.

    They are disabled last: the next run finds by that what an interruption has left.
    """
    found = units()
    due = [
        name for name in names if name in found and (is_up(found[name]) or found[name]["enabled"])
    ]
    if due and not check:
        forget_drained(due)
        systemctl("stop", *due)
        systemctl("disable", "--quiet", *due)
    for name in due:
        yield f"stopped {name}"


def refresh(check: bool, everything: bool = False) -> Iterator[str]:
    """Restart what runs and is out of date, or with `everything` all that runs.

    A socket is no process: it is left open unless it is out of date itself, for a connection would
    be refused meanwhile. What was stopped on purpose stays so; what `drain` has stopped is started.
    Workers stop first, all at once, and this waits for them; nothing is waited for that starts: see
    `nova gate`.
    """
    if not check:
        systemctl("daemon-reload")
    found = units()
    due = [
        name
        for name, unit in found.items()
        if is_up(unit) and (unit["stale"] or (everything and not is_socket(name)))
    ]
    workers = [name for name in due if is_worker(name)]
    if "nova-api.socket" in due:  # systemd changes no socket under a running service
        due += [name for name in ("nova-api.service",) if name in found and is_up(found[name])]
    if workers and not check:
        remember_drained(workers)
        systemctl("stop", *workers)
    others = sorted({*due} - {*workers})
    if others and not check:
        if "nova-api.socket" in others:
            systemctl("stop", "nova-api.service")
            systemctl("restart", "nova-api.socket")
        processes = [name for name in others if not is_socket(name)]
        if processes:
            systemctl("restart", "--no-block", *processes)
    started = drained() if not check else workers
    if started and not check:
        systemctl("start", "--no-block", *started)
        DRAINED.unlink()
    for name in sorted({*others, *started}):
        yield f"restarted {name}"


def await_units(names: list[str] | None, seconds: float) -> None:
    """Wait until these units, or all that are enabled, run what is installed.

    Raises:
        HostError: one does not within `seconds`; the message tells of each.
    """
    deadline = time.monotonic() + seconds
    while waiting := not_up(names):
        if time.monotonic() > deadline:
            raise HostError(f"not up within {seconds:g} s: {'; '.join(waiting)}")
        time.sleep(1)


def not_up(names: list[str] | None) -> list[str]:
    """Return what keeps the host from being up, a line for each unit that does."""
    found = units()
    enabled = [name for name, unit in found.items() if unit["enabled"]]
    wanted = enabled if names is None else names
    lines = []
    for name in wanted:
        if name not in found or found[name]["state"] != "active":
            lines.append(f"{name} {state_of(name)}")
        elif found[name]["stale"]:
            lines.append(f"{name} runs what was installed before")
    return lines


def is_broken(unit: dict[str, Any]) -> bool:
    """Say whether a unit should be up and is not."""
    return bool(unit["enabled"] and (unit["state"] != "active" or unit["stale"]))


def state_of(name: str) -> str:
    """Return in a few words what systemd says of a unit."""
    properties = ("ActiveState", "SubState", "Result", "StatusText")
    options = [f"--property={name}" for name in properties]
    lines = dict(line.split("=", 1) for line in systemctl("show", *options, name).splitlines())
    result = "" if lines.get("Result") in ("", "success", None) else f", {lines['Result']}"
    status = f", {lines['StatusText']}" if lines.get("StatusText") else ""
    return f"is {lines['ActiveState']} ({lines['SubState']}{result}{status})"


# --- Logs


def logs(names: list[str], lines: int) -> dict[str, list[dict[str, str]]]:
    """Return the last lines of units by name; without names of those that should be up and are not.

    Raises:
        HostError: the journal cannot be read.
    """
    if not names:
        found = units() | listed(DEBIAN_UNITS)
        names = [name for name, unit in found.items() if is_broken(unit)]
    return {name: log_lines(name, lines) for name in names}


def log_lines(name: str, lines: int) -> list[dict[str, str]]:
    """Return the last lines that a unit wrote, or systemd about it: time, unit, program, text."""
    found = journal_lines(name, lines) + redis_lines(name, lines)
    # What has one time keeps its order, such as a traceback: the journal takes it in at once.
    return sorted(found, key=lambda line: line["time"])[-lines:]


def journal_lines(name: str, lines: int) -> list[dict[str, str]]:
    """Return what the journal has of a unit: its last entries, line by line.

    Raises:
        HostError: the journal cannot be read.
    """
    # All of a long entry too, which would else come without its text.
    command = ["journalctl", "--quiet", "--all", "--output=json", f"--lines={lines}"]
    command.append(f"--unit={name}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and done.stderr:
        raise HostError(f"journalctl: {done.stderr.strip().splitlines()[-1]}")
    found = []
    for entry in map(json.loads, done.stdout.splitlines()):
        since_epoch = timedelta(microseconds=int(entry["__REALTIME_TIMESTAMP"]))
        line = {
            "time": in_utc(datetime.fromtimestamp(0, UTC) + since_epoch),
            # What systemd says of a unit is an entry of its own unit.
            "unit": entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or name,
            "program": entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM") or "",
        }
        found += [line | {"text": text} for text in message_of(entry).splitlines()]
    return found


def message_of(entry: dict[str, Any]) -> str:
    """Return the text of an entry of the journal, which gives bytes where it has colours."""
    message = entry.get("MESSAGE") or ""
    return bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)


def redis_lines(name: str, lines: int) -> list[dict[str, str]]:
    """Return the last lines that Redis or Sentinel wrote to its file; none for other units."""
    unit = name.removesuffix(".service")
    if unit not in REDIS_LOGS:
        return []
    found = []
    written = ""
    for line in content_of(REDIS_LOGS[unit]).decode(errors="replace").splitlines():
        begun = REDIS_LINE.match(line)
        # What has no time belongs to the line before it, such as the report of a crash.
        written, text = begun.groups() if begun else (written, line)
        if written:
            found.append((written, text))
    return [
        {
            "time": in_utc(datetime.strptime(written, "%d %b %Y %H:%M:%S.%f")),
            "unit": f"{unit}.service",
            "program": unit,
            "text": text,
        }
        for written, text in found[-lines:]
    ]


def in_utc(moment: datetime) -> str:
    """Return a moment in a form that sorts; one without a zone is in the host's own."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def log_text(found: dict[str, list[dict[str, str]]]) -> str:
    """Return the lines of units for people, each unit under its name."""
    parts = []
    for name, lines in found.items():
        parts.append(f"{name}:")
        parts += [f"{line['time']} {line['program']}: {line['text']}" for line in lines]
        parts += ["no line"] if not lines else []
    return "\n".join(parts)


# --- The release


def current_release() -> str:
    """Return the id of the release that is switched on; empty if there is none."""
    return Path(os.path.realpath(CURRENT)).name if CURRENT.exists() else ""


def complete_releases() -> list[str]:
    """Return the releases whose installation was finished, the newest first."""
    found = RELEASES.glob("*/nova-release") if RELEASES.is_dir() else []
    markers = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    return [marker.parent.name for marker in markers]


def switch(release: str, check: bool) -> Iterator[str]:
    """Make a release the current one, and its units and commands those of the host.

    Raises:
        HostError: it is not installed.
    """
    folder = RELEASES / release
    if not (folder / "nova-release").is_file():
        raise HostError(f"{release} is not installed at {RELEASES}; stage it first")
    changed = False
    for source, target in own_files(folder):
        if content_of(target) == source.read_bytes():
            continue
        if not check:
            put(source, target)
        changed = True
        yield f"copied {target}"
    if current_release() != release:
        if not check:
            point_to(release)
        changed = True
        yield f"switched to {release}"
    if changed and not check:
        systemctl("daemon-reload")


def point_to(release: str) -> None:
    """Make a release the current one; there is never a moment without one."""
    link = CURRENT.with_name(".current")
    link.unlink(missing_ok=True)
    link.symlink_to(f"releases/{release}")
    link.replace(CURRENT)


def own_files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield what a release brings for the host, and where it belongs."""
    for source in sorted((folder / "systemd").iterdir()):
        yield source, UNIT_FILES / source.name
    for name in ("nova", "celery"):
        yield folder / "commands/nova", PROGRAMS / name


def put(source: Path, target: Path) -> None:
    """Copy a file so that the old one or the new one is there at every moment."""
    new = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, new)
    new.chmod(stat.S_IMODE(source.stat().st_mode))
    new.replace(target)


# --- The way back


def save(check: bool) -> Iterator[str]:
    """Keep what is installed. What an unfinished roll has saved is kept: it is the last good.

    The release that is left is marked, if it runs: others are removed before it.
    """
    if (SAVED / "pending").exists():
        return
    if not check:
        new = SAVED.with_name(".before.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700, parents=True)
        (new / "files.tar").touch(mode=0o600)  # credentials are in it
        with tarfile.open(new / "files.tar", "w") as package:
            for path in own_paths():
                package.add(path, arcname=str(path.relative_to(ROOT)))
        release = current_release()
        running = [name for name, unit in units().items() if is_up(unit)]
        state = {"release": release, "running": sorted({*running, *drained()})}
        (new / "state.json").write_text(json.dumps(state))
        (new / "pending").touch()
        if release and running:
            (RELEASES / release / RAN_WELL).touch()
        shutil.rmtree(SAVED, ignore_errors=True)
        new.replace(SAVED)
        os.sync()
    yield f"saved {current_release() or 'a host without a release'}"


def own_paths() -> list[Path]:
    """Return all of Nova that is installed beside the releases: settings, units, commands."""
    found = [CONFIGURATION, PROGRAMS / "nova", PROGRAMS / "celery"]
    for pattern in ("*", "*.wants/*"):
        found += [path for path in UNIT_FILES.glob(pattern) if OWN_UNIT_NAME.match(path.name)]
    # A folder, such as nova.target.wants, stands for all that is in it.
    found = [path for path in found if path.parent not in found]
    return sorted(path for path in found if path.exists() or path.is_symlink())


def back(check: bool) -> Iterator[str]:
    """Bring back what an unfinished roll has saved: files, units, release, and what ran.

    A host that had no release before keeps the files, to look at; nothing runs there any more.
    """
    if not (SAVED / "pending").exists():
        return
    state = saved_state()
    found = units()
    surplus = [n for n, u in found.items() if is_up(u) and n not in state["running"]]
    if not check:
        forget_drained({*drained()} - {*state["running"]})
    if surplus and not check:
        systemctl("stop", *surplus)
    if not state["release"]:
        enabled = [name for name, unit in found.items() if unit["enabled"]]
        if enabled and not check:
            systemctl("disable", "--quiet", *enabled)
        yield "stopped what had not run before"
        return
    if not check:
        bring_back(state["release"])
        yield from refresh(check)
        systemctl("start", "--no-block", *state["running"])
    yield f"went back to {state['release']}"


def saved_state() -> dict[str, Any]:
    """Return which release was saved, and which units ran."""
    state: dict[str, Any] = json.loads((SAVED / "state.json").read_text())
    return state


def saved_release() -> str:
    """Return the release that an unfinished roll has found here; empty if there is none."""
    return str(saved_state()["release"]) if (SAVED / "pending").exists() else ""


def bring_back(release: str) -> None:
    """Replace all of Nova's files by those saved, and switch the release."""
    for path in own_paths():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    with tarfile.open(SAVED / "files.tar") as package:
        package.extraction_filter = lambda member, _: member  # root's own; links leave the folder
        package.extractall(ROOT)  # noqa: S202  # made by `save`, for root alone
    point_to(release)
    systemctl("daemon-reload")


def settle(check: bool) -> Iterator[str]:
    """Take what is installed as good. The files that were saved go: credentials are among them."""
    pending = SAVED / "pending"
    if pending.exists():
        if not check:
            pending.unlink()
        yield "settled"
    if not check:
        (SAVED / "files.tar").unlink(missing_ok=True)


# --- The survey


def survey() -> dict[str, Any]:
    """Return what the roles want to know: see the README of the role base."""
    system = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', (ROOT / "etc/os-release").read_text(), re.M))
    disk = {path: free_megabytes(ROOT / path.lstrip("/")) for path in ("/opt", "/var")}
    return {
        "hostname": platform.node(),
        "time": time.time(),
        "system": system.get("ID", ""),
        "system_version": system.get("VERSION_ID", ""),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "free_megabytes": disk,
        "clock_synchronized": clock_synchronized(),
        "clock_daemon_offset": clock_daemon_offset(),
        "packages": installed_packages(),
        "user": has_user("nova"),
        "missing_folders": missing_folders(),
        "package_lists": any((ROOT / "var/lib/apt/lists").glob("*_Packages*")),
        "files": {f"/{path.relative_to(ROOT)}": describe(path) for path in surveyed_files()},
        "workers": sorted(path.stem for path in (CONFIGURATION / "workers").glob("*.env")),
        "units": units(),
        "debian_units": listed(DEBIAN_UNITS),
        "target": unit_is_enabled("nova.target"),
        "release": current_release(),
        "releases": complete_releases(),
        "pending": (SAVED / "pending").exists(),
        "saved": saved_release(),
        "drained": drained(),
        "lock_token": last_token(),
        "redis_settings": redis_settings(),
        "firewall": has_firewall(),
    }


def redis_settings() -> dict[str, str]:
    """Return the settings by which Nova's processes reach Redis; no secret is among them."""
    try:
        text = (CONFIGURATION / "nova.env").read_text()
    except FileNotFoundError:
        return {}
    return dict(REDIS_SETTING.findall(text))


def has_firewall() -> bool:
    """Return whether anything of a firewall of Nova's is there, as after an interrupted removal."""
    return any((ROOT / path).exists() for path in FIREWALL_PATHS)


def free_megabytes(path: Path) -> int:
    """Return the free space of the file system that a path is on."""
    return shutil.disk_usage(path).free // 1_000_000


def clock_synchronized() -> bool | None:
    """Return whether the clock is synchronised; None where nobody can tell."""
    answer = said_by("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(answer.strip())


def clock_daemon_offset() -> float | None:
    """Return by how many seconds the clock is ahead, as chrony or systemd-timesyncd measured last.

    None where neither says.
    """
    answer = said_by("chronyc", "-n", "tracking")
    if (found := CHRONY_OFFSET.search(answer)) and "Not synchronised" not in answer:
        return float(found[1]) * (1 if found[2] == "fast" else -1)
    if found := TIMESYNC_OFFSET.search(said_by("timedatectl", "timesync-status")):
        parts = re.findall(r"([\d.]+)([a-z]+)", found[2])  # such as 1min 2.5s
        seconds = sum(float(number) * TIMESYNC_UNITS[unit] for number, unit in parts)
        return seconds * (1 if found[1] == "-" else -1)  # + is what the clock lacks
    return None


def said_by(*command: str) -> str:
    """Return what a program says; nothing where it is not there, or hangs."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def installed_packages() -> list[str]:
    """Return the names of the Debian packages that are installed."""
    command = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted({line.split()[0] for line in lines if line.endswith(" installed")})


def has_user(name: str) -> bool:
    """Return whether the host has a user."""
    return any(user.pw_name == name for user in pwd.getpwall())


def missing_folders() -> list[str]:
    """Return which of Nova's folders are not there, though the list of them is."""
    lines = content_of(FOLDERS).decode().splitlines()
    paths = [line.split()[1] for line in lines if line.startswith("d ")]
    return [path for path in paths if not (ROOT / path.lstrip("/")).is_dir()]


def surveyed_files() -> list[Path]:
    """Return the files that roles write."""
    found = [path for path in CONFIGURATION.rglob("*") if path.is_file()]
    return found + [path for pattern in OTHER_FILES for path in ROOT.glob(pattern)]


def describe(path: Path) -> dict[str, str]:
    """Return digest, mode and owner of a file."""
    status = path.stat()
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": pwd.getpwuid(status.st_uid).pw_name,
    }


def unit_is_enabled(name: str) -> bool:
    """Return whether a unit is there and starts at boot."""
    command = ["systemctl", "is-enabled", "--quiet", name]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# --- The command line


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="nova-host", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("survey")
    commands.add_parser("record").add_argument("unit")
    waiting = commands.add_parser("await")
    waiting.add_argument("unit", nargs="*")
    waiting.add_argument(
        "--saved", action="store_true", help="those that ran when `save` was called"
    )
    waiting.add_argument("--seconds", type=float, default=120)
    shown = commands.add_parser("logs")
    shown.add_argument("unit", nargs="*")
    shown.add_argument("--lines", type=int, default=20)
    shown.add_argument("--json", action="store_true", help="for programs: a list of lines")
    for name in ("drain", "stop", "switch", "refresh", "save", "back", "settle"):
        command = commands.add_parser(name)
        command.add_argument("--check", action="store_true", help="only say what would be done")
        if name == "stop":
            command.add_argument("unit", nargs="+")
        if name == "switch":
            command.add_argument("release")
        if name == "refresh":
            command.add_argument("--all", action="store_true", help="whatever runs, up to date too")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    match options.command:
        case "survey":
            print(json.dumps(survey()))
        case "record":
            record(options.unit)
        case "await":
            names = saved_state()["running"] if options.saved else options.unit or None
            await_units(names, options.seconds)
        case "logs":
            found = logs(options.unit, options.lines)
            every = [line for lines in found.values() for line in lines]
            print(json.dumps(every) if options.json else log_text(found))
        case _:
            with one_at_a_time(int(os.environ.get("NOVA_LOCK_TOKEN") or 0)):
                for line in changes(options):
                    print(line, flush=True)


def changes(options: argparse.Namespace) -> Iterator[str]:
    """Do what changes the host, and yield a line for each change."""
    if options.command == "stop":
        return stop(options.unit, options.check)
    if options.command == "switch":
        return switch(options.release, options.check)
    if options.command == "refresh":
        return refresh(options.check, options.all)
    command = {"drain": drain, "save": save, "back": back, "settle": settle}[options.command]
    return command(options.check)


def main() -> int:
    """Run one command; what a person must mend is one line on standard error."""
    try:
        run(parse())
    except (HostError, OSError) as error:
        print(f"nova-host: {error}", file=sys.stderr)
        return LOCK_LOST_EXIT_CODE if isinstance(error, LockLostError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
