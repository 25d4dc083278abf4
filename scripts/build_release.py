"""Build what a host needs to run a release of Nova, as one archive, once for each target.

    python scripts/build_release.py --python 3.11 --arch x86_64 --output .nova/build

A target is a Python version and a machine architecture. The archive holds Nova and everything it
needs, laid out as in a virtual environment (`lib/`, `bin/`), the units and commands of a host
(`systemd/`, `commands/`), the queue table (`queues.yml`) and the release's id (`RELEASE`). A host
that has it needs no package index and no installer. Where this machine has the target's Python, the
bytecode is in it too. Run it with the Python of the project's environment (`make venv`).

`--release` says which release: the folder of another checkout, a folder with archives that were
built before, or the version or id of one in the output folder; this checkout when it is not given.

Prints one JSON object: release, archive (absolute path), sha256, queues (its queue table), changed
(whether it was built).
"""

import argparse
import fcntl
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
#: glibc of the oldest distribution that hosts may run, Debian 12: 2.36.
NEWEST_GLIBC_MINOR = 36
OLDEST_GLIBC_MINOR = 5
#: Archives of each target that stay in the output folder.
ARCHIVES_TO_KEEP = 5
ARCHITECTURES = ("x86_64", "aarch64")
#: What a release brings for the host itself.
HOST_FOLDERS = ("deployment/systemd", "deployment/commands")
QUEUES = "nova/queues.yml"
#: What every archive has; those that were built for an installer on the host had it not.
PROGRAM = "bin/celery"
#: When all files of an archive were changed last, in seconds since 1970: when it was built is no
#: part of what it holds.
ARCHIVE_TIME = 0
#: What starts a program. The first line is made to name the environment when that is there, as
#: wheels have it: https://packaging.python.org/en/latest/specifications/binary-distribution-format
SCRIPT = """#!python
import sys

from {module} import {name}

if __name__ == "__main__":
    sys.exit({call}())
"""


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

    @property
    def interpreter(self) -> str | None:
        """The program of this Python on this machine, if there is one."""
        if self.python == THIS_PYTHON:
            return sys.executable
        return shutil.which(f"python{self.python}")

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


def requirements_for(lock: Path, target: Target) -> list[str]:
    """Return the lines of a lock file that count for a target, hashes included."""
    environment = target.marker_environment()
    lines = []
    for requirement, hashes in locked_requirements(lock):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            pinned = f"{requirement.name}{requirement.specifier}"
            lines.append(" ".join([pinned, *hashes]))
    return lines


def release_id(root: Path = ROOT) -> str:
    """Return `<version>-<8 hex digits>`; the digits change with whatever a release is made of."""
    digest = hashlib.sha256()
    for path in _sources(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
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
    host = (path for folder in HOST_FOLDERS for path in (root / folder).iterdir())
    return sorted([*package, *host, *(root / name for name in fixed)])


def provide(spec: str, target: Target, output: Path, dry_run: bool = False) -> dict[str, Any]:
    """Find or build the archive of a release for a target, and describe it.

    `spec` is what `--release` takes. With `dry_run` nothing is made; `changed` tells whether it
    would be.

    Raises:
        BuildError: there is no such release, a wheel is missing or cannot be fetched, or a hash
            does not match.
    """
    folder = Path(spec)
    if not spec or (folder / "pyproject.toml").is_file():
        return build(target, output, dry_run, folder.resolve() if spec else ROOT)
    if folder.is_dir():
        return find("", target, folder)
    return find(spec, target, output)


def build(target: Target, output: Path, dry_run: bool = False, root: Path = ROOT) -> dict[str, Any]:
    """Make the archive of a checkout for a target unless it is there, and describe it.

    Raises:
        BuildError: a wheel is missing or cannot be fetched, or a hash does not match.
    """
    release = release_id(root)
    archive = output.resolve() / archive_name(release, target)
    checksum = checksum_of(archive)
    with _lock(output):
        # The checksum is written last: an archive without one was never finished.
        changed = not (archive.is_file() and checksum.is_file())
        if changed and not dry_run:
            _build_archive(target, release, archive, root)
            checksum.write_text(_sha256(archive) + "\n", encoding="utf-8")
            _forget_old(output, target)
    sha256 = checksum.read_text(encoding="utf-8").strip() if checksum.is_file() else ""
    queues = yaml.safe_load((root / QUEUES).read_text(encoding="utf-8"))
    return describe(release, archive, sha256, queues, changed)


def find(name: str, target: Target, folder: Path) -> dict[str, Any]:
    """Describe the archive that a folder has of the release with this id or version.

    Without a name it is the only one there.

    Raises:
        BuildError: there is none, or there are several, or it is damaged or of another layout.
    """
    pattern = archive_name(f"{name}*", target)
    found = [path for path in sorted(folder.glob(pattern)) if checksum_of(path).is_file()]
    releases = {path: release_of(path, target) for path in found}
    if name:
        releases = {p: r for p, r in releases.items() if name in (r, r.rpartition("-")[0])}
    if not releases:
        what = f"release {name}" if name else "release"
        raise BuildError(f"no {what} for {target.name} in {folder}; build it, or name a checkout")
    if len(releases) > 1:
        raise BuildError(f"{folder} has {', '.join(releases.values())}: say which one")
    [(archive, release)] = releases.items()
    sha256 = checksum_of(archive).read_text(encoding="utf-8").strip()
    if sha256 != _sha256(archive):
        raise BuildError(f"{archive} is damaged: its checksum is not that of {archive.name}.sha256")
    with tarfile.open(archive) as package:
        if PROGRAM not in package.getnames():
            raise BuildError(f"{archive} is not built as hosts need it now; build it anew")
        queues = package.extractfile("queues.yml")
        table = yaml.safe_load(queues.read()) if queues else {}
    return describe(release, archive.resolve(), sha256, table, changed=False)


def describe(
    release: str, archive: Path, sha256: str, queues: dict[str, Any], changed: bool
) -> dict[str, Any]:
    """Return what is printed."""
    return {
        "release": release,
        "archive": str(archive),
        "sha256": sha256,
        "queues": queues,
        "changed": changed,
    }


def archive_name(release: str, target: Target) -> str:
    """Return the file name of a release's archive."""
    return f"nova-{release}-{target.name}.tar.gz"


def release_of(archive: Path, target: Target) -> str:
    """Return the release whose archive has this name."""
    return archive.name.removeprefix("nova-").removesuffix(f"-{target.name}.tar.gz")


def checksum_of(archive: Path) -> Path:
    """Return the file with the checksum of an archive."""
    return archive.with_name(f"{archive.name}.sha256")


@contextmanager
def _lock(output: Path) -> Iterator[None]:
    """Let one build at a time into the output folder: hosts ask for theirs all at once."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _build_archive(target: Target, release: str, archive: Path, root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".building-") as folder:
        contents, wheels = Path(folder) / "contents", Path(folder) / "wheels"
        packages = contents / "lib" / f"python{target.python}" / "site-packages"
        lines = requirements_for(root / "requirements.txt", target)
        _unpack_dependencies(lines, target, archive.parent, packages)
        _install([_build_wheel(wheels, root)], wheels, target, packages)
        _write_programs(packages, contents / "bin")
        _compile(packages, target)
        for name in HOST_FOLDERS:
            shutil.copytree(root / name, contents / Path(name).name)
        shutil.copy(root / QUEUES, contents)
        (contents / "RELEASE").write_text(release + "\n", encoding="utf-8")
        unfinished = Path(folder) / archive.name
        _pack(contents, unfinished)
        unfinished.replace(archive)


def _unpack_dependencies(lines: list[str], target: Target, output: Path, packages: Path) -> None:
    """Make a folder with what these requirement lines install, bytecode included.

    It is kept for the next release with the same ones: most releases differ in Nova alone, and to
    compile the others takes half the time of a build.

    Raises:
        BuildError: it cannot be installed, or not be unpacked.
        OSError: it cannot be kept, as on a full disk.
    """
    # The builder too decides what is in it.
    decides = "\n".join(lines).encode() + Path(__file__).read_bytes()
    digest = hashlib.sha256(decides).hexdigest()[:16]
    kept = output / "dependencies" / f"{target.name}-{digest}.tar"
    checksum = checksum_of(kept)
    if checksum.is_file() and kept.is_file() and checksum.read_text().strip() == _sha256(kept):
        packages.mkdir(parents=True)
        # Python's own takes twice as long.
        command = ["tar", "--extract", "--file", str(kept), "--directory", str(packages)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.partition("\n")[0]
            raise BuildError(f"{kept} could not be unpacked: {reason}")
        return
    kept.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".building-") as folder:
        wheels = Path(folder) / "wheels"
        _download(lines, target, output / "wheels" / target.name, wheels)
        _install(lines, wheels, target, packages)
        _compile(packages, target)
        unfinished = Path(folder) / kept.name
        with tarfile.open(unfinished, "w") as package:
            package.add(packages, arcname=".")
        for old in kept.parent.glob(f"{target.name}-*"):  # those of another lock
            old.unlink()
        checksum.write_text(_sha256(unfinished) + "\n", encoding="utf-8")
        unfinished.replace(kept)


def _download(lines: list[str], target: Target, cache: Path, destination: Path) -> None:
    """Copy the wheels of requirement lines from the cache; what it lacks is fetched with pip first.

    pip's own configuration of this machine says which index is asked.
    """
    cache.mkdir(parents=True, exist_ok=True)
    destination.mkdir(parents=True, exist_ok=True)
    if None in _cached(lines, cache):
        requirements = destination.parent / f"{destination.name}.txt"
        requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
        _pip(
            *("download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
            *("--implementation", "cp", "--python-version", target.python),
            *(f"--platform={name}" for name in target.platforms),
            *("--dest", str(cache), "-r", str(requirements)),
        )
        requirements.unlink()
    for wheel in filter(None, _cached(lines, cache)):
        shutil.copy(wheel, destination)


def _cached(lines: list[str], cache: Path) -> list[Path | None]:
    """Return the wheel of each requirement line, or nothing where none there has a hash of it."""
    wheels = {_sha256(wheel): wheel for wheel in cache.glob("*.whl")}
    hashes = (line.split(" --hash=sha256:")[1:] for line in lines)
    return [next((wheels[h] for h in of_line if h in wheels), None) for of_line in hashes]


def _build_wheel(wheels: Path, root: Path) -> str:
    """Build Nova's own wheel into an empty folder and return its requirement line."""
    _pip(
        *("wheel", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--wheel-dir", str(wheels), str(root)),
    )
    (wheel,) = wheels.iterdir()
    name, version = wheel.name.split("-")[:2]
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{_sha256(wheel)}"


def _install(lines: list[str], wheels: Path, target: Target, packages: Path) -> None:
    """Unpack the wheels of requirement lines into a folder, as on a host of the target."""
    requirements = wheels.with_suffix(".txt")
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _run(
        *("uv", "pip", "install", "--quiet", "--no-config", "--no-cache", "--no-deps"),
        *("--offline", "--no-index", "--find-links", str(wheels), "--require-hashes"),
        *("--python", sys.executable, "--python-version", target.python),
        *("--python-platform", f"{target.arch}-manylinux_2_{NEWEST_GLIBC_MINOR}"),
        *("--target", str(packages), "--requirements", str(requirements)),
    )
    (packages / ".lock").unlink(missing_ok=True)
    for note in packages.glob("*.dist-info/uv_cache.json"):  # when each wheel came to this machine
        note.unlink()


def _write_programs(packages: Path, folder: Path) -> None:
    """Write a program for each entry point that packages have for the command line.

    Those that the installer has made would start the Python of this machine.
    Source: https://packaging.python.org/en/latest/specifications/entry-points

    Raises:
        BuildError: a package brings a program that is no entry point.
    """
    folder.mkdir()
    for distribution in distributions(path=[str(packages)]):
        for point in distribution.entry_points.select(group="console_scripts"):
            program = folder / point.name
            name = point.attr.partition(".")[0]
            text = SCRIPT.format(module=point.module, name=name, call=point.attr)
            program.write_text(text, encoding="utf-8")
            program.chmod(0o755)
    made = packages / "bin"
    if others := {path.name for path in made.glob("*")} - {path.name for path in folder.iterdir()}:
        raise BuildError(f"programs that are no entry points: {', '.join(sorted(others))}")
    shutil.rmtree(made, ignore_errors=True)


def _compile(packages: Path, target: Target) -> None:
    """Add the bytecode, if this machine has the target's Python; else each host compiles.

    A file that cannot be compiled is left to who imports it: some packages have templates. So is
    all, where the interpreter that was found does not run.
    """
    if not target.interpreter:
        return
    for path in packages.rglob("*.py"):
        os.utime(path, (ARCHIVE_TIME, ARCHIVE_TIME))  # bytecode is of a file with this time
    # Without the folder of this machine in it, and whatever Python's variables say here.
    command = [target.interpreter, "-I", "-m", "compileall", "-qq", "-j", "0", "-s", str(packages)]
    command += ["--invalidation-mode", "timestamp", str(packages)]
    subprocess.run(command, capture_output=True, check=False)


def _pack(contents: Path, archive: Path) -> None:
    """Pack a folder, without what this machine has to do with it: owners, permissions, times."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = ARCHIVE_TIME
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    # A higher level takes seconds more, and saves less than they are worth on a fast network.
    with (
        gzip.GzipFile(archive, "wb", compresslevel=1, mtime=ARCHIVE_TIME) as stream,
        tarfile.open(fileobj=stream, mode="w") as package,
    ):
        for path in sorted(contents.iterdir()):
            package.add(path, arcname=path.name, filter=anonymous)


def _pip(*arguments: str) -> None:
    _run("pip", *arguments, "--quiet")


def _run(module: str, *arguments: str) -> None:
    """Run an installer of this environment; what uv's variables say is not meant for this.

    Raises:
        BuildError: it failed.
    """
    environment = {name: v for name, v in os.environ.items() if not name.startswith("UV_")}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(_explain(result.stderr))


def _explain(stderr: str) -> str:
    """Make one line of what an installer said."""
    if missing := re.search(r"No module named (pip|uv)$", stderr, re.MULTILINE):
        return f"{sys.executable} has no {missing[1]}; use the Python of the environment: make venv"
    if "No module named" in stderr or "BackendUnavailable" in stderr:
        return "the build backend is missing in this environment; run: make venv"
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR: ")]
    unreachable = ("Connection", "NameResolution", "Temporary failure", "timed out", "SSLError")
    if any(word in stderr for word in unreachable):
        return "the package index cannot be reached; check the network and `pip config list`"
    unknown = [line for line in errors if "No matching distribution found for" in line]
    if unknown:
        package = unknown[-1].rpartition(" for ")[2]
        return f"no binary wheel of {package.split(' ')[0]} for this Python and architecture"
    if "DO NOT MATCH THE HASHES" in stderr:
        return "a package does not match its hash in the lock file; nothing of it is used"
    last = (errors or stderr.strip().splitlines() or ["the installer failed"])[-1]
    return last.removeprefix("ERROR: ")


def _forget_old(output: Path, target: Target) -> None:
    """Keep the newest archives of a target: a playbook may be pushing one that is not the last."""
    archives = sorted(
        output.glob(f"nova-*-{target.name}.tar.gz"), key=lambda path: path.stat().st_mtime
    )
    for path in archives[:-ARCHIVES_TO_KEEP]:
        checksum_of(path).unlink(missing_ok=True)
        path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", default=THIS_PYTHON, help="such as 3.11; default %(default)s")
    parser.add_argument("--arch", default=platform.machine(), choices=ARCHITECTURES)
    parser.add_argument("--release", default="", help="which one, see above; this checkout's")
    parser.add_argument("--output", type=Path, default=ROOT / ".nova" / "build")
    parser.add_argument("--dry-run", action="store_true", help="build nothing, only tell")
    return parser.parse_args(arguments)


def main() -> int:
    """Build one archive; a failure is one line on standard error."""
    options = parse()
    target = Target(options.python, options.arch)
    try:
        print(json.dumps(provide(options.release, target, options.output, options.dry_run)))
    except (BuildError, OSError) as error:
        print(f"build_release: {target.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
