"""The lab's plain parts: what it reads from inventories, what it puts into an image."""

from pathlib import Path

import pytest

from scripts.lab import image
from scripts.lab.docker import LabError
from scripts.lab.hosts import Lab, is_isolated, releases_of
from scripts.lab.image import apt_configuration, tag_of
from scripts.mirrors import Mirrors, machine_mirrors

MIRRORS = Mirrors(archive="http://mirror.test/debian", security="http://mirror.test/security")


def inventory(folder: Path, text: str) -> Path:
    (folder / "hosts.yml").write_text(text, encoding="utf-8")
    return folder


def test_hosts_are_found_wherever_the_inventory_names_them(tmp_path: Path) -> None:
    """A host's release counts whichever of its groups states it."""
    text = """
nova:
  hosts: {a: {lab_debian_release: trixie}}
  children:
    redis: {hosts: {a: , b: {lab_debian_release: bookworm}}}
"""
    assert releases_of(inventory(tmp_path, text)) == {"a": "trixie", "b": "bookworm"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nova: {hosts: {a: }}", "does not give lab_debian_release .* for a"),
        ("", "for any host"),
        ("nova: [", "cannot read the inventory"),
    ],
)
def test_a_useless_inventory_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    """A missing release, an empty file and broken YAML are refused with the file's name."""
    with pytest.raises(LabError, match=message) as caught:
        releases_of(inventory(tmp_path, text))
    assert "hosts.yml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_inventory_says_whether_its_hosts_are_alone(tmp_path: Path) -> None:
    assert is_isolated(inventory(tmp_path, "nova: {vars: {lab_isolated: true}, hosts: {a: }}\n"))
    assert not is_isolated(inventory(tmp_path, "nova: {hosts: {a: }}\nfrontend:\n"))


def test_image_uses_the_machines_mirrors_with_all_suites() -> None:
    """Updates and security are there too: a release's main suite alone is stale."""
    sources = apt_configuration("trixie", MIRRORS)["sources.list.d/debian.sources"]
    assert "URIs: http://mirror.test/debian\nSuites: trixie trixie-updates\n" in sources
    assert "URIs: http://mirror.test/security\nSuites: trixie-security\n" in sources


def test_without_a_mirror_the_base_image_keeps_its_sources() -> None:
    """A machine that is not Debian has no mirror to offer."""
    assert apt_configuration("trixie", Mirrors()) == {}


def test_the_tag_follows_everything_that_goes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same recipe gives the same tag; another file, release or mirror gives another."""
    (tmp_path / "setup.sh").write_text("one", encoding="utf-8")
    monkeypatch.setattr(image, "RECIPE", tmp_path)
    first = tag_of("trixie", MIRRORS)
    assert tag_of("trixie", MIRRORS) == first
    assert tag_of("bookworm", MIRRORS) != first
    assert tag_of("trixie", Mirrors()) != first
    (tmp_path / "setup.sh").write_text("two", encoding="utf-8")
    assert tag_of("trixie", MIRRORS) != first


def test_mirrors_are_those_of_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Third-party sources are left out, and a cloud image's list of mirrors is followed."""
    mirrors = tmp_path / "debian.list"
    mirrors.write_text("# near\nhttp://near.test/debian priority:1\n", encoding="utf-8")
    lines = {
        "apt-get": f"http://third.test/apt bookworm main\nmirror+file:{mirrors} bookworm main\n"
        f"mirror+file:{mirrors} bookworm-updates main\nhttp://sec.test/ bookworm-security main\n",
        "apt-config": "proxy='http://proxy.test:3142'\n",
    }
    monkeypatch.setattr("scripts.mirrors._output", lambda program, *_: lines[program])
    assert machine_mirrors() == Mirrors(
        "http://near.test/debian", "http://sec.test/", "http://proxy.test:3142"
    )


def test_labs_have_names_of_their_own() -> None:
    """Two labs of one checkout never share containers, network or folder."""
    assert Lab("fleet").id != Lab("molecule-fleet").id
    assert Lab("fleet").folder != Lab("molecule-fleet").folder
