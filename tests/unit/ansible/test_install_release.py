"""`install_release.sh`: what it leaves of the releases that a host has had.

A stand-in takes the place of uv, which would make the virtual environment.
"""

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "ansible" / "roles" / "release" / "files" / "install_release.sh"
UV = '#!/bin/sh\n[ "$1" = pip ] || for folder; do :; done\n[ "$1" = pip ] || mkdir -p "$folder"\n'


class Host:
    """The folder /opt/nova of a host, on which releases are installed and switched."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.releases = root / "releases"
        self.releases.mkdir()
        (root / "before").mkdir()

    def install(self, release: str, keep: int = 3) -> subprocess.CompletedProcess[str]:
        """Push a release's archive, and run the script."""
        content = self.root / "content"
        for folder in ("systemd", "commands", "wheels"):
            (content / folder).mkdir(parents=True, exist_ok=True)
        for name in ("queues.yml", "requirements.txt"):
            (content / name).touch()
        (content / "RELEASE").write_text(release)
        (content / "uv").write_text(UV)
        (content / "uv").chmod(0o755)
        archive = self.releases / f"{release}.tar.gz"
        with tarfile.open(archive, "w:gz") as package:
            for path in content.iterdir():
                package.add(path, arcname=path.name)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        return subprocess.run(
            ["sh", str(PROGRAM), str(self.releases / release), digest, str(keep)],
            capture_output=True,
            text=True,
            check=False,
        )

    def switch(self, release: str) -> None:
        """Make a release the current one, as `nova-host save` and `switch` do."""
        current = self.root / "current"
        before = current.resolve().name if current.exists() else ""
        (self.root / "before/state.json").write_text(json.dumps({"release": before, "running": []}))
        (self.root / "before/pending").touch()
        if before:
            (self.releases / before / "ran-well").touch()
        self.point_to(release)

    def point_to(self, release: str) -> None:
        """Change the link."""
        (self.root / "current").unlink(missing_ok=True)
        (self.root / "current").symlink_to(f"releases/{release}")

    def settle(self) -> None:
        """End a roll."""
        (self.root / "before/pending").unlink()

    def roll(self, release: str, fails: bool = False, keep: int = 3) -> None:
        """Install a release and switch to it, and back again if it fails."""
        before = (self.root / "current").resolve().name
        done = self.install(release, keep)
        assert (done.returncode, done.stderr) == (0, "")
        self.switch(release)
        if fails:
            self.point_to(before)
        self.settle()

    def has(self) -> list[str]:
        """The releases on the host."""
        return sorted(path.name for path in self.releases.iterdir())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_newest_releases_are_kept(host: Host) -> None:
    for release in "abcde":
        host.roll(release)
    assert host.has() == ["c", "d", "e"]


def test_releases_that_failed_push_out_none_that_ran_well(host: Host) -> None:
    """`nova release previous` names a, which rollback.yml wants on every host."""
    host.roll("a")
    host.roll("b")
    for release in "cdef":
        host.roll(release, fails=True)
        assert {"a", "b", release} <= set(host.has())
    assert host.has() == ["a", "b", "f"]


@pytest.mark.parametrize("keep", [1, 2])
def test_however_few_are_to_be_kept_the_host_can_go_back(host: Host, keep: int) -> None:
    host.roll("a", keep=keep)
    host.roll("b", keep=keep)
    host.roll("c", keep=keep, fails=True)
    host.roll("d", keep=keep)
    assert host.has() == ["a", "b", "d"]
    host.roll("e", keep=keep)
    assert host.has() == ["b", "d", "e"]


def test_a_release_that_was_gone_back_to_counts_as_the_newest(host: Host) -> None:
    """From b back to a: what runs is a, and b is what ran well before that."""
    host.roll("z")
    host.roll("a")
    host.roll("b")
    host.switch("a")
    host.settle()
    host.roll("c", fails=True)
    assert host.has() == ["a", "b", "c"]


def test_in_the_middle_of_a_roll_the_way_back_of_the_release_before_is_kept_too(host: Host) -> None:
    host.roll("a")
    host.roll("b")
    host.install("c")
    host.switch("c")
    host.install("d")
    assert host.has() == ["a", "b", "c", "d"]


def test_an_installation_that_was_interrupted_is_the_first_to_go(host: Host) -> None:
    host.roll("a")
    host.roll("b")
    (host.releases / "half").mkdir()
    host.roll("c")
    assert host.has() == ["a", "b", "c"]


def test_a_damaged_archive_is_removed_and_nothing_else_happens(host: Host) -> None:
    host.roll("a")
    (host.releases / "b.tar.gz").touch()
    done = subprocess.run(
        ["sh", str(PROGRAM), str(host.releases / "b"), "0" * 64, "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "b.tar.gz is damaged and was removed" in done.stderr
    assert host.has() == ["a"]
