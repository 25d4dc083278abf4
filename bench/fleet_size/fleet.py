"""The hosts of one measurement: their inventory, the lab, and what is asked of them."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from bench.fleet import ROOT, BenchError, last_line
from bench.fleet_size import pip_index, playbook
from bench.fleet_size.playbook import Run
from bench.fleet_size.sides import DEBIAN, Side
from scripts.lab.docker import docker
from scripts.lab.hosts import Lab, create, destroy, in_parallel, releases_of

STATE = ROOT / ".nova" / "bench"
GROUP_VARS = ROOT / "ansible" / "inventories" / "lab" / "group_vars"
#: The workers of the guide, with a process each: twenty hosts have to fit into one machine.
WORKERS = {
    "gov": {"queues": ["governance"], "concurrency": 1},
    "maint": {"queues": ["maintenance"], "concurrency": 1},
    "data": {"queues": ["analytics", "trends", "analysis"], "concurrency": 1},
}
#: Twenty hosts that start their workers on the cores of one machine take longer than real ones.
GATE_SECONDS = 900
#: The longest that a playbook may take: so much, and so much for each host.
RUN_SECONDS, RUN_SECONDS_PER_HOST = 600.0, 300.0
#: A run is not begun before the machine is this quiet, or this much time has passed.
QUIET_PERCENT, QUIET_SECONDS = 25.0, 30.0


def host_names(number: int) -> list[str]:
    """Return the names of the hosts."""
    return [f"bench{index:02}" for index in range(1, number + 1)]


def inventory(number: int) -> dict[str, Any]:
    """Return the inventory: all parts and Redis on the first host, workers on each."""
    names = host_names(number)
    first = {"hosts": {names[0]: None}}
    return {
        "nova": {
            "hosts": {name: {"lab_debian_release": DEBIAN} for name in names},
            "vars": {"worker_instances": WORKERS, "rollout_gate_seconds": GATE_SECONDS},
            "children": {
                "redis": first,
                "workers": {"hosts": dict.fromkeys(names)},
                "beat": first,
                "api": first,
                "flower": first,
            },
        }
    }


def inventory_text(number: int) -> str:
    """Return the inventory as it is written, the same text for the same fleet."""
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
    return yaml.dump(inventory(number), Dumper=dumper, sort_keys=False)


@dataclass
class Fleet:
    """Lab hosts for one side, and the folder of this measurement."""

    side: Side
    number: int
    lab: Lab
    folder: Path
    control_paths: Path
    pip: Mapping[str, str]

    @property
    def static_inventory(self) -> Path:
        """The folder of the inventory that says what each host is for."""
        return self.folder / "inventory"

    @property
    def log(self) -> Path:
        """Where Ansible's output goes; it stays after the fleet has gone."""
        return STATE / f"{self.lab.name}.log"

    def generated(self) -> dict[str, Any]:
        """Return the lab's own inventory: addresses and secrets."""
        content: dict[str, Any] = yaml.safe_load(self.lab.inventory.read_text())["all"]
        return content

    def addresses(self) -> dict[str, str]:
        """Return host -> address."""
        return {name: str(host["ansible_host"]) for name, host in self.generated()["hosts"].items()}

    def play(self, name: str, source: Path | None = None) -> Run:
        """Run a playbook of the side when the machine is quiet; with another release's sources.

        Raises:
            BenchError: it failed or took too long.
        """
        wait_until_quiet()
        variables = [f"{self.side.build_folder}={self.folder / 'build'}"]
        if source:
            variables.append(f"{self.side.source}={source}")
        env = playbook.environment(
            self.side.folder / "ansible.cfg",
            self.control_paths,
            {**self.side.environment, "NOVA_BENCH_PIP": json.dumps(dict(self.pip))},
        )
        arguments = [
            f"--inventory={self.static_inventory}",
            f"--inventory={self.lab.inventory}",
            *(f"--extra-vars={variable}" for variable in variables),
            str(self.side.folder / "playbooks" / f"{name}.yml"),
        ]
        seconds = RUN_SECONDS + RUN_SECONDS_PER_HOST * self.number
        return playbook.run(arguments, env, self.log, seconds)

    def ask(self, host: str, command: str, stdin: str = "") -> str:
        """Run a command on a host and return what it printed.

        Raises:
            BenchError: it failed.
        """
        ssh = self.lab.ssh_command(self.addresses()[host], command)
        done = subprocess.run(ssh, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{host}: {command.split(' --', 1)[0]}: {last_line(done.stderr)}")
        return done.stdout


def wait_until_quiet() -> None:
    """Wait until what an earlier step has started is over, for a while at most."""
    deadline = time.monotonic() + QUIET_SECONDS
    while psutil.cpu_percent(interval=2) > QUIET_PERCENT and time.monotonic() < deadline:
        pass


@contextmanager
def fleet_of(side: Side, number: int) -> Iterator[Fleet]:
    """Make bare hosts; they have gone when the context ends, whatever happened.

    Raises:
        LabError: the lab could not be made.
        BenchError: pip of this machine takes packages from a folder.
    """
    options = pip_index.configuration()
    pip = pip_index.environment(options)
    lab = Lab(f"bench-{side.name}-{number}")
    folder = STATE / lab.name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "inventory").mkdir(parents=True)
    (folder / "inventory" / "hosts.yml").write_text(inventory_text(number), encoding="utf-8")
    (folder / "inventory" / "group_vars").symlink_to(GROUP_VARS)
    # The path of a socket has to be short.
    control_paths = Path(tempfile.mkdtemp(prefix="nova-bench-"))
    fleet = Fleet(side, number, lab, folder, control_paths, pip)
    fleet.log.unlink(missing_ok=True)
    try:
        destroy(lab)  # what a run that was killed may have left
        create(lab, releases_of(fleet.static_inventory))
        if pip_index.CERTIFICATES in options:
            trust(lab, number, Path(options[pip_index.CERTIFICATES]))
        yield fleet
    finally:
        destroy(lab)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(control_paths, ignore_errors=True)


def trust(lab: Lab, number: int, certificates: Path) -> None:
    """Give each host the certificates with which this machine's pip verifies its package index."""
    target = pip_index.CERTIFICATES_ON_HOST
    in_parallel(
        lambda name: docker("cp", "--follow-link", str(certificates), f"{lab.id}-{name}:{target}"),
        host_names(number),
    )
