"""The hosts of the lab fleet: converged, asked, shown."""

import os
import subprocess
import sys
from pathlib import Path

import yaml
from rich.markup import escape
from rich.table import Table

from nova.terminal import console
from scripts.lab.docker import ROOT, LabError
from scripts.lab.hosts import Lab, in_parallel, releases_of

LAB = Lab("fleet")
INVENTORY = ROOT / "ansible" / "inventories" / "lab"
UNITS = "'celery-*.service' 'nova-*' 'flower*' 'redis-server*' nova.target"


def converge() -> None:
    """Run site.yml on the lab; its output goes to a log, the current task to the screen.

    Raises:
        LabError: the playbook failed; its fatal lines have been printed.
    """
    log = LAB.folder / "converge.log"
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        f"--inventory={INVENTORY}",
        f"--inventory={LAB.inventory}",
        str(ROOT / "ansible" / "playbooks" / "site.yml"),
    ]
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible" / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
    }
    with log.open("w", encoding="utf-8") as stream, console.status("Converging") as status:
        playbook = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert playbook.stdout is not None  # noqa: S101 - asked for above
        for line in playbook.stdout:
            stream.write(line)
            if line.startswith(("TASK [", "RUNNING HANDLER [")):
                status.update(f"Converging: {escape(line.partition('[')[2].split(']')[0])}")
            elif line.startswith(("fatal:", "ERROR", "[ERROR]")):
                console.print(line.rstrip(), style="red", markup=False)
    if playbook.wait() != 0:
        raise LabError(f"ansible-playbook failed; all of its output: {log}")


def hosts_of(group: str) -> list[str]:
    """Return the names of a group's hosts in the lab's inventory."""
    tree = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
    return list(tree["nova"]["children"][group]["hosts"])


def address_of(host: str) -> str:
    """Return the address of a lab host."""
    inventory = yaml.safe_load(LAB.inventory.read_text(encoding="utf-8"))
    return str(inventory["all"]["hosts"][host]["ansible_host"])


def on_host(host: str, command: str) -> str:
    """Run a command on a lab host over SSH and return what it printed.

    Raises:
        LabError: it failed; the message has its last line.
    """
    result = subprocess.run(
        LAB.ssh_command(address_of(host), command), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise LabError(f"on {host}: {command}: {lines[-1]}")
    return result.stdout.strip()


def show_hosts() -> None:
    """Print each host with the units that run on it."""
    table = Table(title="Hosts", title_justify="left")
    for heading in ("host", "Debian", "address", "units"):
        table.add_column(heading, overflow="fold")
    releases = releases_of(INVENTORY)
    names = list(releases)
    listing = in_parallel(
        lambda host: on_host(host, f"systemctl list-units --plain --no-legend {UNITS}"), names
    )
    for host, lines in zip(names, listing, strict=True):
        units = [line.split()[:4] for line in lines.splitlines()]
        text = "\n".join(
            f"{unit.removesuffix('.service')} {_colour(state)}" for unit, _, state, _ in units
        )
        table.add_row(host, releases[host], address_of(host), text)
    console.print(table)


def _colour(state: str) -> str:
    return f"[{'green' if state == 'active' else 'red'}]{state}[/]"


def show_urls(api_url: str) -> None:
    """Print where a person on this machine can look, and how to get in: lines to copy."""
    flower = f"http://{address_of(hosts_of('flower')[0])}:5555"
    inventory, key, known_hosts = (
        path.relative_to(ROOT) for path in (LAB.inventory, LAB.key, LAB.known_hosts)
    )
    host = hosts_of("api")[0]
    login = f"ssh -i {key} -o UserKnownHostsFile={known_hosts} operator@{address_of(host)}"
    print("\nOpen on this machine")
    print(f"  API documentation  {api_url}/docs")
    print(f"  Metrics            {api_url}/metrics")
    print(f"  Flower             {flower}   user admin, flower_password in {inventory}")
    print(f"  Log in to {host:8} {login}")
    print("  Remove all of it   make fleet-down")
