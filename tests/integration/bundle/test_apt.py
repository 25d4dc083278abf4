"""The real apt of this machine: what it refuses of a mirror, and that it reads a bundle's list.

The mirrors here are folders that this test serves on loopback; their lists are signed by nobody.
"""

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.bundle import BundleError, apt
from scripts.bundle.content import list_package
from scripts.bundle.targets import ROLES, Target
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


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the role `bundle` puts on a host, at another place: a package, and how apt finds it."""
    place = tmp_path / "packages"
    (place / "lists" / "partial").mkdir(parents=True)
    control = tmp_path / "one" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(
        "Package: nova-test-one\nVersion: 5:1.0-1\nArchitecture: all\nMaintainer: A <a@b.test>\n"
        "Description: nothing\n"
    )
    deb = tmp_path / "as apt names it%3a.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "one", deb], check=True, capture_output=True)
    listed = list_package(deb)
    (place / "Packages").write_text(listed["paragraph"])
    (place / "debs").mkdir()
    shutil.copy(deb, place / "debs" / listed["file"])
    for name in ("apt.conf", "sources.list"):
        text = (ROLES / "bundle" / "files" / name).read_text()
        (place / name).write_text(text.replace("/opt/nova/packages", str(place)))
    return place


def apt_get(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run apt as the playbooks do, in a folder of its own."""
    return subprocess.run(
        ["apt-get", "--quiet", *arguments],
        env=os.environ | {"APT_CONFIG": str(repository / "apt.conf"), "LC_ALL": "C"},
        cwd=repository.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_apt_finds_the_packages_of_a_bundle_and_asks_nobody_else(repository: Path) -> None:
    done = apt_get(repository, "update")
    assert done.returncode == 0, done.stderr
    assert "://" not in done.stdout
    done = apt_get(repository, "download", "nova-test-one")
    assert done.returncode == 0, done.stderr
    assert list(repository.parent.glob("nova-test-one_5%3a1.0-1_all.deb"))
    assert apt_get(repository, "download", "bash").returncode != 0


def test_apt_refuses_a_package_that_is_not_as_the_list_says(repository: Path) -> None:
    [deb] = (repository / "debs").iterdir()
    content = deb.read_bytes()
    deb.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert apt_get(repository, "update").returncode == 0
    done = apt_get(repository, "download", "nova-test-one")
    assert done.returncode != 0
    assert "Hash Sum mismatch" in done.stderr
