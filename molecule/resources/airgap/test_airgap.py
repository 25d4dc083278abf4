"""Hosts without a way out run Nova by a bundle alone; a bundle that does not fit is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from testinfra.host import Host

from scripts.bundle.content import verify
from scripts.bundle.targets import role_packages
from scripts.lab.plays import play, play_in_vain
from scripts.lab.variants import Patch, make

testinfra_hosts = ["ansible://nova?sudo=true"]

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"
RESOLVE = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"


@pytest.fixture(scope="session")
def bundle(fleet: Any) -> Path:
    """The bundle that the hosts were made from."""
    key = fleet.variables("nova")["ansible_ssh_private_key_file"]
    return Path(key).parent / "bundle"


def make_bundle(root: Path, folder: Path, *options: str) -> Path:
    """Make another bundle."""
    command = [sys.executable, "-m", "scripts.bundle", "make", f"--output={folder}", *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def mirrors_of(host: Host) -> set[tuple[str, int]]:
    """Names and ports of the package sources that a host has by itself, or of their proxy."""
    files = "/etc/apt/sources.list /etc/apt/sources.list.d/*"
    text = host.run("cat /etc/apt/apt.conf.d/80lab-proxy").stdout or host.check_output(
        f"cat {files}"
    )
    urls = [urlsplit(url) for url in re.findall(r"https?://[^\s\"]+", text)]
    return {(str(url.hostname), url.port or (443 if url.scheme == "https" else 80)) for url in urls}


def test_a_host_reaches_nothing_beyond_this_machine(host: Host) -> None:
    """No mirror, by name or address, though this machine reaches it; no name server; no route."""
    assert host.check_output("ip route show default") == ""
    mirrors = mirrors_of(host)
    assert mirrors
    for name, port in mirrors:
        found = subprocess.run(
            [sys.executable, "-c", RESOLVE, name], capture_output=True, text=True, check=True
        )
        address = found.stdout.strip()
        subprocess.run([sys.executable, "-c", CONNECT, address, str(port)], check=True)
        assert host.run("python3 -c %s %s %s", CONNECT, address, str(port)).rc != 0
        assert host.run("python3 -c %s %s", RESOLVE, name).rc != 0


def test_every_package_is_the_one_of_the_bundle(host: Host, bundle: Path) -> None:
    """All that roles install, and what the inventory names; for this host's Debian."""
    release = host.check_output(". /etc/os-release; echo debian-$VERSION_ID")
    [(_, target)] = [
        item for item in verify(bundle)["targets"].items() if item[0].startswith(release)
    ]
    offered = {entry["package"]: entry["version"] for entry in target["packages"]}
    lines = host.check_output("dpkg-query --show --showformat='${Package} ${Version}\\n'")
    installed = dict(line.split(" ", 1) for line in lines.splitlines())
    elsewhere = {"redis-server", "redis-sentinel", "haproxy"} - installed.keys()
    # SSH needs procps: a host has it before it can be reached, perhaps an older one.
    wanted = role_packages() - elsewhere - {"procps"} | {"tree"}
    assert {name: installed.get(name) for name in wanted} == {n: offered[n] for n in wanted}


def test_each_part_is_there_on_one_host(fleet: Any) -> None:
    assert fleet.one("redis").package("redis-server").is_installed
    assert fleet.one("frontend").package("haproxy").is_installed


def test_every_worker_answers(fleet: Any) -> None:
    """The fleet works: each worker takes a task from each of its queues."""
    assert fleet.ask_workers(fleet.workers())["missing"] == {}


def test_apt_as_people_call_it_is_left_alone(host: Host) -> None:
    """It knows the host's own sources, and nothing of the bundle."""
    assert "/opt/nova" not in host.check_output("apt-config dump; apt-cache policy")


def test_a_damaged_bundle_is_refused_before_anything_changes(
    bundle: Path, tmp_path: Path, fleet: Any
) -> None:
    damaged = tmp_path / "bundle"
    shutil.copytree(bundle, damaged)
    [archive] = damaged.glob("debs-debian-13-*.tar")
    with archive.open("r+b") as stream:
        stream.seek(1_000_000)
        byte = stream.read(1)
        stream.seek(1_000_000)
        stream.write(bytes([byte[0] ^ 1]))
    for name in ("site", "deploy"):
        done = play_in_vain(name, "-e", f"bundle={damaged}")
        assert f"{archive} is damaged; copy the bundle again" in done.words
        assert done.changed == {}
    assert fleet.ask_json("nova fleet show --json")["lock"] is None


def test_a_host_that_the_bundle_is_not_for_is_refused(
    root: Path, tmp_path: Path, fleet: Any
) -> None:
    """With what it is, and how to make a bundle that is for it."""
    arch = fleet.one("nova").check_output("uname -m")
    other = make_bundle(root, tmp_path / "bundle", f"--target=debian-12-{arch}")
    done = play_in_vain("site", "-e", f"bundle={other}")
    assert f"air2 is debian-13-{arch}; the bundle {other} is for debian-12-{arch}." in done.words
    assert f'TARGETS="debian-13-{arch} ..."' in done.words
    assert done.changed == {}


def test_a_bundle_brings_another_release(root: Path, tmp_path: Path, fleet: Any) -> None:
    """Every host and every worker runs it; once more changes nothing."""
    arch = fleet.one("nova").check_output("uname -m")
    checkout = make(
        tmp_path / "nova", [Patch("nova/maintenance/tasks.py", "\n# Another release.\n")]
    )
    options = [f"--target=debian-12-{arch}", f"--target=debian-13-{arch}", "--package=tree"]
    new = make_bundle(root, tmp_path / "bundle", f"--release={checkout}", *options)
    release = json.loads((new / "manifest.json").read_text(encoding="utf-8"))["release"]

    play("deploy", "-e", f"bundle={new}")
    for host in fleet.hosts("nova").values():
        assert host.check_output("cat /opt/nova/current/nova-release") == release
    assert {worker["release"] for worker in fleet.status()["workers"]} == {release}

    assert play("deploy", "-e", f"bundle={new}").changed == {}
