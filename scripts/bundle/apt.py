"""Fetch Debian packages for a host of any Debian release, with the apt of this machine.

Without root: apt gets folders of its own, the sources of the other release, and an empty list of
installed packages. So it fetches what is asked for and all that these need, down to the C library.
What it fetches is what the archive has signed, or nothing.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from scripts.bundle import BundleError
from scripts.bundle.targets import Target
from scripts.mirrors import KEYRING, Mirrors, source

#: Read after the machine's own configuration, of which proxies and certificates stay.
CONFIGURATION = """\
#clear APT::Architectures;
#clear APT::Update;
#clear APT::NeverAutoRemove;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::State "{folder}/state/";
Dir::State::lists "{folder}/state/lists/";
Dir::State::status "{folder}/state/status";
Dir::State::extended_states "{folder}/state/extended_states";
Dir::Cache "{folder}/cache/";
Dir::Cache::archives "{folder}/cache/archives/";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/sources/";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{folder}/none/";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "{folder}/none/";
"""
FOLDERS = ("state/lists/partial", "cache/archives/partial", "sources", "none")
#: What apt says -> what it means for the person who makes a bundle. The first that fits counts.
MEANINGS = {
    r"NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|is not signed|no longer signed": "the package lists are "
    "not signed by a key of debian-archive-keyring, and nothing of them is used; a newer "
    "debian-archive-keyring may help",
    r"is expired|not valid yet": "the package lists are too old, or this machine's clock is wrong",
    r"Hash Sum mismatch|unexpected size": "a file is not what the signed package lists say; the "
    "mirror is perhaps being updated: try again later",
    r"Could not resolve|Temporary failure|[Cc]ould not connect|Unable to connect|Cannot initiate"
    r"|timed out|Connection failed|unreachable|Could not handshake": "the Debian mirror cannot be "
    "reached; check the network and this machine's apt sources",
    r"404 |does not have a Release file": "the mirror of this machine's apt does not have it; name "
    "a mirror of Debian with --mirror and --security-mirror",
    r"No space left": "the disk is full",
}


def fetch(
    target: Target, packages: Iterable[str], mirrors: Mirrors, folder: Path
) -> tuple[list[Path], dict[str, str]]:
    """Fetch packages and all that they need; return the files, and the date of each list.

    Raises:
        BundleError: apt or its keys are missing, there is no such package, the mirror cannot be
            reached, or what it has is not signed.
    """
    configuration = prepare(target, mirrors, folder)
    _apt_get(target, configuration, "update")
    _apt_get(target, configuration, "install", "--yes", "--download-only", *sorted(packages))
    files = sorted((folder / "cache" / "archives").glob("*.deb"))
    return files, list_dates(folder / "state" / "lists")


def prepare(target: Target, mirrors: Mirrors, folder: Path) -> Path:
    """Write what apt needs for the release of a target; return its configuration file."""
    if not KEYRING.is_file():
        raise BundleError(f"{KEYRING} is missing; install debian-archive-keyring")
    if not (mirrors.archive and mirrors.security):
        raise BundleError(
            "this machine's apt has no Debian mirror with security updates; name both with "
            "--mirror and --security-mirror"
        )
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    (folder / "state" / "status").touch()
    suites = (
        source(mirrors.archive, f"{target.codename} {target.codename}-updates"),
        source(mirrors.security, f"{target.codename}-security"),
    )
    (folder / "sources" / "debian.sources").write_text("\n".join(suites), encoding="utf-8")
    configuration = folder / "apt.conf"
    text = CONFIGURATION.format(arch=target.debian_arch, folder=folder)
    configuration.write_text(text, encoding="utf-8")
    return configuration


def _apt_get(target: Target, configuration: Path, *arguments: str) -> None:
    environment = os.environ | {"LC_ALL": "C"}  # its messages are read
    command = ["apt-get", "--quiet", "--config-file", str(configuration), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BundleError("apt-get is missing; make bundles on Debian or Ubuntu") from error
    if done.returncode != 0:
        raise BundleError(f"{target.name}: {explain(done.stderr)}")


def explain(stderr: str) -> str:
    """Make one line of what apt said."""
    unknown = re.findall(
        r"Unable to locate package (\S+)|Package '?(\S+?)'? has no installation", stderr
    )
    if unknown:
        names = ", ".join(sorted({first or second for first, second in unknown}))
        return f"Debian has no package {names}; see the variables *_packages, and --package"
    for pattern, meaning in MEANINGS.items():
        if re.search(pattern, stderr):
            return meaning
    lines = [line for line in stderr.splitlines() if line.startswith("E: ")]
    return (lines or stderr.strip().splitlines() or ["apt-get failed"])[-1].removeprefix("E: ")


def list_dates(lists: Path) -> dict[str, str]:
    """Return suite -> when the archive made its list, in UTC, as ISO 8601."""
    dates = {}
    for path in sorted(lists.glob("*_InRelease")):
        text = path.read_text(encoding="utf-8")
        fields = dict(re.findall(r"^(Codename|Date): (.+)$", text, re.MULTILINE))
        moment = parsedate_to_datetime(fields["Date"]).astimezone(UTC)
        dates[fields["Codename"]] = format_time(moment)
    return dates


def format_time(moment: datetime) -> str:
    """Return a moment as manifests have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def control_of(deb: Path) -> str:
    """Return the control paragraph of a package file.

    Raises:
        BundleError: it is no package.
    """
    command = ["dpkg-deb", "--field", str(deb)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BundleError(f"{deb.name} is no Debian package: {done.stderr.strip()}")
    return done.stdout.strip()
