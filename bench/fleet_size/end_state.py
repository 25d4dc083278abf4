"""What a fleet has in the end, and whether two have the same: else their times say nothing."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis
from packaging.utils import canonicalize_name

from bench.fleet_size.fleet import WORKERS, Fleet, host_names
from scripts.lab.hosts import in_parallel

PROGRAM = Path(__file__).with_name("host_state.py")
#: What installs packages is no part of what is installed.
INSTALLERS = ("pip", "setuptools", "wheel")
#: Options of Redis that playbooks and inventory decide on.
REDIS_OPTIONS = (
    "appendonly",
    "appendfsync",
    "bind",
    "dir",
    "maxmemory-policy",
    "min-replicas-max-lag",
    "port",
    "repl-backlog-size",
    "repl-diskless-sync-delay",
    "repl-ping-replica-period",
    "tls-port",
)
#: The user with whom Nova's role looks after the Redis of its host; not Nova's own, nor a person's.
ROLE_USER = "root"
GATE_SECONDS = 300


def look(fleet: Fleet) -> dict[str, Any]:
    """Return the state of each host and of Redis, so that those of two fleets can be compared.

    Raises:
        BenchError: a host could not be asked.
    """
    names, program = host_names(fleet.number), PROGRAM.read_text(encoding="utf-8")
    answers = in_parallel(lambda name: fleet.ask(name, "sudo python3 -", program), names)
    addresses = {address: name for name, address in fleet.addresses().items()}
    states: dict[str, Any] = {
        name: comparable(json.loads(answer), addresses)
        for name, answer in zip(names, answers, strict=True)
    }
    return {**states, "Redis": redis_state(fleet, addresses)}


def comparable(state: dict[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """Return the state of a host without what may differ: comments, order, addresses of the lab."""
    packages = dict(line.split("==") for line in state["packages"])
    return {
        **state,
        "packages": {
            name: version
            for spelled, version in packages.items()
            if (name := canonicalize_name(spelled)) not in INSTALLERS
        },
        "files": {
            path: {**file, "text": settled(path, named(file["text"], addresses))}
            for path, file in state["files"].items()
        },
    }


def settled(path: str, text: str) -> list[str]:
    """Return the lines of a file that count; in a file of settings their order does not."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|//|$)", line)]
    return sorted(lines) if path.endswith(".env") else lines


def named(text: str, addresses: Mapping[str, str]) -> str:
    """Return a text with the names of hosts for their addresses."""
    for address in sorted(addresses, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(address)}\b", addresses[address], text)
    return text


def redis_state(fleet: Fleet, addresses: Mapping[str, str]) -> dict[str, Any]:
    """Return options and users of the Redis that runs; of passwords nothing."""
    host = host_names(fleet.number)[0]
    with redis.Redis(
        host=fleet.addresses()[host],
        username="admin",
        password=fleet.generated()["vars"]["nova_redis_admin_password"],
        decode_responses=True,
    ) as client:
        options = {name: client.config_get(name).get(name, "") for name in REDIS_OPTIONS}
        limit = client.config_get("maxmemory")["maxmemory"]
        users = client.acl_list()
    return {
        "options": {name: named(value, addresses) for name, value in options.items()},
        "maxmemory is set": limit != "0",
        "users": users_without_passwords(users),
    }


def users_without_passwords(lines: list[str]) -> dict[str, str]:
    """Return user -> rules, from the lines of ACL LIST."""
    users = {}
    for line in lines:
        _, name, *rules = line.split()
        if name != ROLE_USER:
            users[name] = " ".join("(password)" if rule[0] == "#" else rule for rule in rules)
    return users


def digest(state: Mapping[str, Any]) -> str:
    """Return what only the same state has."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


def check_that_it_works(fleet: Fleet) -> None:
    """Let a health check go through every worker, and ask the API whether it is ready.

    Raises:
        BenchError: one of them does not answer.
    """
    names = host_names(fleet.number)
    release = fleet.ask(
        names[0], "/opt/nova/current/bin/python -c 'import nova; print(nova.__release__)'"
    ).strip()
    workers = " ".join(f"--worker={worker}@{name}" for name in names for worker in WORKERS)
    gate = f"sudo nova gate --release={release} --timeout={GATE_SECONDS}"
    fleet.ask(names[0], f"{gate} --api=http://127.0.0.1:8000 {workers}")


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yield a line for each thing in which two states differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from differences(one.get(name), other.get(name), f"{where}, {name}".lstrip(", "))
    elif isinstance(one, list) and isinstance(other, list):
        for line in one:
            if line not in other:
                yield f"{where}: {line!r} is missing in the second"
        for line in other:
            if line not in one:
                yield f"{where}: {line!r} is missing in the first"
        if sorted(one) == sorted(other) and one != other:
            yield f"{where}: the order differs"
    elif one != other:
        yield f"{where}: {one!r} and {other!r}"
