"""Where pip of this machine gets packages from, as hosts of the lab are told."""

import ast
import re
import subprocess
import sys

from bench.fleet import BenchError

#: Options of pip that say where packages come from; a path of this machine says nothing to a host.
URLS = ("index-url", "extra-index-url", "find-links")
OTHERS = ("trusted-host", "proxy", "timeout", "default-timeout", "disable-pip-version-check")
CERTIFICATES = "cert"
#: Where a host finds the certificates that pip of this machine trusts.
CERTIFICATES_ON_HOST = "/etc/ssl/nova-bench-pip.pem"


def configuration() -> dict[str, str]:
    """Return pip's options of this machine."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    return parse(listing.stdout)


def parse(listing: str) -> dict[str, str]:
    """Return option -> value, from the output of `pip config list`.

    What is set in the environment goes first, then what is set for `pip install`.
    """
    ranks = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        match = re.match(r"^(global|install|:env:)\.([\w-]+)=(.+)$", line)
        if match:
            where, option, value = ranks[match[1]], match[2], str(ast.literal_eval(match[3]))
            found[option] = max(found.get(option, (where, value)), (where, value))
    return {option: value for option, (_, value) in found.items()}


def environment(options: dict[str, str]) -> dict[str, str]:
    """Return the environment of pip on a host.

    Raises:
        BenchError: this machine's index is a folder of its own.
    """
    if options.get("index-url", "https:").startswith("file:"):
        raise BenchError("pip's index-url is a folder of this machine, which hosts do not have")
    values = {
        option: " ".join(url for url in options.get(option, "").split() if re.match("https?:", url))
        for option in URLS
    }
    values |= {option: options.get(option, "") for option in OTHERS}
    if options.get(CERTIFICATES):
        values[CERTIFICATES] = CERTIFICATES_ON_HOST
    return {variable(option): value for option, value in values.items() if value}


def variable(option: str) -> str:
    """Return the environment variable of an option of pip."""
    return f"PIP_{option.upper().replace('-', '_')}"
