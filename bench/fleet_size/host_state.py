"""Prints what a host has of Nova, as JSON. Runs on the host, as root, with its own Python."""

import glob
import json
import os
import pwd
import stat
import subprocess
from typing import Any

FILES = (
    "/etc/apt/apt.conf.d/52nova-redis",
    "/etc/logrotate.d/nova",
    "/etc/needrestart/conf.d/nova-redis.conf",
    "/etc/nova/nova.env",
    "/etc/nova/workers/*",
    "/etc/sysctl.d/60-nova-redis.conf",
    "/etc/systemd/system/celery*.service",
    "/etc/systemd/system/flower.service",
    "/etc/systemd/system/nova*",
    "/etc/systemd/system/*.d/nova.conf",
    "/etc/systemd/system/nova*.d/*.conf",
    "/usr/local/bin/celery",
    "/usr/local/bin/nova",
)
#: Of these only owner and mode: they hold secrets.
SECRETS = ("/etc/nova/credentials/*",)
FOLDERS = (
    "/etc/nova",
    "/etc/nova/credentials",
    "/etc/nova/workers",
    "/opt/nova",
    "/var/lib/nova",
    "/var/log/nova",
)
UNITS = ("celery-*.service", "flower.service", "nova*", "redis-server.service")
PACKAGES = (
    "import importlib.metadata as m; "
    "print('\\n'.join(f\"{d.metadata['Name']}=={d.version}\" for d in m.distributions()))"
)


def output(*command: str) -> str:
    """Return what a command prints, whether or not it succeeds."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def files(patterns: tuple[str, ...]) -> list[str]:
    """Return the files of some patterns."""
    found = {path for pattern in patterns for path in glob.glob(pattern) if os.path.isfile(path)}
    return sorted(found)


def rights(path: str) -> str:
    """Return owner and mode."""
    state = os.stat(path)
    return f"{pwd.getpwuid(state.st_uid).pw_name} {stat.S_IMODE(state.st_mode):04o}"


def text(path: str) -> str:
    """Return the content of a file."""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def units() -> dict[str, str]:
    """Return unit -> its state, and whether it starts at boot."""
    listing = output("systemctl", "list-units", "--all", "--plain", "--no-legend", *UNITS)
    found = {line.split()[0]: line.split()[2] for line in listing.splitlines()}
    return {
        name: f"{state} {output('systemctl', 'is-enabled', name).strip()}"
        for name, state in found.items()
    }


def state() -> dict[str, Any]:
    """Return all of it."""
    user = pwd.getpwnam("nova")
    return {
        "packages": output("/opt/nova/current/bin/python", "-c", PACKAGES).splitlines(),
        "files": {path: {"rights": rights(path), "text": text(path)} for path in files(FILES)},
        "secrets": {path: rights(path) for path in files(SECRETS)},
        "folders": {path: rights(path) for path in FOLDERS},
        "units": units(),
        "user": {"home": user.pw_dir, "shell": user.pw_shell},
    }


if __name__ == "__main__":
    print(json.dumps(state()))
