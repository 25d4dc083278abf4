"""The sides that are compared: which playbooks, which Ansible, and what is their install step."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from bench.fleet import ROOT, BenchError
from scripts import build_release
from scripts.bundle import targets

DEBIAN = "trixie"
#: The Python of the hosts.
HOST_PYTHON = dict(targets.RELEASES.values())[DEBIAN]
#: Made by `make mitogen`.
MITOGEN = ROOT / ".venv-mitogen"
MITOGEN_STRATEGIES = MITOGEN / "ansible_mitogen" / "plugins" / "strategy"


@dataclass(frozen=True)
class Side:
    """One way to bring hosts to the same end state."""

    name: str
    label: str
    #: Folder with ansible.cfg and playbooks/.
    folder: Path
    #: What its playbooks are made of, in this checkout.
    sources: tuple[str, ...]
    #: The tasks that bring the program to the hosts, of site.yml.
    install: tuple[str, ...]
    #: Those of them that run once, on the controller.
    build: str
    #: Variable for the folder of the controller in which the program is built, and for the sources.
    build_folder: str
    source: str
    environment: Mapping[str, str] = field(default_factory=dict)


NOVA = Side(
    name="nova",
    label="Nova",
    folder=ROOT / "ansible",
    sources=("ansible",),
    install=(
        "release : Build or find the release",
        "release : Push the release",
        "release : Install the release",
        "release : Check that the host was reached",
    ),
    build="release : Build or find the release",
    build_folder="release_output",
    source="release",
)
BASELINE = Side(
    name="baseline",
    label="baseline",
    folder=ROOT / "bench" / "baseline",
    sources=("bench/baseline", "ansible/inventories/lab", "ansible/roles/redis/files"),
    install=(
        "application : Build the wheel",
        "application : Copy the list of requirements",
        "application : Install the requirements in a virtual environment",
        "application : Copy the wheel",
        "application : Install the wheel",
    ),
    build="application : Build the wheel",
    build_folder="nova_wheel_folder",
    source="nova_source",
)
WITH_MITOGEN = replace(
    NOVA,
    name="mitogen",
    label="Nova with Mitogen",
    environment={
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(MITOGEN_STRATEGIES),
    },
)
#: In the order in which they are measured, and shown.
SIDES = {side.name: side for side in (BASELINE, NOVA, WITH_MITOGEN)}
_CONFIGURATION = ConfigParser()
_CONFIGURATION.read(NOVA.folder / "ansible.cfg")
_SSH = _CONFIGURATION["ssh_connection"]["ssh_args"]
#: Nova with one setting as Ansible has it by default, to see what Nova's own is worth.
BY_DEFAULT = {
    name: replace(NOVA, name=name, label=label, environment=environment)
    for name, label, environment in (
        ("no-pipelining", "without pipelining", {"ANSIBLE_PIPELINING": "False"}),
        ("five-forks", "with five forks", {"ANSIBLE_FORKS": "5"}),
        ("compression", "with SSH that compresses", {"ANSIBLE_SSH_ARGS": f"-C {_SSH}"}),
    )
}
#: With so many hosts.
BY_DEFAULT_HOSTS = 12
ALL = SIDES | BY_DEFAULT


def check(side: Side) -> None:
    """Refuse a side that cannot run.

    Raises:
        BenchError: Mitogen is not installed.
    """
    if side is WITH_MITOGEN and not MITOGEN_STRATEGIES.is_dir():
        raise BenchError(f"{MITOGEN.name} is missing; make it: make mitogen, or use --only")


def versions(side: Side) -> dict[str, str]:
    """Return the versions of what runs a side's playbooks."""
    found = {"ansible-core": metadata.version("ansible-core")}
    if side is not BASELINE and (version := bytecode_version()):
        found["bytecode by"] = version
    if side is WITH_MITOGEN:
        [distribution] = metadata.distributions(name="mitogen", path=[str(MITOGEN)])
        found["mitogen"] = distribution.version
    return found


def bytecode_version() -> str:
    """Return what makes bytecode for the hosts; nothing where this machine lacks their Python."""
    interpreter = build_release.Target(HOST_PYTHON, platform.machine()).interpreter
    if not interpreter:
        return ""
    # A launcher that is there for a Python that is not, fails.
    asked = subprocess.run([interpreter, "--version"], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def digest(side: Side, inventory: str) -> str:
    """Return a digest of all that a side's times depend on, but the machine.

    A result with another one is of another checkout, and counts no more.
    """
    names = subprocess.run(
        ["git", "ls-files", "-z", "--", *side.sources],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    environment = {name: value.replace(str(ROOT), "") for name, value in side.environment.items()}
    known = [build_release.release_id(), versions(side), environment, inventory]
    total = hashlib.sha256(json.dumps(known).encode())
    for name in sorted(filter(None, names)):
        path = ROOT / os.fsdecode(name)
        content = path.read_bytes() if path.is_file() else b""
        total.update(name + hashlib.sha256(content).digest())
    return total.hexdigest()[:16]
