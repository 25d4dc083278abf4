"""API hosts with certificates of an own CA: made on the controller, by Ansible itself.

The hosts are this machine, and are only compared with what is wanted: nothing is written on them.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible.conftest import ansible_playbook

CERTIFICATE = "/etc/nova/credentials/nova_api_tls_certificate"
CA = "/etc/nova/api-ca.crt"


@dataclass(frozen=True)
class Compared:
    """What a comparison made on the controller, and which files of the hosts differ."""

    made_for: set[str]
    due: dict[str, set[str]]


Compare = Callable[..., Compared]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Compare two API hosts, on which there is nothing, with what is wanted."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "api_jwt_secret_key": "0123456789abcdef" * 2,
        "api_address": "0.0.0.0",  # noqa: S104 - nothing listens
        "api_tls_own_ca": True,
        "api_tls_folder": str(tmp_path / "tls"),
    }
    hosts = {"a": {"ansible_host": "192.0.2.11"}, "b": {"ansible_host": "192.0.2.12"}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}))
    nothing: dict[str, Any] = {"base_survey": {"files": {}}, "base_changed_files": []}
    say = "{{ inventory_hostname }} differs in {{ base_changed_files | join(' ') }}"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.set_fact": nothing},
            {
                "ansible.builtin.include_role": {"name": "api", "tasks_from": "configure"},
                "vars": {"base_files_compare": True},
            },
            {"ansible.builtin.debug": {"msg": say}},
        ],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))

    def run(*options: str) -> Compared:
        done = ansible_playbook(f"--inventory={inventory}", playbook, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        words = " ".join(done.stdout.split())
        due = re.findall(r"msg: (\w+) differs in ((?:/\S+ ?)*)", words)
        changed = re.findall(r"^(\w+) +: .*\bchanged=[1-9]", done.stdout, re.MULTILINE)
        return Compared(set(changed), {host: set(files.split()) for host, files in due})

    return run


def verifies(folder: Path, host: str, *options: str) -> bool:
    """Whether a strict client accepts a host's certificate."""
    command = ["openssl", "verify", "-x509_strict", *options, "-CAfile", str(folder / "ca.crt")]
    done = subprocess.run([*command, str(folder / f"{host}.crt")], capture_output=True, check=False)
    return done.returncode == 0


def test_hosts_get_certificates_of_one_ca(compare: Compare, tmp_path: Path) -> None:
    """Which both hosts want at once. Each is for what frontends verify and what a gate asks."""
    compared = compare()
    assert compared.made_for == {"a", "b"}
    assert all({CERTIFICATE, CA} <= files for files in compared.due.values())
    for host, address in (("a", "192.0.2.11"), ("b", "192.0.2.12")):
        assert verifies(tmp_path / "tls", host, "-verify_hostname", host)
        assert verifies(tmp_path / "tls", host, "-verify_ip", address)
        assert verifies(tmp_path / "tls", host, "-verify_ip", "127.0.0.1")


def test_what_a_host_has_of_them_is_not_due_again(compare: Compare, tmp_path: Path) -> None:
    """The certificate of the other host is."""
    compare()
    known = {
        path: {
            "sha256": hashlib.sha256((tmp_path / "tls" / name).read_bytes()).hexdigest(),
            "mode": mode,
            "owner": "root",
        }
        for path, name, mode in ((CERTIFICATE, "a.crt", "0600"), (CA, "ca.crt", "0644"))
    }
    compared = compare("-e", json.dumps({"base_survey": {"files": known}}))
    assert compared.made_for == set()
    assert not {CERTIFICATE, CA} & compared.due["a"]
    assert {CERTIFICATE, CA} & compared.due["b"] == {CERTIFICATE}


def test_a_check_makes_no_certificate_and_says_what_is_due(
    compare: Compare, tmp_path: Path
) -> None:
    compared = compare("--check")
    assert not (tmp_path / "tls").exists()
    assert compared.made_for == {"a", "b"}
    assert compared.due.keys() == {"a", "b"}
    assert all({CERTIFICATE, CA} <= files for files in compared.due.values())
