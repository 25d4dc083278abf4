"""What an operator does to a fleet that works: restarts, hosts out and in, and looking at it.

Each is the one command of docs/operations.md, under load where workers are touched.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.lab.plays import Begun

Playbook = Callable[..., Any]
UnderLoad = Callable[[], Any]


def pids(fleet: Any) -> dict[str, str]:
    """The main process of every worker, by host and unit."""
    return {
        f"{name}/{unit}": host.check_output(f"systemctl show -P MainPID {unit}")
        for name, host in fleet.hosts("workers").items()
        for unit in host.check_output(
            "systemctl list-units --plain --no-legend 'celery-worker@*' | cut -d' ' -f1"
        ).split()
    }


def test_a_rolling_restart_replaces_every_process_and_leaves_what_was_stopped(
    base_release: str, playbook: Playbook, under_load: UnderLoad, fleet: Any
) -> None:
    """Nothing is lost meanwhile; a unit that was stopped on purpose stays stopped."""
    stopped = "celery-worker@trends.service"
    host = fleet.hosts("nova")["nova2"]
    host.check_output(f"systemctl stop {stopped}")
    before = pids(fleet)
    with under_load():
        assert playbook("rolling-restart").code == 0
    after = pids(fleet)
    assert before.keys() == after.keys()
    assert [unit for unit in before if before[unit] == after[unit]] == []
    assert host.run(f"systemctl is-active {stopped}").stdout.strip() == "inactive"
    host.check_output(f"systemctl start {stopped}")


def test_a_reboot_of_a_host_brings_everything_up_again(
    base_release: str, playbook: Playbook, under_load: UnderLoad, fleet: Any
) -> None:
    """The others serve its queues meanwhile; what was stopped on purpose stays stopped."""
    stopped = "celery-worker@trends.service"
    host = fleet.hosts("nova")["nova2"]
    before = fleet.boots()["nova2"]
    host.check_output(f"systemctl stop {stopped}")
    with under_load():
        assert playbook("reboot", "--limit", "nova2").code == 0
    assert fleet.boots()["nova2"] != before
    assert host.run(f"systemctl is-active {stopped}").stdout.strip() == "inactive"
    host.check_output(f"systemctl start {stopped}")
    host.check_output("nova-host await --seconds 60")


def test_a_reboot_whose_controller_died_is_done_again_when_asked(
    base_release: str,
    start: Callable[..., Begun],
    playbook: Playbook,
    under_load: UnderLoad,
    fleet: Any,
    wait_until: Callable[..., None],
) -> None:
    """Killed with the workers drained: they run again after it, and the lock is free."""
    host = fleet.hosts("nova")["nova2"]
    before, workers = fleet.boots()["nova2"], pids(fleet).keys()
    with under_load():
        first = start("reboot", "--limit", "nova2")
        wait_until(lambda: json.loads(host.check_output("nova-host survey"))["drained"], "a drain")
        first.signal(signal.SIGKILL)
        refused = playbook("reboot", "--limit", "nova2")
        assert refused.code != 0
        assert "nothing was changed" in refused.words
        assert playbook("reboot", "--limit", "nova2", "-e", "take_over=true").code == 0
    assert fleet.boots()["nova2"] != before
    assert pids(fleet).keys() == workers
    assert fleet.ask_json("nova fleet show --json")["lock"] is None


def test_a_host_on_which_all_was_stopped_is_drained_resumed_restarted_around_and_left_so(
    base_release: str, playbook: Playbook, under_load: UnderLoad, fleet: Any
) -> None:
    """As for work on the host; its workers are not online, and that is no mistake."""
    host = fleet.hosts("nova")["nova2"]
    host.check_output("systemctl stop nova.target")
    try:
        with under_load():
            for name, *limit in (["drain", "nova2"], ["resume", "nova2"], ["rolling-restart"]):
                options = ("--limit", *limit) if limit else ()
                done = playbook(name, *options)
                assert done.code == 0, (name, done.words[-500:])
        active = "systemctl list-units --plain --no-legend --state=active 'celery-*' 'nova-*'"
        assert host.check_output(active) == ""
    finally:
        host.check_output("systemctl start nova.target")
    host.check_output("nova-host await --seconds 60")


def test_an_unhealthy_fleet_is_not_restarted(
    base_release: str, playbook: Playbook, fleet: Any, wait_until: Callable[..., None]
) -> None:
    """A worker that is frozen answers nobody: the refusal names it, and no process is replaced."""
    host = fleet.hosts("nova")["nova2"]
    unit = "celery-worker@analytics.service"
    pid = host.check_output(f"systemctl show -P MainPID {unit}")
    before = pids(fleet)
    host.check_output(f"kill -STOP {pid}")
    try:
        wait_until(
            lambda: "analytics@nova2" not in {w["name"] for w in fleet.status()["workers"]},
            "the frozen worker is missed",
        )
        done = playbook("rolling-restart")
    finally:
        host.check_output(f"kill -CONT {pid}")
    assert done.code != 0
    assert "analytics@nova2" in done.words
    assert "nothing was changed" in done.words
    assert {unit: pid for unit, pid in pids(fleet).items() if before[unit] != pid} == {}


def noted(audit: Callable[[], dict[str, Any]]) -> tuple[str, str, str]:
    """What was done to which hosts last, and how it ended."""
    return audit()["action"], audit()["detail"], audit()["result"]


def test_a_host_that_is_drained_takes_nothing_until_it_is_resumed(
    base_release: str,
    playbook: Playbook,
    under_load: UnderLoad,
    fleet: Any,
    audit: Callable[[], dict[str, Any]],
) -> None:
    """Both are in the audit."""

    def states() -> set[str]:
        workers = fleet.ask_json("nova worker list --json")
        return {worker["state"] for worker in workers if worker["name"].endswith("@nova2")}

    with under_load():
        assert playbook("drain", "--limit", "nova2").code == 0
        assert states() == {"drained"}
        assert noted(audit) == ("drain", "nova2", "ok")
        again = playbook("drain", "--limit", "nova2")
        assert (again.code, again.changed) == (0, {})
        assert playbook("resume", "--limit", "nova2").code == 0
        assert noted(audit) == ("resume", "nova2", "ok")
    assert states() == {"working"}
    refused = playbook("drain")
    assert refused.code != 0
    assert "--limit" in refused.words


def test_a_host_leaves_the_fleet_is_cleaned_and_comes_back(
    base_sources: Path,
    playbook: Playbook,
    under_load: UnderLoad,
    fleet: Any,
    audit: Callable[[], dict[str, Any]],
) -> None:
    """Scale-in forgets its workers; uninstall leaves the data; site.yml makes it anew, alone."""
    # The release is there for every kind of host: tests before have built more than are kept.
    assert playbook("site", "-e", f"release={base_sources}").code == 0
    with under_load():
        assert playbook("scale-in", "--limit", "nova2").code == 0
    assert noted(audit) == ("scale-in", "nova2", "ok")
    assert fleet.ask_json("nova fleet show --json")["lock"] is None
    known = {worker["name"] for worker in fleet.ask_json("nova worker list --json")}
    assert {name for name in known if name.endswith("@nova2")} == set()
    host = fleet.hosts("nova")["nova2"]
    host.check_output("touch /var/lib/nova/kept")
    refused = playbook("uninstall", "--limit", "nova2")
    assert refused.code != 0
    assert host.file("/opt/nova/current").exists
    assert playbook("uninstall", "--limit", "nova2", "-e", "confirm=nova2").code == 0
    assert noted(audit) == ("uninstall", "nova2", "ok")
    left = host.check_output(
        r"find / -xdev \( -iname '*nova*' -o -name 'celery*' -o -name 'flower*' \)"
        " -not -path '/proc/*' -not -path '/sys/*' -not -path '/tmp/*'"
        " -not -path '/home/*' -not -path '/var/lib/systemd/*' -not -path '/run/*'"
    ).split()
    assert {
        path for path in left if not path.startswith(("/var/lib/nova", "/var/log/nova"))
    } == set()
    assert host.file("/var/lib/nova/kept").exists
    with under_load():
        done = playbook("site", "-e", f"release={base_sources}", "--limit", "nova2")
        assert (done.code, done.changes.keys()) == (0, {"nova2"})
    host.check_output("nova-host await --seconds 60")
    again = playbook("site", "-e", f"release={base_sources}")
    assert (again.code, again.changed) == (0, {})


def test_a_changed_queue_or_concurrency_starts_restarts_and_stops_workers(
    base_sources: Path, playbook: Playbook, under_load: UnderLoad, fleet: Any
) -> None:
    """With drain and gate, as a release; units that are not the role's are left alone."""
    host = fleet.hosts("nova")["nova2"]
    changed = {
        "governance": {},
        "maintenance": {"concurrency": 3},
        "data": {"queues": ["analytics", "trends"], "concurrency": 1},
        "analysis": {},
    }
    options = ("-e", f"release={base_sources}")
    host.check_output("systemctl start celery-worker@mine.service")
    before = pids(fleet)
    with under_load():
        instances = json.dumps({"worker_instances": changed})
        assert playbook("site", *options, "-e", instances).code == 0
    after = pids(fleet)
    names = {
        f"{name}/celery-worker@{unit}.service"
        for name in fleet.hosts("workers")
        for unit in changed
    }
    assert after.keys() == names | {"nova2/celery-worker@mine.service"}
    assert {unit for unit in before.keys() & after.keys() if before[unit] == after[unit]} == {
        unit for unit in after if not unit.endswith(("@maintenance.service", "@data.service"))
    }
    processes = host.check_output(
        "pgrep --parent $(systemctl show -P MainPID celery-worker@maintenance)"
    )
    assert len(processes.split()) == 3
    host.check_output("systemctl stop celery-worker@mine.service")
    with under_load():
        assert playbook("site", *options).code == 0
    wanted = {unit for unit in before if not unit.endswith("@mine.service")}
    assert pids(fleet).keys() == wanted


def other_inventory(folder: Path, change: Callable[[dict[str, Any]], None]) -> tuple[str, ...]:
    """Write the inventory with other groups; return the options that give it to a playbook."""
    static, reached = os.environ["ANSIBLE_INVENTORY"].split(",")
    shutil.copytree(static, folder)
    file = folder / "hosts.yml"
    inventory = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(inventory["nova"]["children"])
    file.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    return "-i", str(folder), "-i", reached


def test_a_host_that_leads_beat_and_serves_the_api_hands_over_when_it_leaves(
    base_sources: Path,
    playbook: Playbook,
    under_load: UnderLoad,
    fleet: Any,
    tmp_path: Path,
    wait_until: Callable[..., None],
) -> None:
    """Another leads when the playbook ends; nothing that it had is lost, and it serves no more."""

    def join(groups: dict[str, Any]) -> None:
        for part in ("beat", "api"):
            groups[part]["hosts"]["nova2"] = None

    def leader() -> str:
        return str((fleet.status()["beat"] or {}).get("host"))

    release = ("-e", f"release={base_sources}")
    other = other_inventory(tmp_path / "inventory", join)
    assert playbook("site", *release, *other).code == 0
    leaves, stays = fleet.hosts("nova")["nova2"], fleet.one("beat")
    try:
        stays.check_output("systemctl stop celery-beat")
        wait_until(lambda: leader() == "nova2", "the beat of nova2 leads")
        stays.check_output("systemctl start celery-beat")
        with under_load():
            assert playbook("scale-in", "--limit", "nova2", *other).code == 0
            wait_until(lambda: leader() == stays.backend.host, "the other beat leads")
        active = "systemctl list-units --plain --no-legend --state=active 'celery-*' 'nova-*'"
        assert leaves.check_output(active) == ""
    finally:
        assert playbook("site", *release).code == 0
    leaves.check_output("nova-host await --seconds 60")
    assert leaves.run("systemctl is-active celery-beat nova-api").stdout.split() == ["inactive"] * 2
    assert not leaves.file("/etc/nova/credentials/jwt_secret_key").exists


def test_a_part_that_is_taken_from_a_host_is_stopped_there(
    base_sources: Path, playbook: Playbook, under_load: UnderLoad, fleet: Any, tmp_path: Path
) -> None:
    """Flower moves to another host, and a host has no workers any more; then all is as before.

    Its password stays nowhere else.
    """
    [had_flower] = fleet.hosts("flower")

    def move_and_remove(groups: dict[str, Any]) -> None:
        groups["flower"]["hosts"] = {"nova3": None}
        del groups["workers"]["hosts"]["nova2"]

    hosts = fleet.hosts("nova")

    def enabled(name: str, units: str) -> str:
        return str(hosts[name].run(f"ls /etc/systemd/system/nova.target.wants/{units}").stdout)

    release = ("-e", f"release={base_sources}")
    other = (*release, *other_inventory(tmp_path / "inventory", move_and_remove))
    with under_load():
        assert playbook("site", *other).code == 0
    assert hosts[had_flower].run("systemctl is-active flower").stdout.strip() == "inactive"
    assert hosts["nova3"].check_output("systemctl is-active flower") == "active"
    assert {name for name in pids(fleet) if name.startswith("nova2/")} == set()
    assert (enabled(had_flower, "flower*"), enabled("nova2", "celery-worker*")) == ("", "")
    password = "/etc/nova/credentials/flower.conf"
    assert {name for name, host in hosts.items() if host.file(password).exists} == {"nova3"}
    again = playbook("site", *other)
    assert (again.code, again.changed) == (0, {})
    with under_load():
        assert playbook("site", *release).code == 0
    assert hosts[had_flower].check_output("systemctl is-active flower") == "active"
    assert enabled("nova3", "flower*") == ""
    assert {name for name in pids(fleet) if name.startswith("nova2/")} != set()


def test_a_folder_that_somebody_removed_is_made_anew(
    base_sources: Path, playbook: Playbook, fleet: Any
) -> None:
    """Though every file of the host is what it should be."""
    host, folder = fleet.hosts("nova")["nova2"], "/etc/systemd/system/nova-api.socket.d"
    host.check_output(f"rmdir {folder}")
    assert playbook("site", "-e", f"release={base_sources}").code == 0
    assert host.file(folder).is_directory
    again = playbook("site", "-e", f"release={base_sources}")
    assert (again.code, again.changed) == (0, {})


def test_scale_in_refuses_what_would_leave_a_part_without_a_host(
    base_release: str, playbook: Playbook
) -> None:
    done = playbook("scale-in", "--limit", "nova1")
    assert done.code != 0
    assert "nova1" in done.words


def test_status_shows_every_host_on_one_screen(
    base_release: str, playbook: Playbook, fleet: Any, root: Path
) -> None:
    done = playbook("status")
    assert done.code == 0
    for words in ("nova1", "nova2", "nova3", base_release):
        assert words in done.text
    assert done.changed == {}
    inventories = [f"-i{path}" for path in os.environ["ANSIBLE_INVENTORY"].split(",")]
    found = subprocess.run(
        [sys.executable, "-m", "scripts.fleet_status", "--json", *inventories],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(found.stdout)
    assert {"nova1", "nova2", "nova3"} <= set(answer["hosts"])
    assert answer["problems"] == {}
    units = {name: host["debian_units"] for name, host in answer["hosts"].items()}
    for name in fleet.hosts("redis"):
        redis = {"state": "active", "enabled": True, "stale": False}
        assert units[name]["redis-server.service"] == redis
    # Containers have this machine's clock: what is left would be the time of the question.
    assert {host["clock_offset"] for host in answer["hosts"].values()} == {0}


@pytest.mark.parametrize(
    ("unit", "group"),
    [("celery-worker@trends", "workers"), ("celery-beat", "beat"), ("redis-server", "redis")],
)
def test_logs_merges_the_lines_of_all_hosts(
    playbook: Playbook, fleet: Any, tmp_path: Path, unit: str, group: str
) -> None:
    """By time, each with its host, for people and for programs."""
    output = tmp_path / "logs.json"
    done = playbook("logs", "-e", f"unit={unit}", "-e", "lines=5", "-e", f"output={output}")
    assert (done.code, done.changed) == (0, {})
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["problems"] == {}
    assert set(fleet.hosts(group)) <= {line["host"] for line in found["lines"]}
    times = [line["time"] for line in found["lines"]]
    assert times == sorted(times)
    for line in found["lines"]:
        assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{6}Z", line["time"])
        assert line["unit"] == f"{unit}.service"
        assert f"{line['time']} {line['host']} {line['unit']} {line['program']}: " in done.words
