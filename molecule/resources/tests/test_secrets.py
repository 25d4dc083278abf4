"""No secret is where somebody else could read it."""

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from scripts.lab.plays import play

testinfra_hosts = ["ansible://all?sudo=true"]

# The secrets reach grep as a file descriptor: never on a command line.
PATTERNS = "/run/nova-test-patterns"
GREP_ETC = 'grep -rlsFf "$patterns" /etc || true'


def find(host: Host, known: dict[str, str], command: str) -> str:
    """Run a shell command that greps with `-f "$patterns"`; return what it prints."""
    encoded = base64.b64encode("\n".join(known.values()).encode()).decode()
    script = (
        f"umask 077; echo {encoded} | base64 -d > {PATTERNS}; patterns={PATTERNS}; "
        f"{command}; rm {PATTERNS}"
    )
    return str(host.check_output(script))


def test_patterns_do_find_a_secret(host: Host, fleet: Any, known_secrets: dict[str, str]) -> None:
    """The search itself works: it finds secrets where they belong, each key on its host."""
    name = host.backend.host
    own = {n: s for n, s in known_secrets.items() if n.endswith(f"/{name}.key")}
    if name in fleet.hosts("nova"):
        own["nova_redis_password"] = known_secrets["nova_redis_password"]
    assert own
    missed = [n for n, s in own.items() if not find(host, {n: s}, GREP_ETC)]
    assert missed == []


def test_no_secret_in_command_lines(host: Host, known_secrets: dict[str, str]) -> None:
    """No process shows a secret in its arguments."""
    assert find(host, known_secrets, 'ps -eo args | grep -Ff "$patterns" || true') == ""


def test_no_secret_in_world_readable_files(host: Host, known_secrets: dict[str, str]) -> None:
    """No file that everybody may read holds a secret."""
    command = (
        "find /etc /opt/nova /var/lib /var/log /run /home /tmp /usr/local -xdev -type f "
        '-perm -o=r -print0 2>/dev/null | xargs -0 grep -lsFf "$patterns" || true'
    )
    assert find(host, known_secrets, command) == ""


def test_no_secret_in_logs(host: Host, known_secrets: dict[str, str]) -> None:
    """Neither the journal nor a log file holds a secret."""
    command = (
        "{ journalctl --no-pager --quiet; find /var/log -type f -exec cat {} +; } "
        '| grep -acFf "$patterns" || true'
    )
    assert find(host, known_secrets, command) == "0"


def test_no_secret_in_units(host: Host, known_secrets: dict[str, str]) -> None:
    """What `systemctl show` tells every user of the host holds no secret."""
    command = (
        "systemctl show --all 'celery-*' 'nova*' 'flower*' 'redis*' "
        '| grep -cFf "$patterns" || true'
    )
    assert find(host, known_secrets, command) == "0"


def test_no_secret_in_environments(host: Host, known_secrets: dict[str, str]) -> None:
    """No process has a secret in its environment, which its children would inherit."""
    command = 'grep -alsFf "$patterns" /proc/[0-9]*/environ || true'
    assert find(host, known_secrets, command) == ""


def test_no_secret_on_the_screen(
    known_secrets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """site.yml with -vvv and --diff shows none, neither those it finds nor new ones that it writes.

    A password of Redis is not changed by site.yml.
    """
    names = ("nova_jwt_secret_key", "flower_password")
    new = {name: secrets.token_hex(32) for name in names}
    file = tmp_path / "new.json"
    with open(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as stream:
        json.dump(new, stream)
    try:
        done = play("site", "--diff", "-vvv", "-e", f"@{file}")
    finally:
        capsys.readouterr()  # a secret that is in it must not get into the report of this test
        play("site")
    assert done.changed, "the new secrets were written"
    both = [*known_secrets.items(), *new.items()]
    assert [name for name, secret in both if secret in done.text] == []
