"""Show a fleet on one screen: python -m scripts.fleet_status -i ansible/inventories/production.

Runs ansible/playbooks/status.yml, which asks the hosts, and shows what they said. What follows `--`
goes to ansible-playbook, such as `-- --ask-vault-pass`.
"""

import sys
from typing import Any

from rich.markup import escape
from rich.table import Table

from nova.runtime.redis_status import SentinelStatus
from nova.terminal import console, new_list
from scripts.fleet_answers import ask, parser_of, tell


def host_table(hosts: dict[str, dict[str, Any]]) -> Table:
    """One line a host: release, free space, clock, and units that are not as they should be."""
    table = new_list("host", "release", "free MB /opt", "/var", "clock", "units")
    for name, survey in hosts.items():
        if not survey:
            table.add_row(escape(name), "[red]not reached[/red]", "", "", "", "")
            continue
        free = survey["free_megabytes"]
        table.add_row(
            escape(name),
            escape(survey["release"] or "none") + (" (unfinished)" if survey["pending"] else ""),
            f"{free['/opt']:,}",
            f"{free['/var']:,}",
            escape(survey["clock"]),
            escape(unit_line(survey["units"] | survey["debian_units"])),
        )
    return table


def unit_line(units: dict[str, dict[str, Any]]) -> str:
    """Say how many units run, and which are not as they should be."""
    odd = [
        f"{name} {unit['state']}{', out of date' if unit['stale'] else ''}"
        for name, unit in units.items()
        if unit["enabled"] and (unit["state"] != "active" or unit["stale"])
    ]
    running = sum(unit["state"] == "active" for unit in units.values())
    return "; ".join([f"{running} run", *odd])


def worker_table(workers: list[dict[str, Any]]) -> Table:
    """One line a worker."""
    table = new_list("worker", "state", "release", "running", "processes")
    for worker in workers:
        numbers = (str(worker["active"]), str(worker["concurrency"]))
        row = (worker["name"], worker["state"], worker["release"], *numbers)
        table.add_row(*map(escape, row))
    return table


def show(found: dict[str, Any]) -> None:
    """Print all of it."""
    console.print(host_table(found["hosts"]))
    for host, problem in found["problems"].items():
        console.print(f"[red]{escape(f'{host}: {problem}')}[/red]")
    fleet = found["fleet"]
    if not fleet:
        console.print("[red]No host could say how the fleet is.[/red]")
        return
    console.print(worker_table(fleet["workers"]))
    queues = new_list("queue", "waiting", "dead letters")
    for name, waiting in fleet["queues"].items():
        queues.add_row(name, f"{waiting:,}", f"{fleet['dead_letters'][name]:,}")
    console.print(queues)
    beat = fleet["beat"]
    console.print(escape(f"Beat: {beat['host']} leads." if beat else "Beat: none leads."))
    server = fleet["redis"]
    console.print(escape(f"Redis: {server['address']}, {server['version']}, {server['role']}."))
    for replica in server["replicas"]:
        line = (
            f"  {replica['address']}: {replica['state']}, {replica['behind_bytes']:,} bytes behind"
        )
        console.print(escape(line))
    # A host may have a release that does not know of them yet.
    for sentinel in fleet.get("sentinels", []):
        console.print(escape(f"  {SentinelStatus.model_validate(sentinel).line()}"))
    lock = (found["operations"] or {}).get("lock")
    console.print(escape(f"Lock: {lock['owner']}, {lock['reason']}." if lock else "Lock: free."))


def main() -> int:
    """Show it; exit 1 if a host was not reached, or could not say how the fleet is."""
    options = parser_of("fleet_status", __doc__).parse_args()
    found = ask("status.yml", options)
    return tell(found, options, show)


if __name__ == "__main__":
    sys.exit(main())
