"""Build what a host needs to run this release of Nova, as one archive, once for each target.

    python scripts/build_release.py --python 3.11 --arch x86_64 --output .nova/build

A target is a Python version and a machine architecture. The archive holds Nova's own wheel and
the wheels of everything it needs (`wheels/`), what to install of them with their hashes
(`requirements.txt`), the installer (`uv`) and the release's id (`RELEASE`). A host that has it
needs no package index. Run it with the Python of the project's environment (`make venv`).

Prints one JSON object: release, archive (absolute path), sha256, changed (whether it was built).
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
#: glibc of the oldest distribution that hosts may run, Debian 12: 2.36.
NEWEST_GLIBC_MINOR = 36
OLDEST_GLIBC_MINOR = 5
#: Archives of each target that stay in the output folder.
ARCHIVES_TO_KEEP = 5
ARCHITECTURES = ("x86_64", "aarch64")


class BuildError(Exception):
    """The release cannot be built; the message is one line for the person who started it."""


@dataclass(frozen=True)
class Target:
    """The kind of host that an archive is for."""

    python: str
    arch: str

    @property
    def name(self) -> str:
        """Short name, such as `py3.11-x86_64`."""
        return f"py{self.python}-{self.arch}"

    @property
    def platforms(self) -> list[str]:
        """Wheel platform tags that such a host can run, newest first."""
        minors = range(NEWEST_GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1)
        return [
            *(f"manylinux_2_{minor}_{self.arch}" for minor in minors),
            *(f"manylinux{year}_{self.arch}" for year in ("2014", "2010", "1")),
            f"linux_{self.arch}",
        ]

    def marker_environment(self) -> dict[str, str]:
        """Values of a lock file's markers on such a host.

        The patch version is taken as the first one: a package that only early patch releases
        need is harmless on later ones.
        """
        linux = {
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.arch,
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        return {name: str(value) for name, value in default_environment().items()} | linux


def locked_requirements(lock: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Yield each requirement of a lock file with its `--hash=...` options."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        requirement, *options = line.partition("#")[0].strip().split(" --hash=")
        if requirement:
            yield Requirement(requirement), [f"--hash={option.strip()}" for option in options]


def requirements_for(lock: Path, target: Target, only: str = "") -> list[str]:
    """Return the lines of a lock file that count for a target, hashes included.

    `only` picks the one package of that name.
    """
    environment = target.marker_environment()
    lines = []
    for requirement, hashes in locked_requirements(lock):
        if only and requirement.name != only:
            continue
        if requirement.marker is None or requirement.marker.evaluate(environment):
            pinned = f"{requirement.name}{requirement.specifier}"
            lines.append(" ".join([pinned, *hashes]))
    if only and not lines:
        raise BuildError(f"{lock.name} does not lock {only}; run: make lock")
    return lines


def release_id(root: Path = ROOT) -> str:
    """Return `<version>-<8 hex digits>`; the digits change with whatever a release is made of."""
    digest = hashlib.sha256()
    for path in _sources(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    digest.update("\n".join(_uv_lines(root)).encode())
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return f"{project['version']}-{digest.hexdigest()[:8]}"


def _sources(root: Path) -> list[Path]:
    package = (
        path
        for path in (root / "nova").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    # The builder is one of them: it decides how a host's environment is laid out.
    fixed = ("pyproject.toml", "requirements.txt", "scripts/build_release.py")
    return sorted([*package, *(root / name for name in fixed)])


def _uv_lines(root: Path) -> list[str]:
    lock = root / "requirements-dev.txt"
    return [f"{r} {' '.join(h)}" for r, h in locked_requirements(lock) if r.name == "uv"]


def build(target: Target, output: Path, dry_run: bool = False) -> dict[str, str | bool]:
    """Make the archive for a target unless it is there, and describe it.

    With `dry_run` nothing is made; `changed` tells whether it would be.

    Raises:
        BuildError: a wheel is missing or cannot be fetched, or a hash does not match.
    """
    release = release_id()
    archive = output.resolve() / f"nova-{release}-{target.name}.tar.gz"
    checksum = archive.with_name(f"{archive.name}.sha256")
    with _lock(output):
        # The checksum is written last: an archive without one was never finished.
        changed = not (archive.is_file() and checksum.is_file())
        if changed and not dry_run:
            _build_archive(target, release, archive)
            checksum.write_text(_sha256(archive) + "\n", encoding="utf-8")
            _forget_old(output, target)
    sha256 = checksum.read_text(encoding="utf-8").strip() if checksum.is_file() else ""
    return {"release": release, "archive": str(archive), "sha256": sha256, "changed": changed}


@contextmanager
def _lock(output: Path) -> Iterator[None]:
    """Let one build at a time into the output folder: hosts ask for theirs all at once."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _build_archive(target: Target, release: str, archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".building-") as folder:
        contents = Path(folder) / "contents"
        wheels = contents / "wheels"
        wheels.mkdir(parents=True)
        lines = requirements_for(ROOT / "requirements.txt", target)
        cache = archive.parent / "wheels" / target.name
        _download(lines, target, cache, wheels)
        lines.append(_build_wheel(wheels))
        _unpack_uv(target, cache, contents)
        (contents / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (contents / "RELEASE").write_text(release + "\n", encoding="utf-8")
        unfinished = Path(folder) / archive.name
        _pack(contents, unfinished)
        unfinished.replace(archive)


def _download(lines: list[str], target: Target, cache: Path, destination: Path) -> None:
    """Fetch the wheels of requirement lines with pip, and copy exactly these from the cache.

    pip's own configuration of this machine says which index is asked. Wheels of earlier builds
    are not fetched again.
    """
    cache.mkdir(parents=True, exist_ok=True)
    destination.mkdir(parents=True, exist_ok=True)
    requirements = destination.parent / f"{destination.name}.txt"
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [
        *("download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *("--implementation", "cp", "--python-version", target.python),
        *(f"--platform={name}" for name in target.platforms),
    ]
    # First into the cache; the second call finds all of it there and asks no index.
    _pip(*command, "--find-links", str(cache), "--dest", str(cache), "-r", str(requirements))
    offline = ("--no-index", "--find-links", str(cache))
    _pip(*command, *offline, "--dest", str(destination), "-r", str(requirements))
    requirements.unlink()


def _build_wheel(wheels: Path) -> str:
    """Build Nova's own wheel and return its requirement line."""
    before = set(wheels.iterdir())
    _pip(
        *("wheel", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--wheel-dir", str(wheels), str(ROOT)),
    )
    (wheel,) = set(wheels.iterdir()) - before
    name, version = wheel.name.split("-")[:2]
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{_sha256(wheel)}"


def _unpack_uv(target: Target, cache: Path, contents: Path) -> None:
    folder = contents.parent / "uv-wheel"
    lines = requirements_for(ROOT / "requirements-dev.txt", target, only="uv")
    _download(lines, target, cache, folder)
    (wheel,) = folder.glob("uv-*.whl")
    with zipfile.ZipFile(wheel) as package:
        member = next(name for name in package.namelist() if name.endswith("/scripts/uv"))
        with package.open(member) as source, (contents / "uv").open("wb") as sink:
            shutil.copyfileobj(source, sink)
    (contents / "uv").chmod(0o755)


def _pack(contents: Path, archive: Path) -> None:
    """Pack a folder; owners and times are left out, so that the same contents look the same."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = 0
        return entry

    # Wheels are compressed already: a low level is as small and much faster.
    with tarfile.open(archive, "w:gz", compresslevel=1) as package:
        for path in sorted(contents.iterdir()):
            package.add(path, arcname=path.name, filter=anonymous)


def _pip(*arguments: str) -> None:
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    command = [sys.executable, "-m", "pip", *arguments, "--quiet"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(_explain(result.stderr))


def _explain(stderr: str) -> str:
    """Make one line of what pip said."""
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip; use the Python of the environment: make venv"
    if "No module named" in stderr or "BackendUnavailable" in stderr:
        return "the build backend is missing in this environment; run: make venv"
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR: ")]
    unreachable = ("Connection", "NameResolution", "Temporary failure", "timed out", "SSLError")
    if any(word in stderr for word in unreachable):
        return "the package index cannot be reached; check the network and `pip config list`"
    missing = [line for line in errors if "No matching distribution found for" in line]
    if missing:
        package = missing[-1].rpartition(" for ")[2]
        return f"no binary wheel of {package.split(' ')[0]} for this Python and architecture"
    if "DO NOT MATCH THE HASHES" in stderr:
        return "a package does not match its hash in the lock file; nothing of it is used"
    return (errors or stderr.strip().splitlines() or ["pip failed"])[-1].removeprefix("ERROR: ")


def _forget_old(output: Path, target: Target) -> None:
    """Keep the newest archives of a target: a playbook may be pushing one that is not the last."""
    archives = sorted(
        output.glob(f"nova-*-{target.name}.tar.gz"), key=lambda path: path.stat().st_mtime
    )
    for path in archives[:-ARCHIVES_TO_KEEP]:
        path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
        path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    this_python = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--python", default=this_python, help="such as 3.11; default %(default)s")
    parser.add_argument("--arch", default=platform.machine(), choices=ARCHITECTURES)
    parser.add_argument("--output", type=Path, default=ROOT / ".nova" / "build")
    parser.add_argument("--dry-run", action="store_true", help="build nothing, only tell")
    return parser.parse_args(arguments)


def main() -> int:
    """Build one archive; a failure is one line on standard error."""
    options = parse()
    target = Target(options.python, options.arch)
    try:
        print(json.dumps(build(target, options.output, options.dry_run)))
    except BuildError as error:
        print(f"build_release: {target.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
