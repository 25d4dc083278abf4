"""A three-host fleet in the lab that does real work: python -m scripts.fleet up | down."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.lab.docker import ROOT, LabError
from scripts.lab.hosts import Lab, create, destroy, hosts_exist, in_parallel, releases_of
from scripts.lab.image import remove_images

LAB = Lab("fleet")
INVENTORY = ROOT / "ansible" / "inventories" / "lab"
SAMPLE = ROOT / "config" / "samples" / "channel_metrics.csv"
GOVERNANCE_DEADLINE_SECONDS = 120
REASONS_SHOWN = 2
UNITS = "'celery-*.service' 'nova-*' 'flower*' 'redis-server*' nova.target"

console = Console()


def up() -> None:
    """Create, converge, load data, run governance, show what came out. Can be repeated.

    Raises:
        LabError: a step failed; the message is one line.
    """
    started = time.monotonic()
    with console.status("Creating the hosts (the first time, their image too)"):
        create(LAB, releases_of(INVENTORY))
    done("hosts", "three Debian machines with systemd, reached over SSH", started)
    started = time.monotonic()
    converge()
    done("converge", "ansible/playbooks/site.yml, as in production", started)
    api_host = hosts_of("api")[0]
    api_url = f"http://{address_of(api_host)}:8000"
    token = on_host(api_host, "sudo nova token create --role admin")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=api_url, headers=headers, timeout=60) as api:
        ingest(api)
        report = run_governance(api)
    show_hosts()
    show_report(report)
    show_urls(api_url)


def down() -> None:
    """Remove the hosts, their network, keys, secrets, and images that no other lab uses."""
    destroy(LAB)
    if hosts_exist():
        console.print("The fleet is gone. Its images stay: another lab uses them.")
        return
    remove_images()
    console.print("The fleet is gone, and so are its images.")


def done(step: str, what: str, started: float) -> None:
    """Print that a step is done, and how long it took."""
    console.print(f"[green]done[/green] {step:10} {what} ({time.monotonic() - started:.0f} s)")


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


def ingest(api: httpx.Client) -> None:
    """Upload the sample channel metrics."""
    started = time.monotonic()
    result = answer(
        api.post("/api/metrics", content=SAMPLE.read_bytes(), headers={"Content-Type": "text/csv"}),
        httpx.codes.OK,
    )
    done("ingest", f"{result['rows_read']} rows of {SAMPLE.relative_to(ROOT)}", started)


def run_governance(api: httpx.Client) -> dict[str, Any]:
    """Trigger governance as the guide does, wait for the task, return its report.

    Raises:
        LabError: the task failed or did not end in time.
    """
    started = time.monotonic()
    accepted = answer(
        api.post("/api/celery/governance/run", json={"auto_actions": False}), httpx.codes.ACCEPTED
    )
    with console.status(f"Governance runs: {accepted['status_url']}"):
        while True:
            task = answer(api.get(accepted["status_url"]), httpx.codes.OK)
            if task["state"] in ("SUCCESS", "FAILURE", "REVOKED"):
                break
            if time.monotonic() - started > GOVERNANCE_DEADLINE_SECONDS:
                raise LabError(
                    f"governance is still {task['state']} after {GOVERNANCE_DEADLINE_SECONDS} s"
                )
            time.sleep(0.5)
    if task["state"] != "SUCCESS":
        raise LabError(f"governance ended as {task['state']}: {task['error']}")
    done("governance", f"task {accepted['task_id']}", started)
    return answer(api.get(f"/api/governance/reports/{accepted['task_id']}"), httpx.codes.OK)


def answer(response: httpx.Response, wanted: int) -> dict[str, Any]:
    """Return the answer's JSON.

    Raises:
        LabError: the status is another than wanted; the message has the API's own words.
    """
    if response.status_code != wanted:
        request = response.request
        raise LabError(
            f"{request.method} {request.url} answered {response.status_code}: {response.text[:300]}"
        )
    content: dict[str, Any] = response.json()
    return content


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


def show_report(report: dict[str, Any]) -> None:
    """Print the best and worst channels of a governance report, with flags and reasons."""
    window = report["window"]
    table = Table(
        title=f"Governance: {report['channels_judged']} channels judged on "
        f"{len(window['days_used'])} days, {window['start']} to {window['end']}",
        title_justify="left",
    )
    for heading in ("channel", "score", "flag", "reasons"):
        table.add_column(heading, overflow="fold")
    for section in ("top", "bottom"):
        for verdict in report[section][:5]:
            score = "" if verdict["score"] is None else f"{verdict['score']:.2f}"
            table.add_row(
                escape(verdict["channel"]),
                score,
                verdict["flag"],
                escape(_reasons(verdict["reasons"])),
            )
        table.add_section()
    console.print(table)
    console.print(escape(report["enforcement"]["note"]))


def _reasons(reasons: list[str]) -> str:
    shown = reasons[:REASONS_SHOWN]
    more = len(reasons) - len(shown)
    return "\n".join(shown + ([f"and {more} more"] if more else []))


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


def main() -> int:
    """Run one command; a failure is one line on standard error."""
    commands: dict[str, Callable[[], None]] = {"up": up, "down": down}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print("usage: python -m scripts.fleet up | down", file=sys.stderr)
        return 2
    try:
        commands[sys.argv[1]]()
    except LabError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"fleet: the API does not answer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fleet: interrupted; make fleet-down removes what is there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
