"""What a bundle is for, and what hosts of that kind install.

Roles say themselves which packages they install; this only collects it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts import build_release
from scripts.bundle import BundleError

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
ROLES = ANSIBLE / "roles"
PLAYBOOK = ANSIBLE / "playbooks" / "targets.yml"
#: Debian release -> its code name, and the Python that its hosts have.
RELEASES = {"12": ("bookworm", "3.11"), "13": ("trixie", "3.13")}
#: Architecture, as the kernel says it -> as Debian says it.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, order=True)
class Target:
    """A kind of host: a Debian release on an architecture."""

    debian: str
    arch: str

    @property
    def name(self) -> str:
        """Name on the command line and in manifests, such as `debian-12-x86_64`."""
        return f"debian-{self.debian}-{self.arch}"

    @property
    def codename(self) -> str:
        """Debian's own name of the release."""
        return RELEASES[self.debian][0]

    @property
    def debian_arch(self) -> str:
        """Debian's own name of the architecture."""
        return ARCHITECTURES[self.arch]

    @property
    def wheels(self) -> build_release.Target:
        """The same for the release builder."""
        return build_release.Target(RELEASES[self.debian][1], self.arch)


TARGETS = [Target(debian, arch) for debian in RELEASES for arch in ARCHITECTURES]


def parse(name: str) -> Target:
    """Return the target with this name.

    Raises:
        BundleError: there is none.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    known = ", ".join(target.name for target in TARGETS)
    raise BundleError(f"{name} is no target of bundles; these are: {known}")


def role_packages(roles: Path = ROLES) -> set[str]:
    """Return the Debian packages that roles install: their variables `*_packages`."""
    found: set[str] = set()
    for role in sorted(path.name for path in roles.iterdir()):
        for file, name in (("vars", f"__{role}_packages"), ("defaults", f"{role}_packages")):
            path = roles / role / file / "main.yml"
            variables = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else None
            found.update((variables or {}).get(name, []))
    return found


def of_inventory(inventories: Iterable[Path], options: list[str]) -> tuple[set[Target], set[str]]:
    """Ask the hosts of an inventory; return their targets, and packages that it names itself.

    Raises:
        BundleError: hosts could not be asked, or are of a kind that bundles are not made for.
    """
    targets: set[Target] = set()
    packages: set[str] = set()
    for host, answer in _ask(inventories, options).items():
        try:
            targets.add(parse(f"{answer['system']}-{answer['version']}-{answer['architecture']}"))
        except BundleError as error:
            raise BundleError(f"{host}: {error}") from error
        packages.update(answer["packages"])
    if not targets:
        raise BundleError("the inventory has no hosts in the groups nova and frontend")
    return targets, packages


def _ask(inventories: Iterable[Path], options: list[str]) -> dict[str, dict[str, Any]]:
    for path in inventories:
        if not path.exists():
            raise BundleError(f"there is no inventory {path}")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "targets.json"
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *(f"--inventory={path}" for path in inventories),
                *("-e", f"output={output}", str(PLAYBOOK), *options),
            ],
            env=os.environ | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg")},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not output.exists():
            sys.stderr.write(done.stdout)
            raise BundleError("the hosts could not be asked, see above; or name --target instead")
        found: dict[str, dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))
        return found
