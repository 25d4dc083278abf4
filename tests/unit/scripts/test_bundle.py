"""Bundles: whole when they are made, replaced as a whole, and refused when anything differs."""

import json
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from scripts import build_release
from scripts.bundle import BundleError, apt, targets
from scripts.bundle.content import MANIFEST, SUMS, Maker, list_package, sha256, verify
from scripts.bundle.targets import Target
from scripts.mirrors import Mirrors

RELEASE = "1.2.3-0123abcd"
BOOKWORM = Target("12", "x86_64")
TRIXIE = Target("13", "aarch64")
MIRRORS = Mirrors("http://mirror.test/debian", "http://mirror.test/security")
DATES = {"bookworm": "2026-11-21T09:15:44Z"}


def make_deb(folder: Path, name: str, version: str = "1.0-1") -> Path:
    """A package with nothing in it, as dpkg makes it."""
    control = folder / name / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@b.test>\n"
        "Description: nothing\n of interest\n",
        encoding="utf-8",
    )
    file = folder / f"{name}_{version.replace(':', '%3a')}_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(folder / name), str(file)]
    subprocess.run(command, check=True, capture_output=True)
    return file


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    """Makes bundles of a release that is built already, and of packages that need no mirror."""
    builds = tmp_path / "builds"
    builds.mkdir()
    for target in (BOOKWORM, TRIXIE):
        archive = builds / build_release.archive_name(RELEASE, target.wheels)
        (tmp_path / "queues.yml").write_text("{}\n")
        with tarfile.open(archive, "w:gz") as package:
            package.add(tmp_path / "queues.yml", arcname="queues.yml")
            package.addfile(tarfile.TarInfo(build_release.PROGRAM))
        build_release.checksum_of(archive).write_text(sha256(archive) + "\n")

    def fetch(
        target: Target, packages: Iterable[str], mirrors: Mirrors, folder: Path
    ) -> tuple[list[Path], dict[str, str]]:
        assert mirrors is MIRRORS
        return [make_deb(folder, name, "5:1.0-1") for name in sorted(packages)], DATES

    return Maker(frozenset({"one", "two"}), MIRRORS, RELEASE, builds, fetch)


@pytest.fixture
def bundle(maker: Maker, tmp_path: Path) -> Path:
    """A bundle for two kinds of hosts."""
    maker.make([BOOKWORM, TRIXIE], tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_bundle_has_all_that_its_manifest_says(bundle: Path) -> None:
    """For each target the release of its Python, packages, when their list was made; checksums."""
    manifest = verify(bundle)
    assert manifest["release"] == RELEASE
    assert set(manifest["targets"]) == {"debian-12-x86_64", "debian-13-aarch64"}
    target = manifest["targets"]["debian-13-aarch64"]
    assert target["release_archive"] == f"nova-{RELEASE}-py3.13-aarch64.tar.gz"
    assert target["package_lists"] == DATES
    assert [(p["package"], p["version"]) for p in target["packages"]] == [
        ("one", "5:1.0-1"),
        ("two", "5:1.0-1"),
    ]
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=bundle, check=False)
    assert done.returncode == 0
    assert build_release.find("", TRIXIE.wheels, bundle)["release"] == RELEASE


def test_a_package_is_listed_as_apt_wants_it(tmp_path: Path) -> None:
    """Its own words, its place without the epoch that a URL would garble, its checksum."""
    deb = make_deb(tmp_path, "one", "5:1.0-1")
    listed = list_package(deb)
    assert listed["file"] == "one_1.0-1_all.deb"
    assert listed["paragraph"].startswith("Package: one\nVersion: 5:1.0-1\n")
    assert listed["paragraph"].endswith(
        f" of interest\nFilename: debs/one_1.0-1_all.deb\nSize: {deb.stat().st_size}\n"
        f"SHA256: {sha256(deb)}\n"
    )


def names_of(bundle: Path) -> list[str]:
    """What lies in a bundle."""
    return sorted(path.name for path in bundle.iterdir())


def test_every_byte_counts(bundle: Path) -> None:
    """Whichever file is damaged, it is named."""
    for name in names_of(bundle):
        whole = (bundle / name).read_bytes()
        damaged = bytes([whole[0] ^ 0x80, *whole[1:]])
        (bundle / name).write_bytes(damaged)
        with pytest.raises(BundleError, match=f"{name} is damaged; copy the bundle again"):
            verify(bundle)
        (bundle / name).write_bytes(whole)
    verify(bundle)


def test_every_file_counts(bundle: Path) -> None:
    """A file that is missing is named, and so is one that nobody put there."""
    for name in names_of(bundle):
        (bundle / name).rename(bundle.parent / "aside")
        with pytest.raises(BundleError, match=name):
            verify(bundle)
        (bundle.parent / "aside").rename(bundle / name)
    (bundle / "nova-9-py3.11-x86_64.tar.gz").touch()
    with pytest.raises(BundleError, match=r"nova-9.* does not belong to the bundle; remove it"):
        verify(bundle)


def change_manifest(bundle: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the manifest, and its checksum with it."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    before = sha256(bundle / MANIFEST)
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    sums = (bundle / SUMS).read_text().replace(before, sha256(bundle / MANIFEST))
    (bundle / SUMS).write_text(sums)


def test_parts_of_two_bundles_are_refused(bundle: Path) -> None:
    """Each file may be whole, and still not be what the manifest tells of."""
    change_manifest(bundle, lambda manifest: manifest.update(files={}))
    with pytest.raises(BundleError, match="do not agree; make the bundle anew"):
        verify(bundle)


def test_packages_that_are_not_those_of_the_manifest_are_refused(bundle: Path) -> None:
    def change(manifest: dict[str, object]) -> None:
        text = json.dumps(manifest["targets"]).replace("one_1.0-1", "one_2.0-1")
        manifest["targets"] = json.loads(text)

    change_manifest(bundle, change)
    with pytest.raises(BundleError, match=r"debs-debian-12-x86_64.tar and manifest.json do not"):
        verify(bundle)


def test_another_format_is_refused(bundle: Path) -> None:
    change_manifest(bundle, lambda manifest: manifest.update(format=2))
    with pytest.raises(BundleError, match="has format 2, this checkout reads 1; make it anew"):
        verify(bundle)


def test_a_folder_that_is_no_bundle_is_neither_used_nor_replaced(
    maker: Maker, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").touch()
    with pytest.raises(BundleError, match=r"is no bundle: it lacks manifest.json"):
        verify(folder)
    with pytest.raises(BundleError, match="is there and is no bundle; name another --output"):
        maker.make([BOOKWORM], folder)
    assert names_of(folder) == ["letter.txt"]


def test_a_bundle_that_fails_leaves_the_one_before(maker: Maker, bundle: Path) -> None:
    """Nothing half-made is left beside it either."""
    before, around = names_of(bundle), names_of(bundle.parent)
    with pytest.raises(BundleError, match=r"no release 9.9 for py3.11-x86_64"):
        Maker(maker.packages, MIRRORS, "9.9", maker.builds, maker.fetch).make([BOOKWORM], bundle)
    assert names_of(bundle) == before
    assert names_of(bundle.parent) == around
    verify(bundle)
    maker.make([BOOKWORM], bundle)
    assert set(verify(bundle)["targets"]) == {"debian-12-x86_64"}
    assert names_of(bundle.parent) == around


def test_a_target_is_named_as_it_is_printed() -> None:
    assert targets.parse("debian-13-aarch64") == TRIXIE
    assert (TRIXIE.codename, TRIXIE.debian_arch, TRIXIE.wheels.python) == (
        "trixie",
        "arm64",
        "3.13",
    )
    with pytest.raises(BundleError, match=r"ubuntu-24.04-x86_64 is no target .*debian-12-x86_64"):
        targets.parse("ubuntu-24.04-x86_64")


def test_packages_are_those_that_roles_name(tmp_path: Path) -> None:
    """What a role always installs stands in its vars, what an inventory may change in defaults."""
    for role, file, variables in (
        ("web", "vars", {"__web_packages": ["nginx"], "__web_other": ["no"]}),
        ("web", "defaults", {"web_packages": ["curl"]}),
        ("empty", "defaults", None),
    ):
        path = tmp_path / role / file / "main.yml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(variables) if variables else "---\n")
    assert targets.role_packages(tmp_path) == {"nginx", "curl"}


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("E: Unable to locate package nosuch\n", "Debian has no package nosuch"),
        ("E: Package 'old' has no installation candidate\n", "Debian has no package old"),
        (
            "W: GPG error: http://m.test trixie InRelease: couldn't be verified: NO_PUBKEY 12\n"
            "E: The repository 'http://m.test trixie InRelease' is not signed.\n",
            "not signed by a key of debian-archive-keyring",
        ),
        ("E: Failed to fetch x  Could not resolve 'm.test'\n", "the Debian mirror cannot be reach"),
        ("E: Failed to fetch x  404  Not Found [IP: 192.0.2.1 80]\n", "does not have it; name a"),
        ("E: Failed to fetch x  Hash Sum mismatch\n", "the mirror is perhaps being updated"),
        ("W: a warning\nE: something new\n", "something new"),
        ("", "apt-get failed"),
    ],
)
def test_what_apt_says_becomes_one_line(said: str, meaning: str) -> None:
    assert meaning in apt.explain(said)
    assert "\n" not in apt.explain(said)


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match="apt-get is missing; make bundles on Debian or Ubuntu"):
        apt.fetch(BOOKWORM, ["one"], MIRRORS, tmp_path / "work")


def test_a_machine_without_keys_or_mirrors_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match="name both with --mirror and --security-mirror"):
        apt.fetch(BOOKWORM, ["one"], Mirrors("http://mirror.test/debian"), tmp_path)
    monkeypatch.setattr(apt, "KEYRING", tmp_path / "keyring.gpg")
    with pytest.raises(BundleError, match=r"keyring.gpg is missing; install debian-archive-keyr"):
        apt.fetch(BOOKWORM, ["one"], MIRRORS, tmp_path)
