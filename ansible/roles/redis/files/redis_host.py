"""What the role redis does on a host: look at Redis and Sentinel, and set only what differs.

Runs with the host's own Python and nothing else. The request comes as JSON on standard input, for
it holds passwords; the report goes as JSON to standard output and holds none:
`problem` (text, empty if all is well), `changes` (list of texts), and what was found.
"""

import contextlib
import functools
import hashlib
import ipaddress
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FOLDER = Path("/etc/redis/nova")
DATA = Path("/var/lib/redis")
UNITS = ("redis-server", "redis-sentinel")
#: Seconds.
ANSWER = 5
PEER_ANSWER = 2
OTHER_WAY = 1.5
START = 60
SYNC = 600
FAILOVER = 60
#: A primary counts a replica that is gone for as long as its repl-timeout, 60 s.
GONE = 90
#: Sentinels say that they are there every 2 s.
HELLO = 15
#: Milliseconds for which a primary that hands over takes no writes; the failover ends it earlier.
FAILOVER_PAUSE = 10_000
#: maxmemory when it is `auto`, as a share of what the host has; in steps, so that a new kernel
#: with a little more or less to give away changes nothing.
MEMORY_SHARE = 0.4
MEMORY_STEP = 64 * 2**20

#: The user `default` is nobody: off, without a password. It keeps its rights all the same: Redis
#: replays transactions and scripts of its append-only file as `default`, and drops without a word
#: those that it may not run (seen with 7.0.15; redis/redis issue 14541).
NOBODY = ("off", "resetpass", "allkeys", "allchannels", "+@all")


class ProblemError(Exception):
    """Something that a person has to mend. Its text is one line and holds no secret."""


class RefusedError(Exception):
    """An error that Redis answered."""


class Connection:
    """A connection to a Redis or a sentinel: commands in, answers (text, numbers, lists) out."""

    def __init__(self, address: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> None:
        plain = socket.create_connection((address, port), seconds)
        self.socket = tls.wrap_socket(plain, server_hostname=address) if tls else plain
        self.stream = self.socket.makefile("rb")

    def __call__(self, *words: object) -> Any:
        """Send one command, return its answer."""
        parts = [str(word).encode() for word in words]
        head = b"*%d\r\n" % len(parts)
        self.socket.sendall(head + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self._read()

    def _read(self) -> Any:
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RefusedError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self.stream.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._read() for _ in range(int(rest))]
        return rest

    def table(self, *words: object) -> dict[str, Any]:
        """Send a command that answers names and values in turn."""
        answer = self(*words)
        return dict(zip(answer[::2], answer[1::2], strict=True))

    def tables(self, *words: object) -> list[dict[str, Any]]:
        """Run a command that answers with lists of names and values."""
        return [dict(zip(table[::2], table[1::2], strict=True)) for table in self(*words)]

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = (line.partition(":") for line in self("INFO", section).splitlines())
        return {name: value for name, colon, value in lines if colon}


def poll(question: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, RefusedError):
            answer = question()
            if answer:
                return answer
        if time.monotonic() > deadline:
            raise ProblemError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.25)


def sha256(text: str) -> str:
    """Return a password as Redis stores it."""
    return hashlib.sha256(text.encode()).hexdigest()


def certificates(text: str) -> set[str]:
    """Return the certificates of a file in PEM, each as its text."""
    found = re.findall(r"-----BEGIN CERTIFICATE-----(.+?)-----END", text, re.DOTALL)
    return {"".join(lines.split()) for lines in found}


def run(*command: str, check: bool = True) -> str:
    """Run a program and return what it prints: in English, whatever the host speaks."""
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if check and done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProblemError(f"`{' '.join(command)}` failed: {last}")
    return done.stdout.strip()


def restart(unit: str) -> None:
    """Restart a unit."""
    run("systemctl", "restart", unit)


def is_active(unit: str) -> bool:
    """Return whether a unit runs."""
    return run("systemctl", "is-active", unit, check=False) in ("active", "activating", "reloading")


def active_since(unit: str) -> int:
    """Return when a unit was started last, in whole seconds of Unix time."""
    options = ("--value", "--timestamp=unix", "--property=ActiveEnterTimestamp")
    return int(run("systemctl", "show", *options, unit).lstrip("@") or 0)


def needs_daemon_reload(unit: str) -> bool:
    """Return whether systemd has not read a file of a unit yet."""
    return run("systemctl", "show", "--value", "--property=NeedDaemonReload", unit) == "yes"


# --- The group


def canonical(address: str) -> str:
    """Return an IP address as Redis and Sentinel write it; a name as it is."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def up(tables: list[dict[str, Any]]) -> set[str]:
    """Return the addresses of the servers or sentinels that a sentinel sees and speaks with."""
    return {t["ip"] for t in tables if not re.search("_down|disconnected", t["flags"])}


def keys(server: Connection) -> int:
    """Return how many keys a server has, in all its databases."""
    counts = server.info("keyspace").values()
    return sum(int(count.partition("keys=")[2].partition(",")[0]) for count in counts)


def primary_by(reports: list[dict[str, Any]], first: str) -> str:
    """Return the address of the primary, from what all hosts report; `first` in a new group.

    Sentinels are believed before servers, and of them the one with the newest decision.
    """
    told = [report["sentinel"] for report in reports if report.get("sentinel")]
    if told:
        return str(max(told, key=lambda answer: int(answer["epoch"]))["primary"])
    servers = [report["server"] for report in reports if report.get("server")]
    followed = {server["follows"] for server in servers if server["role"] == "slave"}
    primaries = {server["address"]: server for server in servers if server["role"] == "master"}
    counted = followed or {address for address, server in primaries.items() if server["keys"]}
    if len(counted) > 1:
        raise ProblemError(
            f"several Redis servers have data of their own and no sentinel says which of them "
            f"counts: {', '.join(sorted(counted))}; empty those that do not, with FLUSHALL"
        )
    return counted.pop() if counted else first


class Host:
    """This host: what is asked for, and the ways to ask its Redis and its Sentinel."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.me: dict[str, Any] = {
            **request["me"],
            "address": canonical(request["me"]["address"]),
        }
        # Name, the address that is given for it, and the one at which Ansible reaches it.
        self.peers: list[dict[str, Any]] = [
            {
                "name": name,
                "address": canonical(given or reached or name),
                "sentinel": number < request["sentinels"],
            }
            for number, (name, given, reached) in enumerate(request["peers"])
        ]
        for part in ("options", "seed", "sentinel_seed", "sentinel_options", "sentinel_globals"):
            words = request.get(part, {})
            request[part] = {name: str(value) for name, value in words.items()}
        self.check: bool = request["check"]
        #: By address and port, once it is known.
        self.speaks_tls: dict[tuple[str, int], bool] = {}
        self.changes: list[str] = []
        self.notes: list[str] = []
        self.restart: list[str] = []
        #: Units that were started anew, which need no restart later.
        self.started: list[str] = []
        #: Addresses at which the sentinels know what the group does not want there any more.
        self.gone: list[str] = []

    # -- Connections

    def root_password(self) -> str:
        """Return the password of the user root, which only this host knows; empty if none yet."""
        file = FOLDER / "root.password"
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    def _dial(self, address: str, port: int, seconds: float) -> Connection:
        """Connect by TLS or without, as is asked for; to this host's own also the other way.

        Which of them counts may be just changing. The certificate of this host's own Redis is not
        verified: it may be the very thing that has to be replaced.
        """
        tls = bool(self.request["tls"])
        if address not in self.own_addresses:
            context = ssl.create_default_context(cadata=self.request["tls"]["ca"]) if tls else None
            return Connection(address, port, context, seconds)
        known = self.speaks_tls.get((address, port))
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        error: OSError | None = None
        for way in (tls, not tls) if known is None else (known,):
            try:
                # What speaks the other way may not answer at all.
                wait = seconds if known is not None else OTHER_WAY
                connection = Connection(address, port, unverified if way else None, wait)
                with contextlib.suppress(RefusedError):  # NOAUTH is an answer too
                    connection("PING")
                connection.socket.settimeout(seconds)
                self.speaks_tls[address, port] = way
                return connection
            except ConnectionRefusedError:
                raise
            except OSError as problem:
                error = problem
        self.speaks_tls.pop((address, port), None)
        raise error or OSError("no answer")

    @property
    def own_addresses(self) -> list[str]:
        """Return where this host's Redis may listen, loopback first."""
        return list(dict.fromkeys([self.me["local"], "127.0.0.1", self.me["address"]]))

    def own(self, port: int) -> Connection | None:
        """Return a connection to this host's Redis or Sentinel that may do all; None if it is down.

        The host's own password comes first, then that of the user admin, then none: a Redis as
        its package brings it.
        """
        admin = self.request["users"]["admin"]["password"]
        logins = [("root", self.root_password()), ("admin", admin)]
        for address in self.own_addresses:
            with contextlib.suppress(OSError):
                for user, password in logins:
                    connection = self._dial(address, port, ANSWER)
                    with contextlib.suppress(RefusedError):
                        connection("AUTH", user, password)
                        return connection
                connection = self._dial(address, port, ANSWER)
                try:
                    connection("PING")
                except RefusedError as error:
                    if str(error).startswith("NOAUTH"):
                        raise ProblemError(
                            f"the server at {address}:{port} lets in neither the host's own user "
                            "nor admin with redis_admin_password; it was set up by somebody else"
                        ) from None
                    raise
                return connection
        return None

    @functools.cached_property
    def server(self) -> Connection | None:
        """This host's Redis."""
        return poll_loading(lambda: self.own(self.me["port"]))

    @functools.cached_property
    def sentinel(self) -> Connection | None:
        """This host's Sentinel."""
        return self.own(self.me["sentinel_port"])

    def any_sentinel(self) -> Connection:
        """Return a sentinel that watches the group: this host's own, else another's."""
        own = self.sentinel if self.me["sentinel"] else None
        if own and self.ours(own, "sentinel.conf"):
            return own
        for peer in self.peers:
            if peer["sentinel"] and peer["name"] != self.me["name"]:
                with contextlib.suppress(OSError, RefusedError):
                    return self.peer(peer["address"], self.me["sentinel_port"])
        raise ProblemError("no sentinel of the group answers")

    def peer(self, address: str, port: int) -> Connection:
        """Return a connection to another host's Redis or Sentinel, as the user admin."""
        other = self._dial(address, port, PEER_ANSWER)
        other("AUTH", "admin", self.request["users"]["admin"]["password"])
        return other

    @staticmethod
    def ours(connection: Connection, name: str) -> bool:
        """Return whether a server runs with the role's own configuration file."""
        return connection.info("server").get("config_file") == str(FOLDER / name)

    # -- Look

    def look(self) -> dict[str, Any]:
        """Report what is; nothing is changed."""
        found: dict[str, Any] = {"server": None, "sentinel": None, "other_passwords": []}
        found["address"] = self.me["address"]
        if self.server and self.ours(self.server, "redis.conf"):
            role = self.server("ROLE")
            found["server"] = {
                "address": self.me["address"],
                "role": role[0],
                "follows": role[1] if role[0] == "slave" else "",
                "keys": keys(self.server),
            }
            found["other_passwords"] = self.other_passwords(self.server)
            if len(self.peers) == 1 and role[0] == "slave":
                raise ProblemError(
                    f"its Redis follows the one at {role[1]}, and redis_hosts has no other host; "
                    "how a group becomes one server is in docs/operations.md"
                )
        if len(self.peers) > 1:
            found["sentinel"] = self.watched()
        policy = run("apt-cache", "policy", "redis-server", check=False)
        versions = re.findall(r"(?:Installed|Candidate): (?:\d+:)?(\d+\.\d+(?:\.\d+)*)", policy)
        found["version"] = (versions or ["0.0"])[0]
        found["newest"] = (versions or ["0.0"])[-1]
        found["ca"] = self.trusted_ca()
        found["has_watched"] = (FOLDER / "sentinel.conf").exists()
        programs = ["redis-server", "redis-sentinel"] if self.me["sentinel"] else ["redis-server"]
        found["missing"] = [name for name in programs if not shutil.which(name)]
        return found

    def trusted_ca(self) -> str:
        """Return whose CA this host trusts: `ours`, if the controller has it, `another`, or empty.

        While the CA changes a file has two; one in common is enough.
        """
        file = FOLDER / "tls" / "ca.crt"
        if not file.exists():
            return ""
        known = certificates(self.request["tls"].get("ca", ""))
        return "ours" if known & certificates(file.read_text(encoding="utf-8")) else "another"

    def watched(self) -> dict[str, str] | None:
        """Return what the sentinels say of the primary, None if none answers.

        Raises:
            ProblemError: a server is of the group that is no host of it any more, and runs.
        """
        try:
            sentinel = self.any_sentinel()
        except ProblemError:
            return None
        state = sentinel.table("SENTINEL", "MASTER", self.request["master"])
        hosts = [peer["address"] for peer in self.peers]
        # The sentinel of a host that stays is stopped by no_watcher.
        runs = [
            address
            for address, answers in self.strangers(sentinel).items()
            if answers and address not in hosts
        ]
        if state["ip"] not in hosts:
            raise ProblemError(
                f"the group's primary is {state['ip']}, which is no host of redis_hosts; put it "
                "back, and make another the primary first (docs/operations.md, Redis, which also "
                "says what to do when most hosts are lost)"
            )
        if runs:
            raise ProblemError(
                f"{', '.join(runs)} is of the group and no host of redis_hosts; stop it there, "
                "and then run this again: sudo systemctl disable --now redis-sentinel redis-server"
            )
        return {
            "primary": state["ip"],
            "epoch": state["config-epoch"],
            "flags": state["flags"],
        }

    def strangers(self, sentinel: Connection) -> dict[str, bool]:
        """Return what a sentinel knows and the group does not want: address -> it answers.

        A server that is of no host of the group, or a sentinel on a host that has none.
        """
        hosts = {peer["address"] for peer in self.peers}
        watchers = {peer["address"] for peer in self.peers if peer["sentinel"]}
        found: dict[str, bool] = {}
        for what, expected in (("REPLICAS", hosts), ("SENTINELS", watchers)):
            for known in sentinel.tables("SENTINEL", what, self.request["master"]):
                if known["ip"] not in expected:
                    answers = "s_down" not in known["flags"]
                    found[known["ip"]] = found.get(known["ip"], False) or answers
        return found

    def other_passwords(self, server: Connection) -> list[str]:
        """Return the users whose passwords are not exactly the one that is asked for."""
        differing = []
        for name, user in self.request["users"].items():
            known = server("ACL", "GETUSER", name)
            if known:
                hashes = dict(zip(known[::2], known[1::2], strict=True))["passwords"]
                if hashes != [sha256(user["password"])]:
                    differing.append(name)
        return differing

    # -- Converge

    def converge(self) -> None:
        """Bring this host's Redis to what is asked for, and the users of a Sentinel that runs."""
        self.own_password()
        self.files()
        self.kernel()
        if self.check and not shutil.which("redis-server"):
            self.changes.append("Redis would be set up")
            return
        self.redis()
        if not self.me["sentinel"]:
            self.no_watcher()
        elif self.sentinel and self.ours(self.sentinel, "sentinel.conf"):
            self.set_users(self.sentinel, self.request["sentinel_users"])
        if not self.check:
            self.settle()

    @functools.cached_property
    def primary(self) -> str:
        """The address of the primary, from what all hosts have reported."""
        return primary_by(list(self.request["reports"].values()), self.peers[0]["address"])

    def own_password(self) -> None:
        """Make the password of the user root of this host's Redis, once."""
        if not self.root_password():
            self.write(FOLDER / "root.password", secrets.token_hex(32) + "\n", "0600", "root")

    def write(self, path: Path, content: str, mode: str, owner: str) -> bool:
        """Write a file if it differs; return whether it did."""
        bits = int(mode, 8)
        if path.exists():
            state = path.stat()
            same = (state.st_mode & 0o7777, path.owner(), path.group()) == (bits, owner, owner)
            if same and path.read_text(encoding="utf-8") == content:
                return False
        self.changes.append(f"{path} written")
        if self.check:
            return True
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            if path.parent.is_relative_to(FOLDER):
                shutil.chown(path.parent, "redis", "redis")
                path.parent.chmod(0o750)
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(content)
        shutil.chown(new, owner, owner)
        new.chmod(bits)
        new.replace(path)
        return True

    def files(self) -> None:
        """Write what people and systemd read; note which unit has to start anew for it.

        Also for what an interrupted run wrote: a unit that started before counts, not who wrote.
        """
        for file in self.request["files"]:
            path = Path(file["path"])
            is_new = self.write(path, file["content"], file["mode"], "root")
            for unit in file.get("restart", []):
                if is_active(unit) and (is_new or path.stat().st_mtime >= active_since(unit) + 1):
                    self.restart.append(unit)
        if not self.check and any(needs_daemon_reload(unit) for unit in UNITS):
            run("systemctl", "daemon-reload")
        if self.request["tls"] and (not self.check or shutil.which("redis-server")):
            self.certificates()

    def certificates(self) -> None:
        """Write the certificates; Redis reads them again at once, Sentinel when it starts."""
        tls = self.request["tls"]
        names = {"ca": "ca.crt", "certificate": "redis.crt", "key": "redis.key"}
        written = [
            self.write(FOLDER / "tls" / name, tls[part], "0640", "redis")
            for part, name in names.items()
            if part in tls  # whoever has lost the folder has a new CA first, and no certificates
        ]
        if self.check or not (any(written) or self.shows_other_certificate(self.server)):
            return
        if self.server and self.ours(self.server, "redis.conf"):
            self.server(
                *("CONFIG", "SET"),
                *("tls-cert-file", FOLDER / "tls" / "redis.crt"),
                *("tls-key-file", FOLDER / "tls" / "redis.key"),
                *("tls-ca-cert-file", FOLDER / "tls" / "ca.crt"),
            )
            self.changes.append("Redis has read its certificates again")
        if is_active("redis-sentinel"):
            self.restart.append("redis-sentinel")

    def shows_other_certificate(self, connection: Connection | None) -> bool:
        """Return whether Redis or Sentinel still shows another certificate than its file holds."""
        if connection is None or not isinstance(connection.socket, ssl.SSLSocket):
            return False
        shown = ssl.DER_cert_to_PEM_cert(connection.socket.getpeercert(binary_form=True) or b"")
        return shown.strip() not in self.request["tls"].get("certificate", shown)

    def kernel(self) -> None:
        """Set what Redis wants of the kernel, or say that this host does not let it be set."""
        for name, wanted in self.request["kernel"].items():
            path = Path("/proc/sys") / name.replace(".", "/")
            if not path.exists():
                self.notes.append(f"{name} is not to be seen on this host (a container?)")
                continue
            value = path.read_text(encoding="utf-8").strip()
            if value == wanted or (name == "net.core.somaxconn" and int(value) > int(wanted)):
                continue
            if not os.access(path, os.W_OK) or self._is_container():
                self.notes.append(
                    f"{name} is {value}, Redis wants {wanted}; set it on the container's host"
                )
                continue
            self.changes.append(f"{name} set to {wanted}")
            if not self.check:
                path.write_text(wanted, encoding="utf-8")

    @staticmethod
    def _is_container() -> bool:
        return run("systemd-detect-virt", "--container", check=False) not in ("", "none")

    # -- Redis

    @functools.cached_property
    def options(self) -> dict[str, str]:
        """The options of Redis, and those that follow from this host and the group."""
        options: dict[str, str] = dict(self.request["options"])
        if options["maxmemory"] == "auto":
            options["maxmemory"] = str(int(memory() * MEMORY_SHARE) // MEMORY_STEP * MEMORY_STEP)
        return options

    def redis(self) -> None:
        """Set up this host's Redis, or bring the one that runs to what is asked for."""
        if not (FOLDER / "redis.conf").exists():
            self.changes.append("Redis seeded")
            if not self.check:
                self.adopt()
                self.seed()
        elif self.server and not self.ours(self.server, "redis.conf"):
            self.changes.append("Redis started anew")
            if not self.check:
                self.adopt()
                self.started_anew("redis-server")
                self.wait_for_server()
        self.enable("redis-server")
        if self.server is None and not self.check:  # it hangs, or has only just gone
            self.wait_for_server()
        if self.server and self.ours(self.server, "redis.conf"):
            self.set_users(self.server, self.request["users"])
            self.set_options(self.server)
            self.follow(self.server)

    def adopt(self) -> None:
        """Keep the data of a Redis that ran before, which may have no append-only file yet."""
        if self.server is None:
            if (DATA / "dump.rdb").exists() and not (DATA / "appendonlydir").exists():
                raise ProblemError(
                    f"{DATA}/dump.rdb has data of another Redis, which does not run; "
                    "start redis-server, or move the file away, and run the playbook again"
                )
            return
        server = self.server
        self.refuse_to_empty(server)
        try:
            server("CONFIG", "SET", "appendonly", "yes")
        except RefusedError as error:
            raise ProblemError(
                f"the Redis that runs does not let itself be set up: {error}"
            ) from None
        poll(
            lambda: has_written_its_file(server),
            SYNC,
            "the writing of an append-only file from the data of the Redis that ran before",
        )

    def seed(self) -> None:
        """Write the configuration with which Redis starts for the first time, and start it."""
        lines = [self.request["seed_note"], f"aclfile {FOLDER}/redis.acl"]
        lines += [f"{name} {quoted(value)}" for name, value in self.request["seed"].items()]
        lines += [f"{name} {quoted(value)}" for name, value in self.options.items()]
        if self.me["address"] != self.primary:
            lines.append(f"replicaof {self.primary} {self.me['port']}")
        users = self.request["users"]
        self.write(FOLDER / "redis.acl", self.acl_file(users), "0640", "redis")
        self.write(FOLDER / "redis.conf", "\n".join(lines) + "\n", "0640", "redis")
        self.started_anew("redis-server")
        self.wait_for_server()

    def started_anew(self, unit: str) -> None:
        """Restart a unit that is not in use by the group yet; it needs no restart later."""
        run("systemctl", "enable", "--quiet", unit)
        self.speaks_tls.clear()
        restart(unit)
        self.started.append(unit)

    def acl_file(self, users: dict[str, Any]) -> str:
        """Return the users as Redis reads them from a file."""
        lines = [f"user default {' '.join(NOBODY)}"]
        for name, user in self.with_root(users).items():
            lines.append(
                f"user {name} on sanitize-payload #{sha256(user['password'])} {user['rules']}"
            )
        return "\n".join(lines) + "\n"

    def with_root(self, users: dict[str, Any]) -> dict[str, Any]:
        """Add the host's own user, which this script logs in with."""
        return {**users, "root": {"password": self.root_password(), "rules": "~* &* +@all"}}

    def wait_for_server(self) -> None:
        """Wait until Redis answers, and forget the old connection."""
        self.__dict__.pop("server", None)
        port = self.me["port"]
        poll(lambda: self.own(port), START, "an answer of Redis (journalctl -u redis-server)")

    def enable(self, unit: str) -> None:
        """Start a unit that is down, now and at boot."""
        enabled = run("systemctl", "is-enabled", unit, check=False) == "enabled"
        if enabled and is_active(unit):
            return
        self.changes.append(f"{unit} enabled and started")
        if self.check:
            return
        run("systemctl", "enable", "--now", "--quiet", unit)
        if unit == "redis-server":
            self.wait_for_server()

    def set_users(self, server: Connection, users: dict[str, Any]) -> None:
        """Bring users to their rules and passwords. Connections that stand stay.

        What could not be saved would be forgotten with the next start: a file says so until it is.
        """
        changed: list[str] = []
        unsaved = FOLDER / f".users-{server.socket.getpeername()[1]}.unsaved"
        users = self.with_root(users)

        def change(name: str, *command: str) -> None:
            changed.append(name)
            if not self.check:
                unsaved.touch()
                server("ACL", *command)

        for name, user in users.items():
            known = self._user(server, name)
            hashes = known.get("passwords", [])
            wanted = [sha256(user["password"])]
            if self.request["keep_passwords"]:
                wanted = list(dict.fromkeys([*hashes, *wanted]))
            if known == {**self._as_understood(server, user["rules"]), "passwords": hashes} and set(
                hashes
            ) == set(wanted):
                continue
            passwords = [f"#{value}" for value in wanted]
            change(name, "SETUSER", name, "reset", "on", *passwords, *user["rules"].split())
        for name in self.request["no_users"]:
            if self._user(server, name):
                change(name, "DELUSER", name)
        default = self._user(server, "default")
        if "off" not in default["flags"] or default["commands"] != "+@all":
            change("default", "SETUSER", "default", "reset", *NOBODY)
        if changed or unsaved.exists():
            self.changes.append(f"users {', '.join(changed)} set" if changed else "users saved")
            if not self.check:
                server("ACL", "SAVE")
                unsaved.unlink()

    @staticmethod
    def _user(server: Connection, name: str) -> dict[str, Any]:
        known = server("ACL", "GETUSER", name)
        return dict(zip(known[::2], known[1::2], strict=True)) if known else {}

    def _as_understood(self, server: Connection, rules: str) -> dict[str, Any]:
        """Return what Redis makes of rules: it writes them down in words of its own.

        It is asked with a user that has no password, so nobody can be it, and that goes at once.
        """
        name = f"compare-{secrets.token_hex(4)}"
        try:
            server("ACL", "SETUSER", name, "reset", "on", *rules.split())
            return self._user(server, name)
        finally:
            server("ACL", "DELUSER", name)

    def set_options(self, server: Connection) -> None:
        """Set the options that differ, and have Redis write its file."""
        differing, before = {}, {}
        for name, value in self.options.items():
            known = server.table("CONFIG", "GET", name).get(name)
            if known is None:
                raise ProblemError(f"this Redis has no option {name}; use a newer one")
            if not same_value(known, value):
                differing[name], before[name] = value, known
        unsaved = FOLDER / ".options.unsaved"
        names = ", ".join(differing) or "what was set before"
        if not differing and not unsaved.exists():
            return
        self.changes.append(f"options {names} set")
        if self.check:
            return
        unsaved.touch()
        try:
            if differing:
                change_options(server, differing, before)
            server("CONFIG", "REWRITE")
        except RefusedError as error:
            raise ProblemError(f"Redis takes no change of {names}: {error}") from None
        unsaved.unlink()
        if {"port", "tls-port", "bind"} & set(differing):
            self.speaks_tls.clear()
            self.wait_for_server()

    def follow(self, server: Connection) -> None:
        """Make a server a replica that stands alone, or follows another than the primary.

        Where Sentinel knows it, Sentinel decides. One that was of the group before may follow who
        was the primary then, and is known to nobody.
        """
        role = server("ROLE")
        if self.me["address"] == self.primary or role[:2] == ["slave", self.primary]:
            return
        if any(report.get("sentinel") for report in self.request["reports"].values()):
            if self.known_to_sentinel():
                return
        elif role[0] == "slave":
            return
        if role[0] == "master":
            self.refuse_to_empty(server)
        self.changes.append(f"replica of {self.primary}")
        if not self.check:
            server("REPLICAOF", self.primary, self.me["port"])
            server("CONFIG", "REWRITE")

    def refuse_to_empty(self, server: Connection) -> None:
        """Refuse to make a replica, which takes the primary's data, of a server that has some.

        Raises:
            ProblemError: it has keys, and is not to be the primary.
        """
        if self.me["address"] != self.primary and keys(server):
            raise ProblemError(
                f"Redis on {self.me['name']} has data of its own and is not part of the group of "
                f"{self.primary}; empty it (FLUSHALL) if that is not needed, and run again"
            )

    def known_to_sentinel(self) -> bool:
        """Return whether the sentinels count this host's Redis among the replicas."""
        tables = self.any_sentinel().tables("SENTINEL", "REPLICAS", self.request["master"])
        return any(table["ip"] == self.me["address"] for table in tables)

    # -- Sentinel

    def watch(self) -> None:
        """Set up this host's Sentinel, or bring the one that runs to what is asked for.

        All servers and sentinels must let it in by now. It logs in once for each connection and
        ignores the answer; with a password that is not valid yet it would see the server down for
        good, for it closes no connection on which errors come in time (seen with 7.0.15 and 5 s).
        """
        if not (FOLDER / "sentinel.conf").exists():
            self.changes.append("Sentinel seeded")
            if self.check:
                return
            users = self.request["sentinel_users"]
            self.write(FOLDER / "sentinel.acl", self.acl_file(users), "0640", "redis")
            self.write(FOLDER / "sentinel.conf", self.sentinel_seed(), "0640", "redis")
            self.started_anew("redis-sentinel")
        else:
            self.sentinel_lines()
        self.enable("redis-sentinel")
        self.__dict__.pop("sentinel", None)
        if self.check and self.sentinel is None:
            return
        self.wait_for_sentinel()
        assert self.sentinel is not None  # noqa: S101 - waited for one line above
        self.set_users(self.sentinel, self.request["sentinel_users"])
        self.set_sentinel(self.sentinel)
        self.log_in_again(self.sentinel)
        if self.shows_other_certificate(self.sentinel):  # a run was interrupted
            self.restart.append("redis-sentinel")
        self.gone = sorted(self.strangers(self.sentinel))

    def no_watcher(self) -> None:
        """Stop a Sentinel that this host had: the group has enough without it."""
        if not (FOLDER / "sentinel.conf").exists():
            return
        self.changes.append("Sentinel stopped")
        if self.check:
            return
        run("systemctl", "disable", "--now", "--quiet", "redis-sentinel")
        (FOLDER / "sentinel.conf").unlink()
        self.gone = [self.me["address"]]

    def wait_for_sentinel(self) -> None:
        """Wait until Sentinel answers, and forget the old connection."""
        self.__dict__.pop("sentinel", None)
        port = self.me["sentinel_port"]
        poll(lambda: self.own(port), START, "an answer of Sentinel (journalctl -u redis-sentinel)")

    def sentinel_seed(self) -> str:
        """Return the configuration with which Sentinel starts for the first time."""
        name = self.request["master"]
        lines = [self.request["seed_note"], f"aclfile {FOLDER}/sentinel.acl"]
        lines += [f"{key} {quoted(value)}" for key, value in self.request["sentinel_seed"].items()]
        port, quorum = self.me["port"], self.request["quorum"]
        lines.append(f"sentinel monitor {name} {self.primary} {port} {quorum}")
        for key, value in self.request["sentinel_options"].items():
            lines.append(f"sentinel {key} {name} {quoted(value)}")
        for key, value in self.request["sentinel_globals"].items():
            lines.append(f"sentinel {key} {quoted(value)}")
        return "\n".join(lines) + "\n"

    def sentinel_lines(self) -> None:
        """Change in Sentinel's file what it takes at its start only. It must not run meanwhile."""
        file = FOLDER / "sentinel.conf"
        old = file.read_text(encoding="utf-8").splitlines()
        seed = self.request["sentinel_seed"]
        known = dict(line.partition(" ")[::2] for line in old)
        differing = [key for key, value in seed.items() if known.get(key, "").strip('"') != value]
        if not differing:
            return
        self.changes.append(f"options {', '.join(differing)} of Sentinel set")
        if self.check:
            return
        run("systemctl", "stop", "redis-sentinel")
        kept = [
            line
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.strip() and line.split()[0] not in seed
        ]
        lines = [f"{key} {quoted(value)}" for key, value in seed.items()]
        self.write(file, "\n".join([*lines, *kept]) + "\n", "0640", "redis")

    def set_sentinel(self, sentinel: Connection) -> None:
        """Set what differs. Passwords are compared with Sentinel's own file: it shows none."""
        name = self.request["master"]
        known = sentinel.table("SENTINEL", "MASTER", name)
        text = (FOLDER / "sentinel.conf").read_text(encoding="utf-8")
        wanted = {"quorum": str(self.request["quorum"]), **self.request["sentinel_options"]}
        differing = {}
        for key, value in wanted.items():
            in_file = re.search(rf'^sentinel {key} {name} "?(.*?)"?$', text, re.MULTILINE)
            if known.get(key, in_file and in_file.group(1)) != value:
                differing[key] = value
        own = {}
        for key, value in self.request["sentinel_globals"].items():
            in_file = re.search(rf'^sentinel {key} "?(.*?)"?$', text, re.MULTILINE)
            if (in_file and in_file.group(1)) != value:
                own[key] = value
        if not differing and not own:
            return
        self.changes.append(f"options {', '.join([*differing, *own])} of Sentinel set")
        if self.check:
            return
        for key, value in differing.items():
            sentinel("SENTINEL", "SET", name, key, value)
        for key, value in own.items():
            sentinel("SENTINEL", "CONFIG", "SET", key, value)
        sentinel("SENTINEL", "FLUSHCONFIG")

    def log_in_again(self, sentinel: Connection) -> None:
        """Let Sentinel connect anew if it sees a server down that lets this host in.

        Raises:
            ProblemError: it does not see it then, either.
        """
        blind = {address for address in self.down(sentinel) if self.lets_in(address)}
        if not blind:
            return
        who = ", ".join(sorted(blind))
        self.changes.append(f"Sentinel connects anew, it does not see {who}")
        if not self.check:
            # Sentinel closes all connections to servers when it is told of a password.
            password = self.request["sentinel_options"]["auth-pass"]
            sentinel("SENTINEL", "SET", self.request["master"], "auth-pass", password)
            poll(lambda: not blind & self.down(sentinel), START, f"Sentinel's seeing of {who}")

    def servers(self, sentinel: Connection) -> list[dict[str, Any]]:
        """Return what a sentinel says of the primary and of each replica."""
        name = self.request["master"]
        primary = sentinel.table("SENTINEL", "MASTER", name)
        return [primary, *sentinel.tables("SENTINEL", "REPLICAS", name)]

    def down(self, sentinel: Connection) -> set[str]:
        """Return the addresses of the servers that a sentinel sees down."""
        return {table["ip"] for table in self.servers(sentinel) if "s_down" in table["flags"]}

    def server_at(self, address: str) -> Connection | None:
        """Return a connection to the Redis of this host or of another; None if this one is down."""
        port = self.me["port"]
        return self.own(port) if address == self.me["address"] else self.peer(address, port)

    def lets_in(self, address: str) -> bool:
        """Return whether a server answers this host."""
        with contextlib.suppress(OSError, RefusedError):
            server = self.server_at(address)
            return server is not None and server("PING") == "PONG"
        return False

    # -- Waiting, restarting, upgrading

    def settle(self) -> None:
        """Wait until this host's Redis does its part: a replica is in sync."""
        poll(self.in_sync, SYNC, f"the copying of the primary's data to {self.me['name']}")

    def in_sync(self) -> bool:
        """Return whether this host's Redis has loaded its data and, as a replica, has the link.

        A replica that has copied all anew writes it to its append-only file then, and does not stop
        until it has: `Writing initial AOF, can't exit`.
        """
        server = self.own(self.me["port"])
        if server is None:
            return False
        state = server.info("replication")
        return state["role"] == "master" or (
            state["master_link_status"] == "up"
            and state["master_sync_in_progress"] == "0"
            and has_written_its_file(server)
        )

    def refuse_unhealthy(self) -> None:
        """Raise unless the group could do without this host for a while."""
        if len(self.peers) == 1:
            return
        name, sentinel = self.request["master"], self.any_sentinel()
        state = sentinel.table("SENTINEL", "MASTER", name)
        tables = sentinel.tables("SENTINEL", "REPLICAS", name)
        sick = [state["ip"]] if state["flags"] != "master" else []
        sick += [
            t["ip"] for t in tables if t["flags"] != "slave" or t["master-link-status"] != "ok"
        ]
        absent = len(self.peers) - 1 - len(tables)
        if sick or absent > 0:
            who = ", ".join(sick) or f"{absent} of its servers"
            raise ProblemError(f"the Redis group is not healthy: {who} is down or not in sync")
        try:
            sentinel("SENTINEL", "CKQUORUM", name)
        except RefusedError as error:
            raise ProblemError(f"the Redis group is not healthy: {error}") from None

    def forget(self) -> None:
        """Let this host's sentinel forget the servers and sentinels that left the group.

        One that counted them could find no majority. SENTINEL RESET makes it forget all; what is
        there it learns anew from the primary and from the other sentinels. So this is done while
        all the others answer, and to one sentinel after the other.
        https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#removing-sentinels

        Raises:
            ProblemError: one that is gone answers, or the sentinel does not find the group again.
        """
        sentinel, name = self.sentinel, self.request["master"]
        if sentinel is None or not self.strangers(sentinel):
            return
        poll(lambda: not any(self.strangers(sentinel).values()), START, "the end of what is gone")
        gone = ", ".join(sorted(self.strangers(sentinel)))
        try:
            poll(lambda: not self.unseen(sentinel), HELLO, "the finding of the others")
        except ProblemError:
            # It would not find them again, and could elect nobody.
            who = ", ".join(sorted(self.unseen(sentinel)))
            self.notes.append(f"{gone} stays known to Sentinel until {who} answers, or leaves too")
            return
        primary = sentinel.table("SENTINEL", "MASTER", name)["ip"]
        hosts = {peer["address"] for peer in self.peers}

        def counts_no_stranger() -> bool:
            """Whether all replicas that the primary counts are of the group."""
            server = self.server_at(primary)
            told = " ".join(server.info("replication").values()) if server else ""
            return server is not None and set(re.findall(r"ip=([^,]+)", told)) <= hosts

        poll(counts_no_stranger, GONE, f"the primary's forgetting of {gone}")
        sentinel("SENTINEL", "RESET", name)
        poll(
            lambda: not self.unseen(sentinel) and not self.strangers(sentinel),
            START,
            "the sentinel's finding of the whole group",
        )
        self.changes.append(f"{gone} forgotten")

    def unseen(self, sentinel: Connection) -> set[str]:
        """Return the hosts of the group whose server or sentinel a sentinel does not see up."""
        own = {"ip": self.me["address"], "flags": "sentinel"}
        others = sentinel.tables("SENTINEL", "SENTINELS", self.request["master"])
        servers = {peer["address"] for peer in self.peers}
        watchers = {peer["address"] for peer in self.peers if peer["sentinel"]}
        return (servers - up(self.servers(sentinel))) | (watchers - up([own, *others]))

    def hand_over(self) -> None:
        """If this host has the primary, make another server the primary, and wait for it."""
        if len(self.peers) == 1 or self.server is None or self.server("ROLE")[0] != "master":
            return
        sentinel, name = self.any_sentinel(), self.request["master"]
        server = self.server

        def asked() -> bool:
            # Nothing is acknowledged any more that the next primary might not have: Sentinel does
            # not stop the old one's writes, nor its answers to WAIT.
            server("CLIENT", "PAUSE", FAILOVER_PAUSE, "WRITE")
            try:
                sentinel("SENTINEL", "FAILOVER", name)
            except RefusedError as error:
                if not str(error).startswith("INPROG"):  # one that is under way, or has just been
                    server("CLIENT", "UNPAUSE")
                    return False
            return True

        poll(asked, FAILOVER, "the begin of a failover")
        poll(self.is_replica, FAILOVER, "the end of the failover")
        self.changes.append("another server was made the primary")

    def is_replica(self) -> bool:
        """Return whether this host's Redis follows another. A failover cuts all connections."""
        server = self.own(self.me["port"])
        return server is not None and server("ROLE")[0] == "slave"

    def healthy_again(self) -> bool:
        """Return whether the whole group is well, as the sentinels see it."""
        # The connection of before went with the sentinel, if that was restarted too.
        self.__dict__.pop("sentinel", None)
        try:
            self.refuse_unhealthy()
        except ProblemError:
            return False
        return self.in_sync()

    def roll(self, work: Callable[[], None]) -> None:
        """Do something to this host that interrupts its Redis, without the group losing it."""
        self.leave()
        work()
        self.rejoin()

    def leave(self) -> None:
        """See to it that the group can do without this host's Redis, and that it can stop."""
        poll_problem(self.refuse_unhealthy, START)
        self.hand_over()
        if len(self.peers) > 1:
            self.settle()

    def rejoin(self) -> None:
        """Wait until this host's Redis is back, and the group whole again."""
        self.wait_for_server()
        poll(self.healthy_again, SYNC, "the recovery of the Redis group")

    def restart_units(self) -> None:
        """Restart the named units of this host; Redis only after it has handed over."""
        units = self.request["units"]
        if "redis-sentinel" in units:
            run("systemctl", "restart", "redis-sentinel")
            self.wait_for_sentinel()
            self.changes.append("redis-sentinel restarted")
        if "redis-server" in units:
            self.roll(lambda: restart("redis-server"))
            self.changes.append("redis-server restarted")

    def upgrade(self) -> None:
        """Bring Redis' packages to the newest version that the host's sources have."""
        packages = ["redis-server", "redis-tools"]
        packages += ["redis-sentinel"] if self.me["sentinel"] else []
        if not upgradable(packages):
            return
        if self.check:
            self.changes.append("packages would be upgraded")
            return
        self.roll(lambda: upgrade_packages(packages))
        self.changes.append("packages upgraded")


def change_options(server: Connection, options: dict[str, str], before: dict[str, str]) -> None:
    """Set options of a server; a port that is given up may be the one that is opened.

    Redis opens before it closes, and with TLS or without the number is the same: so the port is
    closed first. This connection stays. Where Redis refuses the rest, the port is opened again.
    """
    closing = {name: "0" for name in ("port", "tls-port") if options.get(name) == "0"}
    if closing:
        server("CONFIG", "SET", *itertools.chain.from_iterable(closing.items()))
    try:
        server("CONFIG", "SET", *itertools.chain.from_iterable(options.items()))
    except RefusedError:
        for name in closing:
            server("CONFIG", "SET", name, before[name])
        raise


def has_written_its_file(server: Connection) -> bool:
    """Return whether Redis writes no append-only file anew, nor is about to."""
    state = server.info("persistence")
    return state["aof_rewrite_in_progress"] == state["aof_rewrite_scheduled"] == "0"


def poll_loading(question: Callable[[], Connection | None]) -> Connection | None:
    """Wait for a Redis that is just reading its data: it answers, and refuses all else."""
    connection = question()
    if connection is not None:
        ready = connection

        def loaded() -> bool:
            return ready.info("persistence").get("loading", "0") == "0"

        poll(loaded, SYNC, "the loading of Redis' data")
    return connection


def poll_problem(work: Callable[[], None], seconds: float) -> None:
    """Do the work until it raises no problem; the last one counts when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return work()
        except ProblemError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def upgradable(packages: list[str]) -> bool:
    """Return whether a newer version of any package is to be had.

    Raises:
        ProblemError: apt-cache names no version of any of them.
    """
    text = run("apt-cache", "policy", *packages)
    installed = re.findall(r"Installed: (\S+)", text)
    if not installed:
        command = f"apt-cache policy {' '.join(packages)}"
        raise ProblemError(
            f"`{command}` names no version, so nothing was upgraded; see that the host's package "
            "sources have these packages"
        )
    return installed != re.findall(r"Candidate: (\S+)", text)


def upgrade_packages(packages: Iterable[str]) -> None:
    """Install the newest versions. Their own scripts restart the units."""
    run(
        *("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--only-upgrade"),
        *("-o", "Dpkg::Options::=--force-confold", *packages),
    )


def memory() -> int:
    """Return the bytes of memory that this host has, its control group's limit respected."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text(encoding="utf-8")))
    return total


def same_value(known: str, wanted: str) -> bool:
    """Return whether an option already has a value: Redis answers sizes in bytes."""
    return known == wanted or known == size(wanted)


def size(text: str) -> str:
    """Return a size such as 4gb in bytes, anything else as it is."""
    units = {"b": 1, "k": 1000, "kb": 2**10, "m": 10**6, "mb": 2**20, "g": 10**9, "gb": 2**30}
    found = re.fullmatch(r"(\d+)([kmg]?b?)", text.lower())
    return str(int(found[1]) * units[found[2]]) if found and found[2] else text


def quoted(value: str) -> str:
    """Return a value as it stands in a configuration file.

    Redis takes several addresses in one pair of quotes, too; a password without them it would not.
    """
    return value if re.fullmatch(r"[\w./:*@-]+", value) else json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Read the request, do it, print the report."""
    host = Host(json.load(sys.stdin))
    report: dict[str, Any] = {"problem": ""}
    try:
        action = host.request["action"]
        if action == "look":
            report |= host.look()
        else:
            {
                "converge": host.converge,
                "watch": host.watch,
                "restart": host.restart_units,
                "upgrade": host.upgrade,
                "leave": host.leave,
                "rejoin": host.rejoin,
                "forget": host.forget,
                "health": host.refuse_unhealthy,
            }[action]()
    except (ProblemError, RefusedError, OSError) as error:
        report["problem"] = str(error)
    except Exception as error:  # the task's output is hidden, for it might hold a password
        where = traceback.extract_tb(error.__traceback__)[-1]
        report["problem"] = f"a fault of the role: {type(error).__name__} in line {where.lineno}"
    report |= {"changes": host.changes, "notes": host.notes, "gone": host.gone}
    report |= {"restart": sorted(set(host.restart) - set(host.started)), "started": host.started}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
