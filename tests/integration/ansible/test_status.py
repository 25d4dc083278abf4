"""A fleet on one screen, run with Ansible itself: what works, and why something does not."""

import json
import sys
from typing import Any

RELEASE = "1.2-abc"
ANSWER = {
    "workers": [],
    "queues": {"trends": 3},
    "dead_letters": {"trends": 0},
    "beat": None,
    "redis": {
        "address": "10.0.0.1:6379",
        "version": "7.0.15",
        "role": "master",
        "used_megabytes": 5,
        "replicas": [],
    },
    "sentinels": [
        {"address": "10.0.0.1:26379", "primary": "10.0.0.1:6379", "problem": ""},
        {"address": "10.0.0.2:26379", "primary": "", "problem": "Connection refused"},
    ],
}
SAYS = f"case $1 in status) echo '{json.dumps(ANSWER)}';; *) echo '{{\"lock\": null}}';; esac"
LOST = "echo 'something else' >&2; echo 'nova: Redis at 10.0.0.1:6379 does not answer' >&2; exit 75"
#: A host without a time daemon, and what haproxy would be there.
PROGRAMS = {
    "systemctl": "case $1 in list-units) echo haproxy.service loaded failed failed;; esac",
    "dpkg-query": "echo redis-server installed",
    "timedatectl": "exit 1",
    "chronyc": "exit 1",
}


def add(hosts: Any, name: str, *, release: str = RELEASE, **programs: str) -> None:
    """Add a host that has a release, or none."""
    root = hosts.add(name, PROGRAMS | programs, group="nova" if release else "frontend")
    for folder in ("etc", "var", "opt/nova"):
        (root / folder).mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=debian\nVERSION_ID=12\n")
    if release:
        (root / "opt/nova/releases" / release).mkdir(parents=True)
        (root / "opt/nova/current").symlink_to(f"releases/{release}")


def look(hosts: Any) -> tuple[dict[str, Any], str]:
    """Run the playbook; return what it wrote for programs, and what it showed."""
    output = hosts.folder / "status.json"
    shown = hosts.play("status.yml", "-e", f"output={output}")
    return json.loads(output.read_text()), shown


def test_one_host_that_reaches_redis_is_enough(hosts: Any) -> None:
    """Each that does not is named with its reason; a frontend has no release, and is not asked."""
    add(hosts, "nova1", nova=LOST)
    chrony = "echo 'System time     : 0.250000000 seconds fast of NTP time'"
    add(hosts, "nova2", nova=SAYS, chronyc=chrony)
    hosts.add_unreachable("nova3")
    add(hosts, "front1", release="", timedatectl="echo no")
    found, shown = look(hosts)
    assert found["hosts"].keys() == {"nova1", "nova2", "nova3", "front1"}
    assert found["problems"]["nova1"] == "nova: Redis at 10.0.0.1:6379 does not answer"
    assert "Connection refused" in found["problems"]["nova3"]
    assert found["problems"].keys() == {"nova1", "nova3"}
    assert found["fleet"] == ANSWER
    assert found["operations"] == {"lock": None}
    assert found["hosts"]["nova1"]["clock"] == "at least +0.0 s"
    assert found["hosts"]["nova2"]["clock"] == "+0.2500 s"
    assert found["hosts"]["front1"]["clock"] == "at least +0.0 s, not synchronised"
    for words in (
        "CANNOT SAY HOW THE FLEET IS: nova: Redis at 10.0.0.1:6379 does not answer",
        "nova3: NOT REACHED: nova3 cannot be surveyed: ",
        "front1: no release",
        "haproxy.service failed",
        "queue trends: 3 waiting",
        "sentinel 10.0.0.1:26379: 10.0.0.1:6379 is the primary",
        "sentinel 10.0.0.2:26379: Connection refused",
    ):
        assert words in shown


def test_make_status_says_why_nobody_knows(hosts: Any) -> None:
    add(hosts, "nova1", nova=LOST)
    program = (sys.executable, "-m", "scripts.fleet_status", "-i", str(hosts.inventory))
    done = hosts.run(*program)
    shown = " ".join(done.stdout.split())
    assert "nova1: nova: Redis at 10.0.0.1:6379 does not answer" in shown
    assert "No host could say how the fleet is." in shown
    assert done.returncode == 1


def test_make_status_shows_the_sentinels(hosts: Any) -> None:
    add(hosts, "nova1", nova=SAYS)
    program = (sys.executable, "-m", "scripts.fleet_status", "-i", str(hosts.inventory))
    done = hosts.run(*program)
    assert "  sentinel 10.0.0.1:26379: 10.0.0.1:6379 is the primary" in done.stdout
    assert "  sentinel 10.0.0.2:26379: Connection refused" in done.stdout
    assert done.returncode == 0
