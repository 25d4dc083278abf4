"""A release from its sources to an environment as hosts have it: real packages, the real script."""

import os
import platform
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import build_release

PROGRAM = build_release.ROOT / "ansible" / "roles" / "release" / "files" / "install_release.sh"
#: This machine as a host: what the script makes environments with.
HOST_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of this checkout, built by somebody whose files are for himself alone."""
    version = "import sys; print('{}.{}'.format(*sys.version_info))"
    python = subprocess.check_output([HOST_PYTHON, "-c", version], text=True).strip()
    target = build_release.Target(python, platform.machine())
    assert target.interpreter
    output = tmp_path_factory.mktemp("build")
    # Wheels that a scenario has fetched are not fetched again; one may be at it.
    shared = build_release.ROOT / ".nova" / "build"
    (output / "wheels").symlink_to(shared / "wheels")
    with build_release._lock(shared):
        (shared / "wheels" / target.name).mkdir(parents=True, exist_ok=True)
        before = os.umask(0o077)
        try:
            return Path(build_release.build(target, output)["archive"])
        finally:
            os.umask(before)


def install(archive: Path, folder: Path) -> Path:
    """Install an archive as on a host; the folder of the release."""
    release = folder / "releases" / "one"
    release.parent.mkdir()
    pushed = release.with_name("one.tar.gz")
    pushed.write_bytes(archive.read_bytes())
    digest = build_release._sha256(pushed)
    subprocess.run(["sh", str(PROGRAM), str(release), digest, "3"], check=True)
    return release


def times_of_bytecode(release: Path) -> set[float]:
    """When the bytecode of a release was written."""
    return {path.stat().st_mtime for path in release.rglob("*.pyc")}


def without_bytecode(archive: Path, folder: Path) -> Path:
    """An archive as a controller builds it that has no Python of the host's version."""
    other = folder / "other.tar.gz"
    with tarfile.open(archive) as source, tarfile.open(other, "w:gz", compresslevel=1) as sink:
        for entry in source:
            if "__pycache__" not in entry.name:
                sink.addfile(entry, source.extractfile(entry) if entry.isfile() else None)
    return other


def as_built(archive: Path, folder: Path) -> Path:
    """The archive itself."""
    return archive


@pytest.mark.parametrize("prepare", [as_built, without_bytecode])
def test_a_release_runs_from_its_own_environment(
    built: Path, tmp_path: Path, prepare: Callable[[Path, Path], Path]
) -> None:
    """With bytecode for all of Nova, whether it came along or the host made it."""
    release = install(prepare(built, tmp_path), tmp_path)
    said = subprocess.check_output([release / "bin/nova", "--version"], text=True).strip()
    assert said == (release / "nova-release").read_text().strip() == build_release.release_id()
    [nova] = release.glob("lib/python3.*/site-packages/nova")
    compiled = {path.name.partition(".")[0] for path in nova.glob("__pycache__/*.pyc")}
    assert compiled == {path.stem for path in nova.glob("*.py")}


def test_bytecode_that_came_along_is_not_made_again(built: Path, tmp_path: Path) -> None:
    """Neither by the installation nor by a program that is allowed to write it."""
    release = install(built, tmp_path)
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [release / "bin/python", "-c", "import nova.queues, celery.bin.celery, uvicorn"],
        env=environment,
        check=True,
    )
    assert times_of_bytecode(release) == {build_release.ARCHIVE_TIME}


def test_everybody_on_a_host_can_read_it_and_root_alone_write(built: Path) -> None:
    """Whatever the permissions of files that the controller makes."""
    with tarfile.open(built) as package:
        modes = {(entry.isdir(), oct(entry.mode)) for entry in package}
    assert modes == {(True, "0o755"), (False, "0o755"), (False, "0o644")}
