"""Runs the lab fleet: `python -m scripts.fleet --help`."""

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import httpx

from nova.terminal import console
from scripts.fleet.hosts import (
    INVENTORY,
    LAB,
    address_of,
    converge,
    hosts_of,
    on_host,
    show_hosts,
    show_urls,
)
from scripts.fleet.screen import done
from scripts.fleet.work import SAMPLES, Step, real_data, show_reports, work
from scripts.lab.docker import LabError
from scripts.lab.hosts import create, destroy, hosts_exist, releases_of
from scripts.lab.image import remove_images


def up(steps: Iterable[Step]) -> None:
    """Create, converge, load data, run each domain, show what came out. Can be repeated.

    Raises:
        LabError: a step failed; the message is one line.
        httpx.HTTPError: the API does not answer.
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
        reports = work(api, steps)
    show_reports(reports)
    show_hosts()
    show_urls(api_url)


def down() -> None:
    """Remove the hosts, their network, keys, secrets, and images that no other lab uses."""
    destroy(LAB)
    if hosts_exist():
        console.print("The fleet is gone. Its images stay: another lab uses them.")
        return
    remove_images()
    console.print("The fleet is gone, and so are its images.")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.fleet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parser_up = commands.add_parser("up", help="a fleet that does real work")
    parser_up.add_argument(
        "data",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="youtube_trending_us.csv and youtube_studio_export.csv are there; "
        "default: the samples of this checkout",
    )
    commands.add_parser("down", help="remove it")
    return parser.parse_args()


def main() -> int:
    """Run one command; a failure is one line on standard error."""
    options = parse()
    try:
        if options.command == "down":
            down()
        else:
            up(real_data(options.data) if options.data else SAMPLES)
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
