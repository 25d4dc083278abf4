"""Inventories: what they derive from the groups, and what stands beside them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
INVENTORIES = ANSIBLE / "inventories"
PRODUCTION = INVENTORIES / "production"
PROGRAMS = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg")}
#: Two frontends, which have nothing else of Nova's, and other ports than usual.
FRONTENDS = {
    "frontend": {
        "hosts": {"f1": {"ansible_host": "192.0.2.21"}, "f2": {"ansible_host": "192.0.2.22"}}
    },
    "redis": {"vars": {"redis_port": 7000, "redis_sentinel_port": 7001}},
    "api": {"vars": {"api_port": 8443, "api_tls_own_ca": True}},
    "flower": {"vars": {"flower_port": 5556}},
}
#: Addresses of the hosts of the production inventory.
FLEET = ["192.0.2.11", "192.0.2.12", "192.0.2.13"]


def defaults(role: str) -> dict[str, Any]:
    """The defaults of a role."""
    found: dict[str, Any] = yaml.safe_load(
        (ANSIBLE / f"roles/{role}/defaults/main.yml").read_text()
    )
    return found


def test_keys_and_certificates_are_not_read_as_an_inventory(tmp_path: Path) -> None:
    """In the folders that the defaults of roles name, and in that of the example's certificates."""
    inventory = tmp_path / "inventory"
    shutil.copytree(INVENTORIES / "lab", inventory)
    folders = [defaults(role)[f"{role}_tls_folder"] for role in ("redis", "frontend", "api")]
    for name in [*folders, "{{ inventory_dir }}/certificates"]:
        folder = Path(name.replace("{{ inventory_dir }}", str(inventory)))
        folder.mkdir()
        (folder / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    done = subprocess.run(
        [str(PROGRAMS / "ansible-inventory"), "-i", str(inventory), "--list"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def derived(
    folder: Path, more: dict[str, Any], *variables: tuple[str, str], inventory: Path = PRODUCTION
) -> list[Any]:
    """What an inventory, with `more` beside it, makes of variables of hosts."""
    (folder / "more.yml").write_text(yaml.safe_dump(more))
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    plays = [
        {
            "hosts": host,
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.copy": {
                        "content": f"{{{{ {name} | to_json }}}}",
                        "dest": str(folder / f"{name}.json"),
                    },
                    "delegate_to": "localhost",
                    "vars": here,
                }
            ],
        }
        for host, name in variables
    ]
    (folder / "plays.yml").write_text(yaml.safe_dump(plays))
    inventories = [f"--inventory={inventory}", f"--inventory={folder / 'more.yml'}"]
    subprocess.run(
        [str(PROGRAMS / "ansible-playbook"), *inventories, str(folder / "plays.yml")],
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
    )
    return [json.loads((folder / f"{name}.json").read_text()) for _, name in variables]


def admitted(rules: list[dict[str, Any]]) -> dict[int, list[str]]:
    """Port -> who may reach it."""
    found: dict[int, list[str]] = {}
    for rule in rules:
        for port in rule["ports"]:
            found.setdefault(int(port), []).extend(rule["from"])
    return found


def test_without_a_frontend_people_reach_the_api(tmp_path: Path) -> None:
    """The ports are those that the roles listen on when nothing else is said."""
    [rules] = derived(tmp_path, {}, ("nova1.example.com", "firewall_rules"))
    [people] = [rule["from"] for rule in rules if rule["name"] == "people"]
    assert admitted(rules) == {
        defaults("redis")["redis_port"]: FLEET,
        defaults("redis")["redis_sentinel_port"]: FLEET,
        defaults("api")["api_port"]: people,
        defaults("flower")["flower_port"]: people,
    }


def test_the_firewall_follows_from_the_groups(tmp_path: Path) -> None:
    """Ports are said once, for the hosts that listen; with frontends only these reach the API."""
    [rules] = derived(tmp_path, FRONTENDS, ("nova1.example.com", "firewall_rules"))
    [people] = [rule["from"] for rule in rules if rule["name"] == "people"]
    assert admitted(rules) == {
        7000: FLEET,
        7001: FLEET,
        8443: ["192.0.2.21", "192.0.2.22"],
        5556: people,
    }


@pytest.mark.parametrize(
    ("inventory", "names", "keys"),
    [
        (PRODUCTION, ["nova1.example.com", "nova2.example.com"], PRODUCTION),
        (INVENTORIES / "lab", ["nova1", "nova2"], Path("/keys")),
    ],
    ids=["production", "lab"],
)
@pytest.mark.parametrize(
    ("variables", "ca"),
    [
        ({"api_tls_own_ca": True}, "{keys}/api-tls/ca.crt"),
        ({"api_tls_certificate": "-----BEGIN", "api_tls_ca_file": "/ca.crt"}, "/ca.crt"),
        ({}, ""),
    ],
    ids=["own CA", "given certificate", "clear text"],
)
def test_frontends_reach_each_api_host_as_it_listens(
    tmp_path: Path,
    variables: dict[str, Any],
    ca: str,
    inventory: Path,
    names: list[str],
    keys: Path,
) -> None:
    """By its address and port; with TLS if it has a certificate, of which CA is said once."""
    nova1, nova2 = names
    hosts = {
        nova1: {"ansible_host": "192.0.2.11", "api_port": 8443},
        nova2: {"ansible_host": "192.0.2.12"},
    }
    # The lab's own CA is beside this key.
    variables = variables | {"ansible_ssh_private_key_file": "/keys/id"}
    servers, ca_file = derived(
        tmp_path,
        FRONTENDS | {"api": {"hosts": hosts, "vars": variables}},
        ("f1", "frontend_servers"),
        ("f1", "frontend_servers_ca_file"),
        inventory=inventory,
    )
    common = {"tls": bool(ca)}
    assert servers == [
        {"name": nova1, "address": "192.0.2.11", "port": 8443} | common,
        {"name": nova2, "address": "192.0.2.12", "port": defaults("api")["api_port"]} | common,
    ]
    assert ca_file == ca.format(keys=keys)


@pytest.mark.parametrize("inventory", [PRODUCTION, INVENTORIES / "lab"], ids=["example", "lab"])
@pytest.mark.parametrize(
    ("count", "variables", "url"),
    [
        (1, {}, "redis://192.0.2.11:6379/0"),
        (1, {"redis_port": 7000, "redis_tls": True}, "rediss://192.0.2.11:7000/0"),
        (
            3,
            {"redis_sentinel_port": 7001, "redis_address": "10.0.0.{{ inventory_hostname[-1] }}"},
            "sentinel://10.0.0.1:7001,10.0.0.2:7001,10.0.0.3:7001/0",
        ),
    ],
    ids=["one", "another port and TLS", "a group with a network of its own"],
)
def test_nova_reaches_redis_where_it_listens(
    tmp_path: Path, inventory: Path, count: int, variables: dict[str, Any], url: str
) -> None:
    """Port and address of Redis and its sentinels are said once, in the group redis."""
    here = shutil.copytree(inventory, tmp_path / "inventory")
    hosts = {f"r{n + 1}": {"ansible_host": address} for n, address in enumerate(FLEET[:count])}
    group = {"hosts": hosts, "vars": variables}
    fleet = {"nova": {"hosts": hosts, "children": {"redis": group}}}
    (here / "hosts.yml").write_text(yaml.safe_dump(fleet))
    secrets = {"nova_redis_password": "p", "vault_redis_nova_password": "p"}
    more = {"nova": {"vars": secrets}}
    [environment] = derived(tmp_path, more, ("r1", "settings_environment"), inventory=here)
    assert environment["REDIS_URL"] == url


def test_frontends_reach_the_address_that_the_api_listens_on(tmp_path: Path) -> None:
    """One that is another than the host's; and the host's where it listens on all, or says none."""
    addresses = {"nova1": "10.0.0.1", "nova2": "0.0.0.0", "nova3": "127.0.0.1"}  # noqa: S104
    hosts = {
        f"{name}.example.com": {"ansible_host": host, "api_address": address}
        for host, (name, address) in zip(FLEET, addresses.items(), strict=True)
    }
    more = FRONTENDS | {"api": {"hosts": hosts}}
    [servers] = derived(tmp_path, more, ("f1", "frontend_servers"))
    assert [server["address"] for server in servers] == ["10.0.0.1", *FLEET[1:]]


def test_ports_that_are_assumed_are_those_of_the_roles() -> None:
    """Inventories, playbooks and the frontend say a port where the inventory does not."""
    ports = {
        name: value
        for role in ("redis", "api", "flower")
        for name, value in defaults(role).items()
        if name.endswith("_port")
    }
    folders = [ANSIBLE / "inventories", ANSIBLE / "playbooks", ANSIBLE / "roles"]
    texts = [
        path.read_text(encoding="utf-8")
        for folder in folders
        for suffix in ("yml", "j2")
        for path in folder.rglob(f"*.{suffix}")
    ]
    found = re.findall(r"\b(\w+_port|server\.port)\s*\|\s*default\((\d+)\)", "\n".join(texts))
    assumed = {(name.replace("server.port", "api_port"), int(port)) for name, port in found}
    assumed.discard(("ansible_port", 22))
    assert assumed == set(ports.items())
