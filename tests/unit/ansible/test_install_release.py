"""`install_release.sh`: what it leaves of the releases that a host has had, and of a bad archive.

The archives have no packages in them.
"""

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "ansible" / "roles" / "release" / "files" / "install_release.sh"


class Host:
    """The folder /opt/nova of a host, on which releases are installed and switched."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.releases = root / "releases"
        self.releases.mkdir()
        (root / "before").mkdir()

    def install(self, release: str, keep: int = 3) -> subprocess.CompletedProcess[str]:
        """Push a release's archive, and run the script."""
        self.push(release)
        return self.run(release, keep)

    def push(self, release: str) -> None:
        """Push the archive of a release, which has one program."""
        content = self.root / "content"
        (content / "bin").mkdir(parents=True, exist_ok=True)
        (content / "lib").mkdir(exist_ok=True)
        (content / "bin/celery").write_text("#!python\nimport sys\nprint(sys.prefix)\n")
        (content / "bin/celery").chmod(0o755)
        (content / "RELEASE").write_text(release)
        os.utime(content / "RELEASE", (0, 0))
        self.pack(release, content)

    def pack(self, release: str, content: Path) -> None:
        """Push an archive with what is in a folder."""
        with tarfile.open(self.releases / f"{release}.tar.gz", "w:gz") as package:
            for path in content.iterdir():
                package.add(path, arcname=path.name)

    def command(self, release: str, keep: int = 3) -> list[str]:
        """The command line that installs an archive which was pushed."""
        digest = hashlib.sha256((self.releases / f"{release}.tar.gz").read_bytes()).hexdigest()
        return ["sh", str(PROGRAM), str(self.releases / release), digest, str(keep)]

    def run(self, release: str, keep: int = 3) -> subprocess.CompletedProcess[str]:
        """Install an archive that was pushed."""
        command = self.command(release, keep)
        return subprocess.run(command, capture_output=True, text=True, check=False)

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


def test_programs_start_the_python_of_their_own_release(host: Host) -> None:
    """A process that runs while another release is switched to stays in its own."""
    host.roll("a")
    program = host.releases / "a/bin/celery"
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(host.releases / "a")
    assert (host.releases / "a/bin/python").is_symlink()


def test_what_hinders_the_unpacking_is_said_once_and_leaves_no_release(host: Host) -> None:
    """As a full disk hinders each of thousands of files; the archive stays for the next try."""
    host.install("a")
    with tarfile.open(host.releases / "b.tar.gz", "w:gz") as package:
        for name in ("bin", "lib", "include"):  # folders of an environment; these are files
            package.addfile(tarfile.TarInfo(name))
    done = host.run("b")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "b.tar.gz could not be unpacked: tar: bin: Cannot open" in line
    assert host.has() == ["a", "b.tar.gz"]


def test_a_release_that_another_run_has_installed_meanwhile_is_left_alone(host: Host) -> None:
    """That one may have outlived its controller; they wait for each other."""
    host.install("a")
    (host.releases / "a/ran-well").touch()
    done = host.install("a")
    assert (done.returncode, done.stderr) == (0, "")
    assert (host.releases / "a/ran-well").exists()
    assert host.has() == ["a"]


def test_two_installations_at_once_leave_a_whole_release(host: Host) -> None:
    host.install("a")
    host.push("b")
    command = host.command("b")
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert (host.releases / "b/bin/celery").exists()
    assert (host.releases / "b/nova-release").read_text() == "b"
