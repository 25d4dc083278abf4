"""The release builder: what it picks for a target, what it refuses, and what a release id means."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from scripts import build_release
from scripts.build_release import BuildError, Target

BOOKWORM = Target("3.11", "x86_64")
TRIXIE = Target("3.13", "aarch64")


def test_markers_are_judged_for_the_target(tmp_path: Path) -> None:
    """Requirements of other Pythons, systems and machines are left out, whoever builds."""
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        "always==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via something\n"
        "old-python==1 ; python_full_version < '3.11.3' \\\n    --hash=sha256:cc\n"
        "windows==1 ; sys_platform == 'win32' \\\n    --hash=sha256:dd\n"
        "arm==1 ; platform_machine == 'aarch64' \\\n    --hash=sha256:ee\n",
        encoding="utf-8",
    )
    assert build_release.requirements_for(lock, BOOKWORM) == [
        "always==1 --hash=sha256:aa --hash=sha256:bb",
        "old-python==1 --hash=sha256:cc",
    ]
    assert build_release.requirements_for(lock, TRIXIE) == [
        "always==1 --hash=sha256:aa --hash=sha256:bb",
        "arm==1 --hash=sha256:ee",
    ]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what a release is made of."""
    folder = tmp_path / "project"
    for name in ("nova", *build_release.HOST_FOLDERS):
        shutil.copytree(build_release.ROOT / name, folder / name)
    (folder / "scripts").mkdir()
    files = ("pyproject.toml", "README.md", "requirements.txt")
    for name in (*files, "scripts/build_release.py"):
        shutil.copy(build_release.ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "nova/queues.yml",
        "requirements.txt",
        "nova/new.py",
        "deployment/systemd/celery-beat.service",
    ],
)
def test_the_release_id_follows_the_contents(project: Path, name: str) -> None:
    """The same sources have the same id wherever they lie; any change gives another one."""
    before = build_release.release_id(project)
    cache = project / "nova" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "x.pyc").write_bytes(b"compiled")
    assert build_release.release_id(project) == before
    with (project / name).open("a", encoding="utf-8") as stream:
        stream.write("\n# changed\n")
    assert build_release.release_id(project) != before


def archive(
    folder: Path,
    release: str,
    target: Target = BOOKWORM,
    program: str = build_release.PROGRAM,
) -> Path:
    """Make an archive that holds a queue table and an empty program, with its checksum."""
    folder.mkdir(exist_ok=True)
    path = folder / build_release.archive_name(release, target)
    table = folder / "queues.yml"
    table.write_text("trends: {concurrency: 1}\n")
    with tarfile.open(path, "w:gz") as package:
        package.add(table, arcname="queues.yml")
        if program:
            package.addfile(tarfile.TarInfo(program))
    table.unlink()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    build_release.checksum_of(path).write_text(f"{digest}\n")
    return path


@pytest.mark.parametrize("name", ["2.0.0-0badcafe", "2.0.0"])
def test_a_release_is_found_by_id_or_version(tmp_path: Path, name: str) -> None:
    """With its queue table, and without building anything."""
    archive(tmp_path, "1.0.0-12345678")
    path = archive(tmp_path, "2.0.0-0badcafe")
    archive(tmp_path, "2.0.0-0badcafe", TRIXIE)
    found = build_release.provide(name, BOOKWORM, tmp_path)
    assert (found["release"], found["archive"]) == ("2.0.0-0badcafe", str(path))
    assert found["queues"] == {"trends": {"concurrency": 1}}
    assert found["changed"] is False


def test_the_only_release_in_a_folder_needs_no_name(tmp_path: Path) -> None:
    archive(tmp_path / "given", "1.0.0-12345678")
    found = build_release.provide(str(tmp_path / "given"), BOOKWORM, tmp_path)
    assert found["release"] == "1.0.0-12345678"


def test_a_version_that_was_built_twice_must_be_named_whole(tmp_path: Path) -> None:
    archive(tmp_path, "1.0.0-12345678")
    archive(tmp_path, "1.0.0-87654321")
    with pytest.raises(BuildError, match=r"1\.0\.0-12345678, 1\.0\.0-87654321: say which one"):
        build_release.provide("1.0.0", BOOKWORM, tmp_path)


def test_a_release_that_nobody_built_is_refused(tmp_path: Path) -> None:
    """An archive without a checksum was never finished."""
    build_release.checksum_of(archive(tmp_path, "1.0.0-12345678")).unlink()
    with pytest.raises(BuildError, match=r"no release 1\.0\.0 for py3"):
        build_release.provide("1.0.0", BOOKWORM, tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    with archive(tmp_path, "1.0.0-12345678").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BuildError, match="is damaged"):
        build_release.provide("1.0.0", BOOKWORM, tmp_path)


def test_an_archive_of_another_layout_is_refused_before_hosts_get_it(tmp_path: Path) -> None:
    archive(tmp_path, "1.0.0-12345678", program="")
    with pytest.raises(BuildError, match="is not built as hosts need it now; build it anew"):
        build_release.provide("1.0.0", BOOKWORM, tmp_path)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr("thing.py", "")
        package.writestr(
            "thing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1\n"
        )
        package.writestr(
            "thing-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        package.writestr("thing-1.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_wheels_with_the_locked_hash_are_taken(index: Path, tmp_path: Path) -> None:
    """A wheel that is what the lock says is copied, through the cache."""
    digest = hashlib.sha256((index / "thing-1-py3-none-any.whl").read_bytes()).hexdigest()
    lines = [f"thing==1 --hash=sha256:{digest}"]
    build_release._download(lines, TRIXIE, tmp_path / "cache", tmp_path / "wheels")
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == ["thing-1-py3-none-any.whl"]


def test_wheels_that_were_fetched_before_need_no_index(index: Path, tmp_path: Path) -> None:
    """A release whose dependencies are those of the last one is built in seconds, and offline."""
    [wheel] = index.iterdir()
    lines = [f"thing==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"]
    build_release._download(lines, TRIXIE, tmp_path / "cache", tmp_path / "wheels")
    wheel.unlink()
    build_release._download(lines, TRIXIE, tmp_path / "cache", tmp_path / "again")
    assert [path.name for path in (tmp_path / "again").iterdir()] == [wheel.name]


def test_what_a_lock_wants_is_installed_once(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again if it was damaged since, or the lock is another; the old one does not stay."""
    installed: list[str] = []
    install = build_release._install

    def noted(lines: list[str], *options: Any) -> None:
        installed.extend(lines)
        install(lines, *options)

    monkeypatch.setattr(build_release, "_install", noted)
    [wheel] = index.iterdir()
    line = f"thing==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"

    def unpacked(name: str, *lines: str) -> list[str]:
        installed.clear()
        build_release._unpack_dependencies([*lines], TRIXIE, tmp_path, tmp_path / name)
        assert (tmp_path / name / "thing.py").is_file()
        return list(installed)

    kept = tmp_path / "dependencies"
    assert unpacked("first", line) == [line]
    assert unpacked("second", line) == []
    [package] = kept.glob("*.tar")
    package.write_bytes(package.read_bytes()[:-1])
    assert unpacked("third", line) == [line]
    assert unpacked("fourth", line) == []
    another = f"{line} --hash=sha256:{'0' * 64}"
    assert unpacked("other", another) == [another]
    assert len(list(kept.iterdir())) == 2
    (tmp_path / "builder.py").write_text("# lays out another environment\n")
    monkeypatch.setattr(build_release, "__file__", str(tmp_path / "builder.py"))
    assert unpacked("by another builder", another) == [another]
    assert not list(tmp_path.glob(".building-*"))


def test_what_is_kept_and_cannot_be_unpacked_is_told_in_one_line(
    index: Path, tmp_path: Path
) -> None:
    [wheel] = index.iterdir()
    line = f"thing==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    build_release._unpack_dependencies([line], TRIXIE, tmp_path, tmp_path / "first")
    [package] = (tmp_path / "dependencies").glob("*.tar")
    package.write_bytes(b"no archive" * 100)
    build_release.checksum_of(package).write_text(build_release._sha256(package))
    with pytest.raises(BuildError, match=r"\.tar could not be unpacked: "):
        build_release._unpack_dependencies([line], TRIXIE, tmp_path, tmp_path / "second")


def test_a_damaged_wheel_in_the_cache_is_fetched_anew(index: Path, tmp_path: Path) -> None:
    [wheel] = index.iterdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lines = [f"thing==1 --hash=sha256:{digest}"]
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / wheel.name).write_bytes(b"half a whe")
    build_release._download(lines, TRIXIE, cache, tmp_path / "wheels")
    found = (tmp_path / "wheels" / wheel.name).read_bytes()
    assert hashlib.sha256(found).hexdigest() == digest


def test_a_wheel_with_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    """A package that was changed after it was locked is not installed anywhere."""
    lines = [f"thing==1 --hash=sha256:{'0' * 64}"]
    with pytest.raises(BuildError, match="does not match its hash"):
        build_release._download(lines, TRIXIE, tmp_path / "cache", tmp_path / "wheels")
    assert not list((tmp_path / "wheels").iterdir())


def test_a_package_without_a_wheel_is_named(index: Path, tmp_path: Path) -> None:
    """Hosts have no compiler: a package without a binary wheel is an error that names it."""
    assert index.is_dir()
    lines = [f"other==2 --hash=sha256:{'0' * 64}"]
    with pytest.raises(BuildError, match="no binary wheel of other==2 for this Python"):
        build_release._download(lines, TRIXIE, tmp_path / "cache", tmp_path / "wheels")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with one package, which has an entry point for the command line."""
    folder = tmp_path / "packages"
    (folder / "thing-1.dist-info").mkdir(parents=True)
    (folder / "thing-1.dist-info/METADATA").write_text("Name: thing\nVersion: 1\n")
    (folder / "thing-1.dist-info/entry_points.txt").write_text(
        "[console_scripts]\nrun-thing = thing:Thing.run [more]\n[others]\nnothing = thing\n"
    )
    (folder / "thing.py").write_text(
        "class Thing:\n    @staticmethod\n    def run():\n        return 7\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin/run-thing").write_text("#!/a/python/of/this/machine\n")
    return folder


def test_a_program_runs_its_entry_point(packages: Path, tmp_path: Path) -> None:
    """With the Python that its first line will name; nothing of the installer's is left."""
    build_release._write_programs(packages, tmp_path / "bin")
    [program] = (tmp_path / "bin").iterdir()
    assert program.read_text().startswith("#!python\n")
    run = [sys.executable, str(program)]
    assert subprocess.run(run, env={"PYTHONPATH": str(packages)}, check=False).returncode == 7
    assert not (packages / "bin").exists()


def test_a_program_that_is_no_entry_point_is_an_error(packages: Path, tmp_path: Path) -> None:
    """Hosts would miss it."""
    (packages / "bin/tool.sh").touch()
    with pytest.raises(BuildError, match=r"programs that are no entry points: tool\.sh"):
        build_release._write_programs(packages, tmp_path / "bin")


def test_without_the_targets_python_bytecode_is_left_to_hosts(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is only a launcher, of a Python that is not installed."""
    launcher = tmp_path / "programs/python3.99"
    launcher.parent.mkdir()
    launcher.write_text("#!/bin/sh\nexit 127\n")
    launcher.chmod(0o755)
    for path in ("", str(launcher.parent)):
        monkeypatch.setenv("PATH", path)
        build_release._compile(packages, Target("3.99", "x86_64"))
    assert not list(packages.rglob("*.pyc"))


def test_bytecode_is_the_same_wherever_it_is_made(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever Python's own variables say."""
    other = shutil.copytree(packages, tmp_path / "elsewhere")
    here = Target(build_release.THIS_PYTHON, "x86_64")
    build_release._compile(packages, here)
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "cache"))
    build_release._compile(other, here)
    [one], [two] = (list(folder.rglob("*.pyc")) for folder in (packages, other))
    assert one.relative_to(packages) == two.relative_to(other)
    assert one.read_bytes() == two.read_bytes()


def test_only_the_newest_archives_stay(tmp_path: Path) -> None:
    """Old archives of a target go with their checksums, those of other targets stay."""
    for number in range(build_release.ARCHIVES_TO_KEEP + 2):
        archive = tmp_path / f"nova-{number}-{BOOKWORM.name}.tar.gz"
        for path in (archive, archive.with_name(f"{archive.name}.sha256")):
            path.touch()
    (tmp_path / f"nova-0-{TRIXIE.name}.tar.gz").touch()
    build_release._forget_old(tmp_path, BOOKWORM)
    assert len(list(tmp_path.glob(f"*{BOOKWORM.name}.tar.gz"))) == build_release.ARCHIVES_TO_KEEP
    assert len(list(tmp_path.glob("*.sha256"))) == build_release.ARCHIVES_TO_KEEP
    assert len(list(tmp_path.glob(f"*{TRIXIE.name}.tar.gz"))) == 1


def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a full disk is: an error of the system, not of what is built."""
    (tmp_path / "file").touch()
    options = ["--python=3.13", "--arch=x86_64", f"--output={tmp_path / 'file' / 'build'}"]
    monkeypatch.setattr(sys, "argv", ["build_release", *options])
    assert build_release.main() == 1
    assert capsys.readouterr().err.startswith("build_release: py3.13-x86_64: [Errno 20]")
