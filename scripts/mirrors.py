"""Where this machine gets Debian packages: its own apt knows, and no file of the project does."""

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

#: Keys of the Debian archive; the package debian-archive-keyring brings them.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Mirrors:
    """Where this machine gets Debian packages; empty strings where it has no such source."""

    archive: str = ""
    security: str = ""
    proxy: str = ""

    def hosts(self) -> list[str]:
        """Return `name:address` for each mirror, as Docker's --add-host wants it.

        A container may not resolve names as this machine does (/etc/hosts, a local resolver).
        """
        urls = (self.proxy or self.archive, self.proxy or self.security)
        names = {urlsplit(url).hostname for url in urls}
        return [
            f"{name}:{address}" for name in sorted(filter(None, names)) if (address := _ipv4(name))
        ]


def _ipv4(name: str) -> str:
    try:
        return str(socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0])
    except OSError:
        return ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def machine_mirrors() -> Mirrors:
    """Read the Debian mirrors that this machine's own apt is configured with."""
    archive = security = ""
    for line in _output(
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ).splitlines():
        site, suite, component = line.split(" ", 2)
        if component != "main":
            continue
        if suite.endswith("-security"):
            security = security or _first_mirror(site)
        elif suite.endswith("-updates"):  # only the archive has updates; third parties do not
            archive = archive or _first_mirror(site)
    proxy = _output("apt-config", "shell", "proxy", "Acquire::http::Proxy")
    return Mirrors(archive, security, proxy.partition("=")[2].strip().strip("'"))


def _first_mirror(site: str) -> str:
    """Return the URL itself, or the first one of the list that a mirror+file: URL names."""
    if not site.startswith("mirror+file:"):
        return site
    for line in Path(urlsplit(site).path).read_text(encoding="utf-8").splitlines():
        if line.startswith("http"):
            return line.split()[0]
    return ""


def source(url: str, suites: str) -> str:
    """Return a paragraph of apt's sources."""
    return f"Types: deb\nURIs: {url}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n"
