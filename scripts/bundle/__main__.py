"""Make and verify bundles: all that hosts without a network need of packages and releases.

    python -m scripts.bundle make -i ansible/inventories/production
    python -m scripts.bundle make --target debian-12-x86_64 --target debian-13-x86_64
    python -m scripts.bundle verify .nova/bundle

The first asks the hosts what they are; the second asks none. The folder goes to a controller that
reaches the hosts: ansible-playbook ... playbooks/site.yml -e bundle=FOLDER. docs/operations.md,
"Hosts without a network", has the rest.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from scripts.bundle import BundleError
from scripts.bundle.content import Maker, Manifest, verify
from scripts.bundle.targets import ROOT, of_inventory, parse, role_packages
from scripts.mirrors import Mirrors, machine_mirrors


def read(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bundle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser(
        "make",
        help="make a bundle, replacing the one before",
        epilog="example: python -m scripts.bundle make --target debian-13-x86_64 --output mine",
    )
    making.add_argument(
        "-i", "--inventory", type=Path, action="append", default=[], help="ask its hosts"
    )
    making.add_argument(
        "--target", action="append", default=[], help="such as debian-12-x86_64; asks no host"
    )
    making.add_argument("--release", default="", help="as for build_release.py; this checkout")
    making.add_argument(
        "--package", action="append", default=[], help="one that hosts need besides"
    )
    making.add_argument("--output", type=Path, default=ROOT / ".nova" / "bundle")
    making.add_argument("--mirror", help="URL of a Debian mirror; that of this machine's apt")
    making.add_argument("--security-mirror", help="the same for security updates")
    making.add_argument("options", nargs="*", help="for ansible-playbook, after --")
    verifying = commands.add_parser(
        "verify",
        help="check a bundle; prints its manifest",
        epilog="example: python -m scripts.bundle verify .nova/bundle",
    )
    verifying.add_argument("folder", type=Path)
    return parser.parse_args(arguments)


def make(options: argparse.Namespace) -> None:
    """Make a bundle, and say what is in it."""
    targets = {parse(name) for name in options.target}
    packages = role_packages() | set(options.package)
    if options.inventory:
        asked, named = of_inventory(options.inventory, options.options)
        targets |= asked
        packages |= named
    if not targets:
        raise BundleError("say for whom: -i INVENTORY, or --target debian-12-x86_64")
    own = machine_mirrors()
    mirrors = Mirrors(
        options.mirror or own.archive, options.security_mirror or own.security, own.proxy
    )
    maker = Maker(frozenset(packages), mirrors, options.release)
    summarise(maker.make(targets, options.output.absolute()), options.output)


def summarise(manifest: Manifest, folder: Path) -> None:
    """Print what a bundle has, a line for each target."""
    megabytes = sum(entry["size"] for entry in manifest["files"].values()) / 1_000_000
    print(f"{folder}: release {manifest['release']}, {megabytes:.0f} MB")
    for name, target in manifest["targets"].items():
        dates = ", ".join(f"{suite} of {date}" for suite, date in target["package_lists"].items())
        print(f"  {name}: {len(target['packages'])} packages; {dates}")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run one command; a failure is one line on standard error."""
    signal.signal(signal.SIGTERM, _terminate)
    options = read()
    try:
        if options.command == "make":
            make(options)
        else:
            folder = options.folder.absolute()
            print(json.dumps(verify(folder) | {"folder": str(folder)}))
    except BundleError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bundle: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bundle: interrupted; nothing was left", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
