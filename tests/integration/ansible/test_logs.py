"""The lines of several hosts are merged by time, run with Ansible itself."""

import json
import sys
from datetime import datetime
from typing import Any

UNIT = "celery-worker@trends.service"
#: As the journal takes in what a process writes at once: each line, all of one time.
TRACEBACK = ["Traceback (most recent call last):", '  File "a.py", line 1', "    f()", "ValueError"]
BROKEN = {"journalctl": "echo 'No journal files were found.' >&2; exit 1"}
BROKEN_SAYS = "nova-host: journalctl: No journal files were found."


def entry(time: str, text: str, **more: str) -> str:
    """A line of `journalctl --output=json`."""
    microseconds = round(datetime.fromisoformat(time).timestamp() * 1_000_000)
    known = {"_SYSTEMD_UNIT": UNIT, "SYSLOG_IDENTIFIER": "nova", "MESSAGE": text}
    return json.dumps(known | {"__REALTIME_TIMESTAMP": str(microseconds)} | more)


def journal(*entries: str) -> dict[str, str]:
    """The program journalctl of a host with these entries."""
    return {"journalctl": "\n".join(["cat << 'END'", *entries, "END"])}


def read(hosts: Any) -> tuple[dict[str, Any], str]:
    """Run the playbook; return what it wrote for programs, and what it showed."""
    output = hosts.folder / "logs.json"
    shown = hosts.play("logs.yml", "-e", f"unit={UNIT}", "-e", f"output={output}")
    return json.loads(output.read_text()), shown


def test_lines_of_all_hosts_are_in_the_order_of_their_time(hosts: Any) -> None:
    """A traceback stays whole though another host writes in the same second, even microsecond."""
    at_once = "2026-03-01T12:00:00.500000+00:00"
    hosts.add("nova1", journal(*(entry(at_once, line) for line in TRACEBACK)))
    hosts.add(
        "nova2",
        journal(
            entry("2026-03-01T13:00:00.499999+01:00", "zzz before"),
            entry(at_once, "at once"),
            entry("2026-03-01T12:00:00.500001Z", "aaa after {{ 7 * 7 }}"),
        ),
    )
    about_haproxy = {"UNIT": "haproxy.service", "SYSLOG_IDENTIFIER": "systemd"}
    reload = entry("2026-03-01T12:00:01Z", "Reloaded", **about_haproxy)
    hosts.add("front1", journal(reload), group="frontend")
    found, shown = read(hosts)
    assert found["problems"] == {}
    assert [(line["host"], line["text"]) for line in found["lines"]] == [
        ("nova2", "zzz before"),
        *(("nova1", line) for line in TRACEBACK),
        ("nova2", "at once"),
        ("nova2", "aaa after {{ 7 * 7 }}"),
        ("front1", "Reloaded"),
    ]
    begins = ["{time} {host} {unit} {program}: ".format_map(line) for line in found["lines"]]
    assert begins[0] == f"2026-03-01T12:00:00.499999Z nova2 {UNIT} nova: "
    assert begins[-1] == "2026-03-01T12:00:01.000000Z front1 haproxy.service systemd: "
    places = [shown.find(begin) for begin in begins]
    assert -1 not in places
    assert places == sorted(places)
    assert "aaa after {{ 7 * 7 }}" in shown


def test_a_host_that_says_nothing_is_named_with_its_reason(hosts: Any) -> None:
    hosts.add("nova1", journal(entry("2026-03-01T12:00:00Z", "works")))
    hosts.add("nova2", BROKEN)
    hosts.add_unreachable("nova3")
    found, shown = read(hosts)
    assert [line["text"] for line in found["lines"]] == ["works"]
    assert found["problems"].keys() == {"nova2", "nova3"}
    assert found["problems"]["nova2"] == BROKEN_SAYS
    assert "Connection refused" in found["problems"]["nova3"]
    assert f"nova2: NOTHING READ: {BROKEN_SAYS}" in shown
    assert "nova3: NOTHING READ: " in shown


def test_make_logs_prints_the_lines_alone(hosts: Any) -> None:
    """What is wrong with a host is no line of a log: it goes to standard error, and is the exit."""
    lines = (entry("2026-03-01T12:00:00Z", "works"), entry("2026-03-01T12:00:01Z", "[still]"))
    hosts.add("nova1", journal(*lines))
    hosts.add("nova2", BROKEN)
    program = (sys.executable, "-m", "scripts.fleet_logs", "-i", str(hosts.inventory))
    done = hosts.run(*program, "--unit", UNIT)
    assert done.stdout.splitlines() == [
        f"2026-03-01T12:00:00.000000Z nova1 {UNIT} nova: works",
        f"2026-03-01T12:00:01.000000Z nova1 {UNIT} nova: [still]",
    ]
    assert f"nova2: nothing read: {BROKEN_SAYS}" in done.stderr
    assert done.returncode == 1
