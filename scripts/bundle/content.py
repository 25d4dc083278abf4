"""What lies in a bundle: write it, and verify it.

nova-<release>-<python>-<arch>.tar.gz, .sha256   releases, as scripts/build_release.py makes them
debs-<target>.tar                                packages of Debian
Packages-<target>                                their list, as apt reads it
manifest.json                                    what is there, for whom, of when
SHA256SUMS                                       for `sha256sum --check SHA256SUMS`
"""

import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts import build_release
from scripts.bundle import BundleError, apt
from scripts.bundle.targets import Target
from scripts.mirrors import Mirrors

FORMAT = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
#: Folder of the packages beside their list, on a host.
DEBS = "debs"
Manifest = dict[str, Any]
Fetch = Callable[[Target, Iterable[str], Mirrors, Path], tuple[list[Path], dict[str, str]]]


@dataclass(frozen=True)
class Maker:
    """Makes a bundle; whatever fails, what was at its place before is still there."""

    packages: frozenset[str]
    mirrors: Mirrors
    release: str = ""
    builds: Path = build_release.ROOT / ".nova" / "build"
    fetch: Fetch = apt.fetch

    def make(self, targets: Iterable[Target], output: Path) -> Manifest:
        """Write a bundle for the targets; one that was at its place is replaced.

        Raises:
            BundleError: something cannot be fetched or built, or another thing is in the place.
        """
        if output.exists() and not (output / MANIFEST).is_file():
            raise BundleError(f"{output} is there and is no bundle; name another --output")
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".bundle-") as work:
            contents = Path(work) / "contents"
            contents.mkdir()
            manifest = self._fill(contents, sorted(targets))
            _replace(output, contents, Path(work) / "before")
        return manifest

    def _fill(self, contents: Path, targets: list[Target]) -> Manifest:
        releases = {self._release(target, contents) for target in targets}
        if len(releases) > 1:
            raise BundleError("Nova's sources changed while releases were built; try again")
        [release] = releases
        described = {}
        for target in targets:
            with tempfile.TemporaryDirectory() as work:
                packages = self._packages(target, contents, Path(work))
            archive = build_release.archive_name(release, target.wheels)
            described[target.name] = {"release_archive": archive} | packages
        manifest: Manifest = {
            "format": FORMAT,
            "release": release,
            "made": apt.format_time(datetime.now(UTC)),
            "targets": described,
            "files": {path.name: describe(path) for path in sorted(contents.iterdir())},
        }
        text = json.dumps(manifest, indent=1) + "\n"
        (contents / MANIFEST).write_text(text, encoding="utf-8")
        sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(contents.iterdir())]
        (contents / SUMS).write_text("".join(sums), encoding="utf-8")
        return manifest

    def _release(self, target: Target, contents: Path) -> str:
        try:
            found = build_release.provide(self.release, target.wheels, self.builds)
        except build_release.BuildError as error:
            raise BundleError(f"{target.wheels.name}: {error}") from error
        archive = Path(found["archive"])
        shutil.copy(archive, contents)
        shutil.copy(build_release.checksum_of(archive), contents)
        return str(found["release"])

    def _packages(self, target: Target, contents: Path, work: Path) -> dict[str, Any]:
        files, dates = self.fetch(target, self.packages, self.mirrors, work)
        listed = [list_package(path) for path in files]
        index = contents / f"Packages-{target.name}"
        index.write_text("\n".join(package["paragraph"] for package in listed), encoding="utf-8")
        archive = contents / f"debs-{target.name}.tar"
        # Packages are compressed already.
        with tarfile.open(archive, "w") as package:
            for path, entry in zip(files, listed, strict=True):
                package.add(path, arcname=entry["file"], filter=_anonymous)
        return {
            "packages_archive": archive.name,
            "packages_index": index.name,
            "package_lists": dates,
            "packages": [
                {name: value for name, value in entry.items() if name != "paragraph"}
                for entry in listed
            ],
        }


def _replace(place: Path, new: Path, aside: Path) -> None:
    """Put a folder into the place of another, which goes aside; or leave all as it was."""
    if place.exists():
        place.rename(aside)
    try:
        new.rename(place)
    except BaseException:
        if aside.exists():
            aside.rename(place)
        raise


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o644
    return entry


def list_package(deb: Path) -> dict[str, Any]:
    """Describe a package file: for the manifest, and as a paragraph for apt."""
    control = apt.control_of(deb)
    fields = dict(re.findall(r"^(Package|Version|Architecture): (.+)$", control, re.MULTILINE))
    # As in Debian's own archive: a colon, or its escape, would not find the way through a URL.
    version = fields["Version"].rpartition(":")[2]
    file = f"{fields['Package']}_{version}_{fields['Architecture']}.deb"
    found = describe(deb)
    place = f"Filename: {DEBS}/{file}\nSize: {found['size']}\nSHA256: {found['sha256']}\n"
    return {
        "package": fields["Package"],
        "version": fields["Version"],
        "file": file,
        **found,
        "paragraph": f"{control}\n{place}",
    }


def describe(path: Path) -> dict[str, Any]:
    """Return size and checksum of a file."""
    return {"size": path.stat().st_size, "sha256": sha256(path)}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(folder: Path) -> Manifest:
    """Return the manifest of a bundle, every byte of which is as its checksums say.

    Raises:
        BundleError: it is none, of another format, or something is missing, damaged or too many.
    """
    if not (folder / MANIFEST).is_file() or not (folder / SUMS).is_file():
        raise BundleError(
            f"{folder} is no bundle: it lacks {MANIFEST} or {SUMS}; make one: make bundle"
        )
    sums = _sums(folder)
    there = {path.name for path in folder.iterdir()} - {SUMS}
    for name in sorted(there - sums.keys()):
        raise BundleError(f"{folder / name} does not belong to the bundle; remove it")
    for name, expected in sums.items():
        if name not in there:
            raise BundleError(f"{folder / name} is missing; copy the bundle again")
        if sha256(folder / name) != expected:
            raise BundleError(f"{folder / name} is damaged; copy the bundle again")
    manifest: Manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["format"] != FORMAT:
        raise BundleError(
            f"{folder} has format {manifest['format']}, this checkout reads {FORMAT}; make it anew"
        )
    _check_agreement(folder, manifest, sums)
    return manifest


def _sums(folder: Path) -> dict[str, str]:
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64})  ([^/\s]+)", line) for line in lines]
    sums = {match[2]: match[1] for match in found if match}
    if len(sums) != len(lines) or MANIFEST not in sums:
        raise BundleError(f"{folder / SUMS} is damaged; copy the bundle again")
    return sums


def _check_agreement(folder: Path, manifest: Manifest, sums: dict[str, str]) -> None:
    """Refuse a bundle whose parts are whole but not of one piece."""
    files = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    if files | {MANIFEST: sums[MANIFEST]} != sums:
        raise BundleError(f"{folder / MANIFEST} and {SUMS} do not agree; make the bundle anew")
    for target in manifest["targets"].values():
        archive = folder / target["packages_archive"]
        wanted = {entry["file"]: entry["sha256"] for entry in target["packages"]}
        if sums_of_members(archive) != wanted:
            raise BundleError(f"{archive} and {MANIFEST} do not agree; make the bundle anew")


def sums_of_members(archive: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a tar archive."""
    found = {}
    with tarfile.open(archive) as package:
        for member in package:
            stream = package.extractfile(member)
            if stream is not None:
                found[member.name] = hashlib.sha256(stream.read()).hexdigest()
    return found
