"""The lines of several hosts are merged by time, run with Ansible itself.

The hosts are this machine; each has a shell of its own, where `journalctl` says what a test wants.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
UNIT = "celery-worker@trends.service"
#: As the journal takes in what a process writes at once: each line, all of one time.
TRACEBACK = ["Traceback (most recent call last):", '  File "a.py", line 1', "    f()", "ValueError"]
Add = Callable[..., None]
Read = Callable[..., tuple[dict[str, Any], str]]


def entry(time: str, text: str, **more: str) -> str:
    """A line of `journalctl --output=json`."""
    microseconds = round(datetime.fromisoformat(time).timestamp() * 1_000_000)
    known = {"_SYSTEMD_UNIT": UNIT, "SYSLOG_IDENTIFIER": "nova", "MESSAGE": text}
    return json.dumps(known | {"__REALTIME_TIMESTAMP": str(microseconds)} | more)


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An inventory without hosts."""
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"nova": {"hosts": {}}, "frontend": {"hosts": {}}}))
    return path


@pytest.fixture
def add(tmp_path: Path, inventory: Path) -> Add:
    """Add a host whose journal has these entries, or which fails with an error."""

    def add_host(
        name: str, *entries: str, group: str = "nova", error: str = "", **more: object
    ) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "entries").write_text("".join(f"{line}\n" for line in entries))
        journal = f"echo '{error}' >&2; exit 1" if error else f"cat '{folder}/entries'"
        shell = f'PATH="{folder}:$PATH" exec /bin/sh "$@"'
        for program, script in (("journalctl", journal), ("shell", shell)):
            (folder / program).write_text(f"#!/bin/sh\n{script}\n")
            (folder / program).chmod(0o755)
        hosts = yaml.safe_load(inventory.read_text())
        hosts[group]["hosts"][name] = {"ansible_shell_executable": str(folder / "shell")} | more
        inventory.write_text(yaml.safe_dump(hosts))

    return add_host


@pytest.fixture
def read(tmp_path: Path, inventory: Path) -> Read:
    """Run the playbook; return what it wrote for programs, and what it showed."""

    def run(*options: str) -> tuple[dict[str, Any], str]:
        output = tmp_path / "logs.json"
        done = subprocess.run(
            [
                *(ANSIBLE_PLAYBOOK, f"--inventory={inventory}", "--connection=local"),
                *("-e", "ansible_become=false", "-e", f"unit={UNIT}", "-e", f"output={output}"),
                *(str(ROOT / "ansible/playbooks/logs.yml"), *options),
            ],
            env=os.environ
            | {"ANSIBLE_CONFIG": str(ROOT / "ansible/ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(output.read_text()), " ".join(done.stdout.split())

    return run


def test_lines_of_all_hosts_are_in_the_order_of_their_time(add: Add, read: Read) -> None:
    """A traceback stays whole though another host writes in the same second, even microsecond."""
    add("nova1", *(entry("2026-03-01T12:00:00.500000+00:00", line) for line in TRACEBACK))
    add(
        "nova2",
        entry("2026-03-01T13:00:00.499999+01:00", "zzz before"),
        entry("2026-03-01T12:00:00.500000Z", "at once"),
        entry("2026-03-01T12:00:00.500001Z", "aaa after {{ 7 * 7 }}"),
    )
    add(
        "front1",
        entry(
            "2026-03-01T12:00:01Z", "reloads", UNIT="haproxy.service", SYSLOG_IDENTIFIER="systemd"
        ),
        group="frontend",
    )
    found, shown = read()
    assert found["problems"] == {}
    assert [(line["host"], line["text"]) for line in found["lines"]] == [
        ("nova2", "zzz before"),
        *(("nova1", line) for line in TRACEBACK),
        ("nova2", "at once"),
        ("nova2", "aaa after {{ 7 * 7 }}"),
        ("front1", "reloads"),
    ]
    wanted = [
        f"{line['time']} {line['host']} {line['unit']} {line['program']}: {line['text']}"
        for line in found["lines"]
    ]
    assert wanted[0] == f"2026-03-01T12:00:00.499999Z nova2 {UNIT} nova: zzz before"
    assert wanted[-1].startswith("2026-03-01T12:00:01.000000Z front1 haproxy.service systemd: ")
    places = [shown.find(" ".join(line.split()[:4])) for line in wanted]
    assert -1 not in places
    assert places == sorted(places)
    assert "aaa after {{ 7 * 7 }}" in shown


def test_a_host_that_says_nothing_is_named_with_its_reason(add: Add, read: Read) -> None:
    add("nova1", entry("2026-03-01T12:00:00Z", "works"))
    add("nova2", error="No journal files were found.")
    add("nova3", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    found, shown = read()
    assert [line["text"] for line in found["lines"]] == ["works"]
    assert found["problems"].keys() == {"nova2", "nova3"}
    failed = "nova-host: journalctl: No journal files were found."
    assert found["problems"]["nova2"] == failed
    assert f"nova2: NOTHING READ: {failed}" in shown
    assert "nova3: NOTHING READ: " in shown
    assert "Connection refused" in found["problems"]["nova3"]


def test_make_logs_prints_the_lines_alone(add: Add, inventory: Path) -> None:
    """What is wrong with a host is no line of a log: it goes to standard error, and is the exit."""
    add("nova1", entry("2026-03-01T12:00:00Z", "works"), entry("2026-03-01T12:00:01Z", "[still]"))
    add("nova2", error="No journal files were found.")
    command = [sys.executable, "-m", "scripts.fleet_logs", "-i", str(inventory), "--unit", UNIT]
    done = subprocess.run(
        [*command, "--", "--connection=local", "-e", "ansible_become=false"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == [
        f"2026-03-01T12:00:00.000000Z nova1 {UNIT} nova: works",
        f"2026-03-01T12:00:01.000000Z nova1 {UNIT} nova: [still]",
    ]
    assert "nova2: nothing read: nova-host: journalctl: No journal" in done.stderr
    assert done.returncode == 1
