"""Makes, proves and loads copies of Redis on the host where it runs.

The role backup sends this program to the Python of the installed release by standard input, with
a last line that calls `main`. So nothing is installed, and the password is in no argument, no
environment and no file. A copy is a folder with `dump.rdb` and `manifest.json`; until it is whole
its name ends in `.part`.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import redis

CHUNK_BYTES = 1 << 20
#: Keys that are asked about in one round trip.
BATCH = 1000
#: What Redis keeps its data in, inside its folder.
SNAPSHOT, LOG_FOLDER = "dump.rdb", "appendonlydir"
#: Data that is ready to be put in place, and data that was replaced.
READY, REPLACED = "nova-restore", "nova-replaced"
#: What must not go back in time, beside the copies: an interrupted restore finds it again.
REMEMBERED = "remembered.json"


class CopyError(Exception):
    """What stops a copy, in words for people."""


def options_of(text: str) -> dict[str, Any]:
    """Read the options; see vars/main.yml of the role for what there is."""
    options: dict[str, Any] = json.loads(text)
    return options


def connect(options: dict[str, Any]) -> redis.Redis:
    """Return a client of the live Redis, as the user for people."""
    tls = {"ssl_ca_certs": options["ca_file"]} if options["ca_file"] else {}
    return redis.Redis(
        host=options["address"],
        port=options["port"],
        username=options["user"],
        password=options["password"],
        ssl=bool(options["ca_file"]),
        socket_timeout=30,
        socket_connect_timeout=5,
        **tls,
    )


def info(client: redis.Redis, section: str) -> dict[str, Any]:
    """Return a section of INFO."""
    return client.info(section)


def until(question: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask until the answer is yes.

    Raises:
        CopyError: it was not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise CopyError(f"{what} took longer than {seconds:g} s; set backup_timeout_seconds")
        time.sleep(0.2)


# --- What a copy holds


def kind_of(key: str, queues: list[str]) -> str:
    """Return what a key is for: queues, results, `nova:run`, `nova:trends:report` and so on."""
    if key in {*queues, "unacked", "unacked_index"} or key.startswith("_kombu.") or "@" in key:
        return "queues"
    if key.startswith(("celery-task-meta-", "celery-taskset-meta-")):
        return "results"
    found = re.match(r"nova:(?:\w+:report(?=:)|[^:]+)", key)
    return found[0] if found else "other"


def count(client: redis.Redis, queues: list[str]) -> dict[str, Any]:
    """Count the keys of a server by kind, those that expire apart, and what waits in the queues."""
    kept: Counter[str] = Counter()
    expiring: Counter[str] = Counter()
    waiting = dict.fromkeys(queues, 0)
    held = 0
    for database in sorted(info(client, "keyspace")):
        number = int(database.removeprefix("db"))
        client.select(number)
        for keys in batches(client):
            with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.pttl(key)
                for key, left in zip(keys, pipe.execute(), strict=True):
                    kind = kind_of(key.decode(errors="replace"), queues)
                    (kept if left == -1 else expiring)[kind] += 1
        for queue in queues:
            waiting[queue] += client.llen(queue)
        held += client.hlen("unacked")
    return {"kept": dict(kept), "expiring": dict(expiring), "queues": waiting, "held": held}


def batches(client: redis.Redis) -> Iterator[list[bytes]]:
    """Yield all keys of a database, each once."""
    seen: set[bytes] = set()
    batch: list[bytes] = []
    for key in client.scan_iter(count=BATCH):
        if key not in seen:
            seen.add(key)
            batch.append(key)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def differences(expected: dict[str, Any], counted: dict[str, Any]) -> list[str]:
    """Say where a server holds something else than expected; expired keys may be missing."""
    found = []
    for kind in sorted({*expected["kept"], *counted["kept"]}):
        was, now = expected["kept"].get(kind, 0), counted["kept"].get(kind, 0)
        if was != now:
            found.append(f"{kind}: {now} keys, not {was}")
    for kind, now in sorted(counted["expiring"].items()):
        if now > (was := expected["expiring"].get(kind, 0)):
            found.append(f"{kind}: {now} keys that expire, not {was}")
    for queue, was in expected["queues"].items():
        if (now := counted["queues"].get(queue, 0)) != was:
            found.append(f"queue {queue}: {now} tasks, not {was}")
    if counted["held"] != expected["held"]:
        found.append(f"held: {counted['held']} tasks, not {expected['held']}")
    return found


# --- Files


def copy_file(source: Path, target: Path) -> str:
    """Copy a file to disk, for root alone, and return its SHA-256."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with source.open("rb") as read, open(descriptor, "wb") as write:
        while chunk := read.read(CHUNK_BYTES):
            digest.update(chunk)
            write.write(chunk)
        write.flush()
        os.fsync(write.fileno())
    return digest.hexdigest()


def rdb_version(path: Path) -> int:
    """Return the version in the header of a copy.

    Raises:
        CopyError: it is no copy of Redis.
    """
    with path.open("rb") as file:
        found = re.fullmatch(rb"REDIS(\d{4})", file.read(9))
    if not found:
        raise CopyError(f"{path} is no copy of a Redis: it does not begin with REDIS")
    return int(found[1])


def check_rdb(path: Path) -> None:
    """Let Redis's own program read the copy through.

    Raises:
        CopyError: it found an error.
    """
    done = subprocess.run(
        ["redis-check-rdb", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise CopyError(f"redis-check-rdb refuses {path}: {' '.join(last)}")


def check_space(path: Path, needed: int) -> None:
    """Refuse before anything is written.

    Raises:
        CopyError: a folder's file system has no room for so many bytes.
    """
    free = shutil.disk_usage(path).free
    if free < needed:
        raise CopyError(
            f"{path} has {free >> 20} MB free and {needed >> 20} MB are needed; make room"
        )


def check_memory(needed: int) -> None:
    """Refuse before the kernel has to kill something.

    Raises:
        CopyError: the host has not so many bytes to spare.
    """
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"^MemAvailable: +(\d+) kB", text, re.MULTILINE)
    if found and int(found[1]) * 1024 < needed:
        raise CopyError(
            f"to load a copy needs {needed >> 20} MB of memory, and {int(found[1]) >> 10} MB are "
            "available; free some on this host"
        )


def server_version() -> str:
    """Return the version of the redis-server that is installed."""
    text = subprocess.run(
        ["redis-server", "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"v=([\d.]+)", text)
    return found[1] if found else "0"


def as_numbers(version: str) -> tuple[int, ...]:
    """Return a version so that it can be compared; the patch level does not count."""
    return tuple(int(part) for part in version.split(".")[:2])


@contextlib.contextmanager
def scratch_server(folder: Path, options: dict[str, Any]) -> Iterator[redis.Redis]:
    """Load `dump.rdb` of a folder into a Redis of its own, that nobody else reaches.

    Raises:
        CopyError: it cannot be loaded.
    """
    owner = options["owner"]
    shutil.chown(folder, owner, owner)
    shutil.chown(folder / SNAPSHOT, owner, owner)
    with tempfile.TemporaryDirectory(prefix="nova-copy-") as place:
        shutil.chown(place, owner, owner)
        socket, log = Path(place, "redis.sock"), Path(place, "log")
        # It ends with this program, however that ends.
        command = ["setpriv", "--pdeathsig", "TERM", "redis-server"]
        command += ["--port", "0", "--unixsocket", str(socket)]
        command += ["--unixsocketperm", "700", "--dir", str(folder), "--dbfilename", SNAPSHOT]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        with log.open("wb") as output:
            server = subprocess.Popen(
                command, stdout=output, stderr=output, user=owner, group=owner, umask=0o077
            )
        client = redis.Redis(unix_socket_path=str(socket), socket_timeout=60)
        try:
            until(lambda: answers(client, server, log), options["timeout"], "loading the copy")
            yield client
        finally:
            client.close()
            server.terminate()
            server.wait()


def answers(client: redis.Redis, server: "subprocess.Popen[bytes]", log: Path) -> bool:
    """Return whether a server has loaded its data.

    Raises:
        CopyError: it ended; the message has the end of its log.
    """
    if server.poll() is not None:
        lines = log.read_text(errors="replace").strip().splitlines()[-2:]
        raise CopyError(f"Redis {server_version()} cannot load the copy: {' / '.join(lines)}")
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


# --- What the role asks for


def ask(options: dict[str, Any]) -> dict[str, Any]:
    """Tell what the live Redis is; one that does not answer is no error."""
    client = connect(options)
    try:
        state = info(client, "replication")
        beats = [key.decode() for key in client.scan_iter("nova:worker:*", count=BATCH)]
        leader = client.exists("nova:beat:leader", "nova:legacy:leader")
    except redis.RedisError as error:
        return {"answers": False, "why": str(error)}
    return {
        "answers": True,
        "role": state["role"],
        "replicas": state.get("connected_slaves", 0),
        "in_sync": state.get("master_link_status") == "up"
        and not state.get("master_sync_in_progress")
        and state.get("master_last_io_seconds_ago", 99) <= 10,
        "busy": sorted(key.removeprefix("nova:worker:") for key in beats)
        + (["a scheduler"] if leader else []),
    }


def make(options: dict[str, Any]) -> dict[str, Any]:
    """Make a copy of the live Redis and return its manifest; in a dry run only what is checked."""
    client, folder = connect(options), Path(options["folder"])
    used = int(info(client, "memory")["used_memory"])
    settings = cast(dict[str, str], client.config_get("dir", "dbfilename"))
    data = Path(settings["dir"])
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    for place in (data, existing):
        check_space(place, 2 * used)
    check_memory(used + used // 4)
    if options["dry_run"]:
        return {"name": options["name"]}
    save(client, options["timeout"])
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # the one who fetches passes through, and cannot look around
    part = folder / f"{options['name']}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    try:
        manifest = describe(data / settings["dbfilename"], part, options)
        manifest |= {"redis_version": info(client, "server")["redis_version"]}
        target = part / "manifest.json"
        target.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        target.chmod(0o600)
        for path in (part, part / SNAPSHOT, target):
            shutil.chown(path, options["reader"], -1)
        part.rename(folder / options["name"])
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest


def save(client: redis.Redis, seconds: float) -> None:
    """Let Redis write a snapshot that begins now.

    Raises:
        CopyError: it cannot, or does not get done in time.
    """

    def begin() -> bool:
        try:
            client.bgsave(schedule=False)
        except redis.ResponseError as error:
            if "in progress" in str(error) or "Another child" in str(error):
                return False  # a snapshot or a rewrite that began before: after it
            raise
        return True

    until(begin, seconds, "waiting for another snapshot")
    until(lambda: not info(client, "persistence")["rdb_bgsave_in_progress"], seconds, "a snapshot")
    if info(client, "persistence")["rdb_last_bgsave_status"] != "ok":
        raise CopyError("Redis could not write a snapshot; look with: journalctl -u redis-server")


def describe(source: Path, part: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Copy a snapshot into a folder, load it there, and return what it holds."""
    copy = part / SNAPSHOT
    made_at = datetime.fromtimestamp(source.stat().st_mtime, UTC)
    digest = copy_file(source, copy)
    check_rdb(copy)
    with scratch_server(part, options) as scratch:
        counted = count(scratch, options["queues"])
    current = Path("/opt/nova/current")
    return counted | {
        "format": 1,
        "name": options["name"],
        "host": options["host"],
        "made_at": made_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "release": current.resolve().name if current.exists() else None,
        "rdb_version": rdb_version(copy),
        "bytes": copy.stat().st_size,
        "sha256": digest,
    }


def read_manifest(folder: Path, *, may_lack: bool) -> dict[str, Any] | None:
    """Return the manifest of a copy.

    Raises:
        CopyError: there is none, and none was not allowed.
    """
    path = folder / "manifest.json"
    if path.exists():
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return manifest
    if may_lack:
        return None
    raise CopyError(
        f"{folder} has no manifest.json, so nobody knows whether it is whole; restore it all the "
        "same with -e without_manifest=true"
    )


def restored_module() -> Any:
    """Return the part of the installed release that knows what must not go back in time.

    Raises:
        CopyError: the release has none.
    """
    try:
        from nova.operations import restored
    except ImportError:
        raise CopyError(
            "the release on this host is older than this playbook; restore with the checkout that "
            "the release was built from, or bring the release of this one first: site.yml"
        ) from None
    return restored


def remember(options: dict[str, Any]) -> dict[str, Any]:
    """Keep what of the present data must not go back in time."""
    remembered = restored_module().remember(connect(options))
    if not options["dry_run"]:
        path = Path(options["folder"], REMEMBERED)
        path.write_text(remembered.model_dump_json(), encoding="utf-8")
        path.chmod(0o600)
    return {"last_token": remembered.last_token}


def settle(client: redis.Redis, options: dict[str, Any]) -> None:
    """Bring the loaded copy to what was kept; where the data was gone, to what is safe."""
    module, path = restored_module(), Path(options["folder"], REMEMBERED)
    text = path.read_text(encoding="utf-8") if path.exists() else "{}"
    remembered = module.Remembered.model_validate_json(text)
    client.select(0)
    name = Path(options["source"]).name
    module.settle(client, remembered, by=options["by"], name=name)


def judge(options: dict[str, Any]) -> dict[str, Any]:
    """Refuse a copy that is damaged, too old, or too new for this server; return its manifest."""
    restored_module()
    folder = Path(options["source"])
    manifest = read_manifest(folder, may_lack=options["without_manifest"])
    copy, installed = folder / SNAPSHOT, server_version()
    if not copy.exists():
        raise CopyError(f"{copy} does not exist")
    rdb_version(copy)
    if manifest:
        with copy.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest["sha256"]:
                raise CopyError(
                    f"{copy} is damaged: its SHA-256 is not that of the manifest; take another"
                )
        if as_numbers(installed) < as_numbers(manifest["redis_version"]):
            raise CopyError(
                f"the copy is of Redis {manifest['redis_version']}, and this host has {installed}, "
                "which cannot load it; restore on a host with that version or a newer one"
            )
        made_at = datetime.fromisoformat(manifest["made_at"])
        age = (datetime.now(UTC) - made_at).total_seconds() / 86400
        if age > options["max_age_days"]:
            raise CopyError(
                f"the copy is {age:.1f} days old, more than {options['max_age_days']:g}; restore "
                f"it all the same with -e max_age_days={int(age) + 1}"
            )
    check_rdb(copy)
    check_space(existing_parent(Path(options["data"])), 4 * copy.stat().st_size)
    return manifest or {}


def existing_parent(path: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def build(options: dict[str, Any]) -> dict[str, Any]:
    """Load a copy into a server of its own, compare it, and leave it as an append-only file.

    Return what that holds; it differs from the copy in what must not go back in time.

    A Redis with `appendonly yes` and no such file would start empty beside a snapshot. So it is
    made here, by a Redis that was started without, before the live data is touched.
    """
    data, owner = Path(options["data"]), options["owner"]
    if options["dry_run"]:
        return {"built": {}}
    if not data.exists():
        data.mkdir(mode=0o750)
        shutil.chown(data, owner, owner)
    part, ready = data / f"{READY}.part", data / READY
    for left in (part, ready):
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir(mode=0o700)
    source = Path(options["source"])
    manifest = read_manifest(source, may_lack=options["without_manifest"])
    copy_file(source / SNAPSHOT, part / SNAPSHOT)
    with scratch_server(part, options) as scratch:
        compare(manifest, scratch, options)
        settle(scratch, options)
        built = count(scratch, options["queues"])
        scratch.config_set("appendonly", "yes")
        until(lambda: is_rewritten(scratch), options["timeout"], "writing the append-only file")
    part.rename(ready)
    return {"built": built}


def is_rewritten(client: redis.Redis) -> bool:
    """Return whether the append-only file holds all there is.

    Raises:
        CopyError: Redis could not write it.
    """
    state = info(client, "persistence")
    if state["aof_last_bgrewrite_status"] != "ok":
        raise CopyError("Redis could not write the append-only file; is the disk full?")
    busy = state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]
    return bool(state["aof_enabled"]) and not busy


def compare(
    expected: dict[str, Any] | None, client: redis.Redis, options: dict[str, Any]
) -> dict[str, Any]:
    """Count what a server holds and compare it with what it should hold, if that is known.

    Raises:
        CopyError: it holds something else.
    """
    counted = count(client, options["queues"])
    if expected and (found := differences(expected, counted)):
        raise CopyError(f"it does not hold what it should: {'; '.join(found)}")
    return counted


def swap(options: dict[str, Any]) -> dict[str, Any]:
    """Put what was built in the place of the data of a Redis that is stopped; keep that aside."""
    data = Path(options["data"])
    if options["dry_run"]:
        return {"replaced": ""}
    ready, aside = data / READY, data / f"{REPLACED}-{options['name']}"
    present = [data / name for name in (SNAPSHOT, LOG_FOLDER) if (data / name).exists()]
    if present:
        aside.mkdir(mode=0o700)
        for path in present:
            path.rename(aside / path.name)
    for name in (SNAPSHOT, LOG_FOLDER):
        (ready / name).rename(data / name)
    ready.rmdir()
    return {"replaced": str(aside) if present else ""}


def verify(options: dict[str, Any]) -> dict[str, Any]:
    """Wait until the live Redis has loaded its data, and compare it with what was built."""
    client = connect(options)
    if options["dry_run"]:
        return {}

    def is_up() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False  # also while it loads

    until(is_up, options["timeout"], "the start of Redis")
    return compare(options["built"], client, options)


def main(text: str) -> None:
    """Do what the options ask for, and print the answer or the error as JSON."""
    options = options_of(text)
    commands = {"ask": ask, "make": make, "judge": judge, "build": build, "swap": swap}
    commands |= {"remember": remember, "verify": verify}
    try:
        answer = commands[options["command"]](options)
    except (CopyError, OSError, redis.RedisError, ValueError, KeyError) as error:
        known = isinstance(error, (CopyError, OSError, redis.RedisError))
        print(json.dumps({"error": str(error) if known else f"{type(error).__name__}: {error}"}))
        sys.exit(1)
    print(json.dumps(answer))
