"""The release: one on all hosts, owned by root, and the one that answers."""

from typing import Any

from testinfra.host import Host

testinfra_hosts = ["ansible://nova?sudo=true"]


def current(host: Host) -> str:
    """Return the release that the host's symlink points to."""
    link = host.file("/opt/nova/current")
    assert link.is_symlink
    return str(link.linked_to).rpartition("/")[2]


def test_current_is_a_complete_release(host: Host) -> None:
    """The symlink leads into releases/, and the release's own note says the same name."""
    release = current(host)
    assert host.check_output("readlink -f /opt/nova/current") == f"/opt/nova/releases/{release}"
    assert host.check_output("cat /opt/nova/current/nova-release") == release
    assert host.check_output("nova --version") == release


def test_nova_cannot_change_its_own_code(host: Host) -> None:
    """No file of the release can be written by the user that runs it, or by anybody but root."""
    writable = host.check_output(
        "find /opt/nova/releases/ ! -type l \\( ! -user root -o -perm /022 \\) | head -n 5"
    )
    assert writable == ""


def test_all_hosts_run_the_same_release(host: Host, fleet: Any) -> None:
    """Every host of the fleet has this host's release."""
    assert {current(other) for other in fleet.hosts("nova").values()} == {current(host)}


def test_workers_answer_with_the_release(host: Host, fleet: Any) -> None:
    """What runs is what is installed: each answer to a health check names this release."""
    answer = fleet.ask_workers(fleet.workers())
    assert {entry["release"] for entry in answer["answers"]} == {current(host)}
