"""Create and destroy the hosts of one lab, all at once, and describe them for Ansible."""

import hashlib
import os
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from scripts.lab.docker import ROOT, STATE, LabError, docker
from scripts.lab.image import ensure_image
from scripts.mirrors import machine_mirrors

USER = "operator"
LABEL = "nova.lab"
BOOT_DEADLINE_SECONDS = 90
# The host variable that says which Debian a lab host is.
RELEASE_VARIABLE = "lab_debian_release"
# A variable of the inventory's groups: true for hosts that reach each other and this machine only.
ISOLATED_VARIABLE = "lab_isolated"
SECRETS = (
    "nova_redis_password",
    "nova_redis_admin_password",
    "nova_redis_replica_password",
    "nova_redis_sentinel_password",
    "nova_redis_monitor_password",
    "nova_jwt_secret_key",
    "flower_password",
)
# systemd as process 1 with the least that it needs; it boots so on control groups v1 and v2.
# Never add --cgroupns=private: with this mount it takes over the machine's own control groups.
SYSTEMD_OPTIONS = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"),
    *("--cap-add", "SYS_PTRACE", "--cap-add", "SYS_NICE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"),  # noqa: S108 - in the container
    *("--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw"),
    *("--stop-signal", "SIGRTMIN+3"),
    # A reboot ends process 1: start it anew.
    "--restart=unless-stopped",
)


@dataclass(frozen=True)
class Lab:
    """One named set of hosts that belongs to this checkout."""

    name: str

    @property
    def id(self) -> str:
        """The name as Docker knows it: two checkouts on one machine never share a lab."""
        return f"nova-lab-{self.name}-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"

    @property
    def folder(self) -> Path:
        """Where keys and the generated inventory lie."""
        return STATE / self.name

    @property
    def inventory(self) -> Path:
        """The generated inventory: how to reach each host, and the lab's random secrets."""
        return self.folder / "hosts.yml"

    @property
    def key(self) -> Path:
        """The private SSH key of the lab's user."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The SSH host keys of the lab's hosts."""
        return self.folder / "known_hosts"

    @property
    def ssh_options(self) -> list[str]:
        """SSH options that trust exactly the lab's hosts and offer exactly the lab's key."""
        return [
            *("-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes"),
        ]

    def ssh_command(self, address: str, command: str) -> list[str]:
        """Return the command line that runs a command on a host, without ever asking a person."""
        options = ["-i", str(self.key), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        return ["ssh", *self.ssh_options, *options, f"{USER}@{address}", command]


def releases_of(inventory: Path) -> dict[str, str]:
    """Return host name -> Debian release, as a static YAML inventory says.

    Raises:
        LabError: the file cannot be read, or a host does not say its release.
    """
    hosts: dict[str, str] = {}
    for group in _groups_of(inventory):
        _collect(group, hosts)
    missing = [host for host, release in hosts.items() if not release]
    if missing or not hosts:
        who = ", ".join(missing) or "any host"
        path = _file_of(inventory)
        raise LabError(f"{path} does not give {RELEASE_VARIABLE} (bookworm, trixie) for {who}")
    return hosts


def is_isolated(inventory: Path) -> bool:
    """Return whether the hosts of an inventory are to reach nothing but this machine.

    Raises:
        LabError: the file cannot be read.
    """
    groups = _groups_of(inventory)
    return any((group.get("vars") or {}).get(ISOLATED_VARIABLE, False) for group in groups)


def _file_of(inventory: Path) -> Path:
    return inventory / "hosts.yml" if inventory.is_dir() else inventory


def _groups_of(inventory: Path) -> list[dict[str, Any]]:
    path = _file_of(inventory)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise LabError(f"cannot read the inventory {path}: {reason}") from error
    return [group or {} for group in (tree or {}).values()]


def _collect(group: dict[str, Any], hosts: dict[str, str]) -> None:
    for host, variables in (group.get("hosts") or {}).items():
        hosts[host] = (variables or {}).get(RELEASE_VARIABLE, "") or hosts.get(host, "")
    for child in (group.get("children") or {}).values():
        _collect(child or {}, hosts)


def create(lab: Lab, releases: dict[str, str], isolated: bool = False) -> None:
    """Bring up the lab's hosts, those that run already included, and write its inventory.

    Isolated ones have no route to anything but each other and this machine. Interrupted or failed,
    it removes the hosts that it made itself.

    Raises:
        LabError: an image or a host could not be made or reached in time.
    """
    mirrors = machine_mirrors()
    distinct = sorted(set(releases.values()))
    images = dict(
        zip(
            distinct,
            in_parallel(lambda release: ensure_image(release, mirrors), distinct),
            strict=True,
        )
    )
    running = set(host_states(lab, only_running=True))
    new = [host for host in releases if host not in running]
    # One that stopped has lost what was in its tmpfs.
    _remove_containers(lab, host_states(lab).keys() - running)
    try:
        _make_key(lab)
        _make_network(lab, isolated)
        # Names of the lab's hosts are known to Docker; whatever else is asked finds no way out.
        network = [f"--add-host={entry}" for entry in mirrors.hosts()]
        network = ["--dns=192.0.2.1"] if isolated else network
        in_parallel(lambda host: _start(lab, host, images[releases[host]], network), new)
        in_parallel(lambda host: _admit(lab, host), list(releases))
        if isolated:
            in_parallel(lambda host: _take_route(lab, host), new)
        addresses = {host: _address(lab, host) for host in releases}
        _write_known_hosts(lab, addresses)
        in_parallel(lambda host: _wait_for_ssh(lab, addresses[host]), list(releases))
        _write_inventory(lab, addresses)
    except BaseException:
        if running:
            _remove_containers(lab, host_states(lab).keys() & new)
        else:
            destroy(lab)
        raise


def destroy(lab: Lab) -> None:
    """Remove the lab's hosts, network, keys and inventory; nothing is left, nothing else goes."""
    _remove_containers(lab, host_states(lab))
    for network in docker("network", "ls", "-q", "--filter", f"label={LABEL}={lab.id}").split():
        docker("network", "rm", network)
    shutil.rmtree(lab.folder, ignore_errors=True)


def hosts_exist() -> bool:
    """Return whether this machine has any lab host, of whatever lab and checkout."""
    return bool(docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").strip())


def host_states(lab: Lab, only_running: bool = False) -> dict[str, str]:
    """Return host name -> Docker's word for its state, of the lab's containers."""
    extra = ["--filter", "status=running"] if only_running else []
    lines = docker(
        "ps",
        "--all",
        "--filter",
        f"label={LABEL}={lab.id}",
        *extra,
        "--format",
        "{{.Names}} {{.Status}}",
    ).splitlines()
    states = (line.split(" ", 1) for line in lines)
    return {name.removeprefix(f"{lab.id}-"): status for name, status in states}


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply the work to all items at once; the first error is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(work, items))


def poll(question: Callable[[], bool], what: str) -> None:
    """Ask until the answer is yes.

    Raises:
        LabError: it was not within the boot deadline; the message says what was awaited.
    """
    deadline = time.monotonic() + BOOT_DEADLINE_SECONDS
    while not question():
        if time.monotonic() > deadline:
            raise LabError(f"{what} within {BOOT_DEADLINE_SECONDS} s")
        time.sleep(0.2)


def _make_key(lab: Lab) -> None:
    lab.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not lab.key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.id, "-f", str(lab.key)],
            check=True,
        )


def _make_network(lab: Lab, isolated: bool) -> None:
    if not docker("network", "ls", "-q", "--filter", f"name=^{lab.id}$"):
        extra = ["--internal"] if isolated else []
        docker("network", "create", *extra, "--label", f"{LABEL}={lab.id}", lab.id)


def _start(lab: Lab, host: str, image: str, options: list[str]) -> None:
    docker(
        "run",
        "--detach",
        "--name",
        f"{lab.id}-{host}",
        "--hostname",
        host,
        "--label",
        f"{LABEL}={lab.id}",
        "--network",
        lab.id,
        "--network-alias",
        host,
        *options,
        *SYSTEMD_OPTIONS,
        image,
    )


def _admit(lab: Lab, host: str) -> None:
    """Wait until systemd is up in the container, then let the lab's user in."""
    container = f"{lab.id}-{host}"

    def settled() -> bool:
        return _inside(container, "systemctl is-system-running --wait || true") in (
            "running",
            "degraded",
        )

    poll(settled, f"{host}: systemd did not finish to boot")
    public_key = lab.key.with_suffix(".pub").read_text(encoding="utf-8")
    docker(
        "exec",
        "--interactive",
        "--user",
        USER,
        container,
        "sh",
        "-c",
        "umask 077; mkdir -p ~/.ssh; cat > ~/.ssh/authorized_keys",
        stdin=public_key,
    )


def _take_route(lab: Lab, host: str) -> None:
    """Leave a host no route out, which older versions of Docker give it although it leads nowhere.

    Raises:
        LabError: it has one still.
    """
    container = f"{lab.id}-{host}"
    _inside(container, "ip route delete default")
    if docker("exec", container, "ip", "route", "show", "default"):
        raise LabError(f"{host} has a route out and should have none")


def _inside(container: str, script: str) -> str:
    try:
        return docker("exec", container, "sh", "-c", script)
    except LabError:
        return ""


def _address(lab: Lab, host: str) -> str:
    return docker(
        "inspect",
        "--format",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        f"{lab.id}-{host}",
    )


def _write_known_hosts(lab: Lab, addresses: dict[str, str]) -> None:
    """Take the host keys from the containers themselves: a first login has nothing to guess."""
    lines = []
    for host, address in addresses.items():
        kind, key, *_ = docker(
            "exec", f"{lab.id}-{host}", "cat", "/etc/ssh/ssh_host_ed25519_key.pub"
        ).split()
        lines.append(f"{address} {kind} {key}\n")
    lab.known_hosts.write_text("".join(lines), encoding="utf-8")


def _wait_for_ssh(lab: Lab, address: str) -> None:
    command = lab.ssh_command(address, "sudo -n true")

    def admitted() -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    poll(admitted, f"{address}: no SSH login with sudo")


def _write_inventory(lab: Lab, addresses: dict[str, str]) -> None:
    """Write how to reach the hosts; secrets that an earlier run made are kept."""
    known: dict[str, str] = {}
    if lab.inventory.exists():
        known = yaml.safe_load(lab.inventory.read_text(encoding="utf-8"))["all"]["vars"]
    variables = {
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(lab.key),
        "ansible_ssh_common_args": shlex.join(lab.ssh_options),
        "ansible_python_interpreter": "/usr/bin/python3",
    } | {name: known.get(name) or secrets.token_hex(32) for name in SECRETS}
    hosts = {
        host: {"ansible_host": address, "ansible_port": 22} for host, address in addresses.items()
    }
    text = yaml.safe_dump({"all": {"vars": variables, "hosts": hosts}}, sort_keys=False)
    new = lab.inventory.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    new.replace(lab.inventory)


def _remove_containers(lab: Lab, hosts: Iterable[str]) -> None:
    names = [f"{lab.id}-{host}" for host in hosts]
    if names:
        docker("rm", "--force", "--volumes", *names)
