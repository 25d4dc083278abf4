#!/usr/bin/python3
"""What is asked of haproxy on a frontend; installed as `nova-frontend`.

    nova-frontend drain SERVER [--seconds N]   no new request for it; wait until those that run end;
                                               with --unless-last the last that is up stays
    nova-frontend resume SERVER [--seconds N]  requests for it again; wait until it is healthy
    nova-frontend save                         keep the servers' states for the next process
    nova-frontend fit                          make the kept states fit the configuration
    nova-frontend record [--reload]            note what haproxy is started, or reads again, with
    nova-frontend due                          print `restarted` or `reloaded`, as haproxy must be
                                               to run with what is installed, or nothing
    nova-frontend check-certificate FILE       refuse a file whose certificate and key are no pair

`drain` and `resume` print a line if they changed something; with --if-known a server that the
frontend does not have (yet) is none of their business. Only the standard library is used.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SOCKET = Path(os.environ.get("NOVA_FRONTEND_SOCKET", "/run/haproxy/admin.sock"))  # others in tests
STATES = Path(os.environ.get("NOVA_FRONTEND_STATES", "/var/lib/nova-frontend/servers"))
CONFIGURATION = Path(os.environ.get("NOVA_FRONTEND_CONFIG", "/etc/haproxy/nova/haproxy.cfg"))
#: What haproxy was started and reloaded with last; systemd removes it with the process.
RECORD = Path(os.environ.get("NOVA_FRONTEND_RECORD", "/run/haproxy/nova.json"))
UNIT = Path(os.environ.get("NOVA_FRONTEND_UNIT", "/etc/systemd/system/haproxy.service.d/nova.conf"))
BACKEND = "api"
TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.2
#: Bits of srv_admin_state that an operator sets: maintenance and drain.
FORCED_MAINTENANCE, FORCED_DRAIN = 0x01, 0x08


class FrontendError(Exception):
    """Something that a person must mend; the message is one line."""


def ask(command: str) -> str:
    """Send a command to haproxy and return its answer.

    Raises:
        FrontendError: haproxy cannot be reached.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(str(SOCKET))
            connection.sendall(f"{command}\n".encode())
            with connection.makefile("r", encoding="utf-8") as answer:
                return answer.read()
    except OSError as error:
        raise FrontendError(
            f"haproxy does not answer at {SOCKET}: {error}; look with: journalctl -u haproxy"
        ) from None


def table(command: str, header: str, separator: str | None = None) -> list[dict[str, str]]:
    """Return the rows that a command shows, by the names in the line that begins with `header`."""
    rows: list[dict[str, str]] = []
    names: list[str] = []
    for line in ask(command).splitlines():
        if line.startswith(header):
            names = line.removeprefix("# ").split(separator)
        elif names and line.strip():
            rows.append(dict(zip(names, line.split(separator), strict=False)))
    return rows


def is_known(server: str) -> bool:
    """Whether the configuration has the server."""
    rows = table(f"show servers state {BACKEND}", "# be_id")
    return any(row["srv_name"] == server for row in rows)


def state_of(server: str) -> dict[str, str]:
    """Return what haproxy knows of a server.

    Raises:
        FrontendError: there is no such server.
    """
    servers = table(f"show servers state {BACKEND}", "# be_id")
    for row in servers:
        if row["srv_name"] == server:
            return row
    known = ", ".join(row["srv_name"] for row in servers)
    raise FrontendError(f"the frontend has no server {server}; it has {known or 'none'}")


def figures_of(server: str) -> dict[str, str]:
    """Return the statistics of a server."""
    rows = table(f"show stat {BACKEND} 4 -1", "# pxname", ",")
    return next(row for row in rows if row["svname"] == server)


def set_state(server: str, state: str) -> None:
    """Change the state of a server, and keep it for later processes.

    Raises:
        FrontendError: haproxy refused.
    """
    answer = ask(f"set server {BACKEND}/{server} state {state}").strip()
    if answer:
        raise FrontendError(f"haproxy did not set {server} to {state}: {answer}")
    save()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold other calls up: two hosts of a roll that drain at once must not both see the other."""
    descriptor = os.open(STATES.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_last(server: str) -> bool:
    """Whether no other server takes requests."""
    rows = table(f"show stat {BACKEND} 4 -1", "# pxname", ",")
    return not any(row["svname"] != server and row["status"].startswith("UP") for row in rows)


def drain(server: str, seconds: float, unless_last: bool = False) -> None:
    """Send a server no new request, and wait until it has none.

    With `unless_last` a server stays as it is while no other one takes requests.

    Raises:
        FrontendError: there is no such server, or it still had requests when the time was over.
    """
    with one_at_a_time():
        forced = int(state_of(server)["srv_admin_state"]) & (FORCED_MAINTENANCE | FORCED_DRAIN)
        if not forced and unless_last and is_last(server):
            return
        if not forced:
            set_state(server, "drain")
            print(f"drained {server}")
    deadline = time.monotonic() + seconds
    while (running := int(figures_of(server)["scur"])) > 0:
        if time.monotonic() > deadline:
            raise FrontendError(
                f"{server} is drained, but still has {running} requests after {seconds:g} s; "
                "wait longer with frontend_drain_seconds, or undo it with resume"
            )
        time.sleep(POLL_SECONDS)


def resume(server: str, seconds: float) -> None:
    """Send a server requests again, and wait until it is healthy.

    Raises:
        FrontendError: there is no such server, or it did not become healthy in time.
    """
    if int(state_of(server)["srv_admin_state"]) & (FORCED_MAINTENANCE | FORCED_DRAIN):
        set_state(server, "ready")
        print(f"resumed {server}")
    deadline = time.monotonic() + seconds
    while (status := figures_of(server)["status"]) != "UP":
        if time.monotonic() > deadline:
            raise FrontendError(f"{server} is not healthy after {seconds:g} s: {status}")
        time.sleep(POLL_SECONDS)


def save() -> None:
    """Keep the states of all servers in the file that haproxy reads when it starts."""
    write(fitting(ask("show servers state")))


def fit() -> None:
    """Make the kept states fit the configuration, which may have changed while haproxy was down."""
    if STATES.exists():
        write(fitting(STATES.read_text(encoding="utf-8")))


def fitting(states: str) -> str:
    """Return states with the configuration's ports and TLS, which haproxy would else overrule."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    servers = re.findall(r"^\s+server (\S+) \S+:(\d+)( ssl\b)?", text, re.MULTILINE)
    wanted = {name: (port, "1" if ssl else "0") for name, port, ssl in servers}
    lines = states.splitlines()
    names = next((line[2:].split() for line in lines if line.startswith("# be_id")), [])
    if not {"srv_port", "srv_use_ssl"} <= set(names):
        return states
    name, port, tls = (names.index(field) for field in ("srv_name", "srv_port", "srv_use_ssl"))
    for number, line in enumerate(lines):
        fields = line.split()
        if len(fields) == len(names) and fields[name] in wanted:
            fields[port], fields[tls] = wanted[fields[name]]
            lines[number] = " ".join(fields)
    return "\n".join(lines) + "\n"


def write(text: str) -> None:
    """Replace the file of the states in one step."""
    descriptor, name = tempfile.mkstemp(dir=STATES.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        # Root writes it too, and haproxy reads it as a user of its own.
        owner = STATES.parent.stat()
        if os.geteuid() == 0:
            os.chown(name, owner.st_uid, owner.st_gid)
        Path(name).replace(STATES)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def installed() -> dict[str, str]:
    """Return digests of the unit's drop-in, and of the configuration with the files it names."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    named = [word for word in text.split() if word.startswith(f"{CONFIGURATION.parent}/")]
    digest = hashlib.sha256(text.encode())
    for path in sorted({*named}):
        digest.update(Path(path).read_bytes())
    return {
        "unit": hashlib.sha256(UNIT.read_bytes()).hexdigest(),
        "configuration": digest.hexdigest(),
    }


def record(is_start: bool) -> None:
    """Note what haproxy runs with from now on; a reload leaves the unit as it was started."""
    now = installed()
    if not is_start:
        if not RECORD.exists():  # it was started with another unit
            return
        now["unit"] = json.loads(RECORD.read_text(encoding="utf-8"))["unit"]
    RECORD.write_text(json.dumps(now), encoding="utf-8")


def due() -> str:
    """Return what must be done to haproxy, by systemd_service's names of states."""
    if not RECORD.exists():  # it was started by Debian's unit alone
        return "restarted"
    runs, now = json.loads(RECORD.read_text(encoding="utf-8")), installed()
    if runs["unit"] != now["unit"]:
        return "restarted"
    return "reloaded" if runs != now else ""


def check_certificate(path: str) -> None:
    """Load a file of certificate and key.

    Raises:
        FrontendError: it is not a pair.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password="")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise FrontendError(f"certificate and key are no pair that can be used: {reason}") from None


def main() -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="nova-frontend", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("drain", "resume"):
        command = commands.add_parser(name)
        command.add_argument("server")
        command.add_argument("--seconds", type=float, default=60)
        command.add_argument("--if-known", action="store_true")
    commands.choices["drain"].add_argument("--unless-last", action="store_true")
    commands.add_parser("save")
    commands.add_parser("fit")
    commands.add_parser("record").add_argument("--reload", action="store_true")
    commands.add_parser("due")
    commands.add_parser("check-certificate").add_argument("file")
    options = parser.parse_args()
    try:
        if getattr(options, "if_known", False) and not is_known(options.server):
            return 0
        if options.command == "drain":
            drain(options.server, options.seconds, options.unless_last)
        elif options.command == "resume":
            resume(options.server, options.seconds)
        elif options.command == "save":
            save()
        elif options.command == "fit":
            fit()
        elif options.command == "record":
            record(is_start=not options.reload)
        elif options.command == "due":
            print(due())
        else:
            check_certificate(options.file)
    except (FrontendError, OSError) as error:
        print(f"nova-frontend: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
