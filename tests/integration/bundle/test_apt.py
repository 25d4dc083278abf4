"""The real apt of this machine: what it refuses of a mirror, and that it reads a bundle's list.

The mirrors here are folders that this test serves on loopback; their lists are signed by nobody.
"""

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.bundle import BundleError, apt
from scripts.bundle.targets import Target
from scripts.mirrors import Mirrors

TARGET = Target("13", "x86_64")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """URL of a mirror with the lists of a release, which are whole and not signed."""
    folder = tmp_path / "mirror"
    for suite in ("trixie", "trixie-updates", "trixie-security"):
        dist = folder / "dists" / suite
        packages = dist / "main" / "binary-amd64" / "Packages.gz"
        packages.parent.mkdir(parents=True)
        packages.write_bytes(gzip.compress(b""))
        digest, size = hashlib.sha256(packages.read_bytes()).hexdigest(), packages.stat().st_size
        (dist / "Release").write_text(
            f"Codename: {suite}\nSuite: {suite}\nDate: {formatdate(usegmt=True)}\n"
            "Architectures: amd64\nComponents: main\n"
            f"SHA256:\n {digest} {size} main/binary-amd64/Packages.gz\n"
        )
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_mirror_that_nobody_signed_is_refused(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="debian-13-x86_64: the package lists are not signed"):
        apt.fetch(TARGET, ["procps"], Mirrors(mirror, mirror), tmp_path / "work")
    assert not list((tmp_path / "work" / "cache" / "archives").glob("*.deb"))


def test_a_mirror_without_the_release_is_refused(mirror: str, tmp_path: Path) -> None:
    """Such as a mirror of another distribution."""
    with pytest.raises(BundleError, match=r"does not have it; name a mirror of Debian"):
        apt.fetch(Target("12", "x86_64"), ["procps"], Mirrors(mirror, mirror), tmp_path / "work")


def test_a_mirror_that_does_not_answer_is_named_as_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gone = f"http://127.0.0.1:{port}"
    with pytest.raises(BundleError, match="the Debian mirror cannot be reached") as caught:
        apt.fetch(TARGET, ["procps"], Mirrors(gone, gone), tmp_path / "work")
    assert "\n" not in str(caught.value)
