"""Create, destroy and show lab hosts: python -m scripts.lab --help."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from scripts.lab.docker import STATE, LabError
from scripts.lab.hosts import (
    Lab,
    create,
    destroy,
    host_states,
    in_parallel,
    is_isolated,
    releases_of,
)
from scripts.lab.image import ensure_image, remove_images
from scripts.mirrors import machine_mirrors


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    image = commands.add_parser("image", help="build the images that hosts are made from")
    image.add_argument("release", nargs="+", help="Debian release: bookworm, trixie")
    up = commands.add_parser("create", help="bring up the hosts of an inventory; repeatable")
    up.add_argument("name", help="name of the lab")
    up.add_argument("--inventory", type=Path, required=True, help="static inventory with the hosts")
    commands.add_parser("destroy", help="remove a lab").add_argument("name")
    commands.add_parser("status", help="show labs").add_argument("name", nargs="?")
    commands.add_parser("remove-images", help="remove the cached images")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if options.command == "image":
        mirrors = machine_mirrors()
        in_parallel(lambda release: print(ensure_image(release, mirrors)), options.release)
    elif options.command == "create":
        create(Lab(options.name), releases_of(options.inventory), is_isolated(options.inventory))
        print(Lab(options.name).inventory)
    elif options.command == "destroy":
        destroy(Lab(options.name))
    elif options.command == "remove-images":
        remove_images()
    else:
        show(options.name)


def show(name: str | None) -> None:
    """Print one line for each host: lab, host, state."""
    names = [name] if name else sorted(path.parent.name for path in STATE.glob("*/hosts.yml"))
    for lab in names:
        for host, state in sorted(host_states(Lab(lab)).items()):
            print(f"{lab}\t{host}\t{state}")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run one command; a failure is one line on standard error."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        run(parse())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
