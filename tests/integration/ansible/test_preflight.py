"""What preflight refuses, and that the refusal names what to do. Nothing here needs a lab host.

Each test runs the preflight of one role with Ansible itself on hosts that are this machine; what
such a host says of itself is given: its distribution as a survey, its package sources by a program
`apt-cache` of the test's own.
"""

import json
import os
import shutil
import socket
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import build_release
from scripts.bundle.content import Maker, sha256
from scripts.bundle.targets import Target
from scripts.mirrors import Mirrors
from tests.integration.ansible.conftest import ANSIBLE, ROOT, run_playbook

DEBIAN_12 = {
    "system": "debian",
    "system_version": "12",
    "python": "3.11.2",
    "architecture": "x86_64",
    "releases": ["2.0-there"],
    "free_megabytes": {"/opt": 20_000, "/var": 20_000},
    "clock_synchronized": True,
    "package_lists": True,
}
PASSWORD = "0123456789abcdef"
REDIS = {"redis_nova_password": PASSWORD, "redis_admin_password": PASSWORD}


def preflight(
    folder: Path,
    role: str,
    hosts: dict[str, dict[str, Any]],
    survey: dict[str, Any] = DEBIAN_12,
    part: str = "preflight",
) -> str:
    """Run a role's preflight on hosts that are given with their variables; return the output.

    The variable `redis` says which Redis a host would get, `installed` which it has, `haproxy` what
    a frontend has. A host's `apt-cache` speaks German unless it is told not to. `part` are other
    tasks of the role. `ca` is the CA that a host of `tls_role` trusts.
    """
    for name, variables in hosts.items():
        program = folder / name / "apt-cache"
        program.parent.mkdir()
        program.write_text(
            "#!/bin/sh\n[ $LC_ALL = C ] && word=Candidate || word=Installationskandidat\n"
            f"[ $LC_ALL = C ] && echo '  Installed: {variables.pop('installed', '(none)')}'\n"
            f'echo "  $word: 5:{variables.pop("redis", "7.0.15")}-1"\n'
        )
        program.chmod(0o755)
        if ca := variables.pop("ca", ""):
            (program.parent / "tls").mkdir()
            (program.parent / "tls" / "ca.crt").write_text(ca)
        cat = program.with_name("cat")
        cat.write_text(f"#!/bin/sh\nprintf '%b' '{variables.pop('haproxy', '')}'\n")
        cat.chmod(0o755)
        variables["search_path"] = f"{program.parent}:{os.environ['PATH']}"
    inventory = folder / "hosts.yml"
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": common}}))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "any_errors_fatal": True,
        "environment": {"PATH": "{{ search_path }}", "LC_ALL": "C.UTF-8"},
        "tasks": [
            {"ansible.builtin.set_fact": {"base_survey": survey}},
            {"ansible.builtin.include_role": {"name": role, "tasks_from": part}},
        ],
    }
    playbook = folder / "preflight.yml"
    playbook.write_text(yaml.safe_dump([play]))
    return run_playbook(playbook, f"--inventory={inventory}")


def test_a_folder_is_meant_as_seen_from_where_the_operator_stands(tmp_path: Path) -> None:
    """Programs that get it run in the folder of the playbooks; an id is no folder."""
    playbooks = ANSIBLE / "playbooks"
    preflight_play = yaml.safe_load((playbooks / "preflight.yml").read_text())[0]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(playbooks / name) for name in preflight_play["vars_files"]],
        "vars": preflight_play["vars"],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "content": "{{ [release_wanted, bundle_folder] | to_json }}",
                    "dest": str(tmp_path / "said.json"),
                }
            }
        ],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))
    folder = tmp_path / "a folder"
    folder.mkdir()
    here = os.path.relpath(folder, ROOT)  # where run_playbook stands

    def said(**given: str) -> list[str]:
        options = ["--extra-vars", json.dumps(given)]
        run_playbook(playbook, "--inventory=localhost,", "--connection=local", *options)
        found: list[str] = json.loads((tmp_path / "said.json").read_text())
        return found

    assert said(release=here) == [str(folder), ""]
    assert said(bundle=here) == [str(folder), str(folder)]
    assert said(bundle=here, release="2.0-new") == ["2.0-new", str(folder)]
    assert said() == ["", ""]


def test_a_host_without_an_address_is_named_before_anything_is_done(tmp_path: Path) -> None:
    """Redis' URL, frontends and firewalls follow from it."""
    hosts = {"a": {"ansible_host": "127.0.0.1"}, "b": {}}
    local = {"ansible_connection": "local", "ansible_become": False}
    groups = ("redis", "workers", "beat", "api", "flower")
    children: dict[str, Any] = {group: {"hosts": {"a": {}}} for group in groups}
    inventory = tmp_path / "hosts.yml"
    fleet = {"nova": {"hosts": hosts, "vars": local, "children": children}}
    inventory.write_text(yaml.safe_dump(fleet))
    output = run_playbook(ANSIBLE / "playbooks/preflight.yml", f"--inventory={inventory}")
    assert "b has no ansible_host; set it in the inventory" in output
    assert output.count("TASK [") == 2


def test_a_host_that_is_as_it_should_be_is_not_refused(tmp_path: Path) -> None:
    output = preflight(tmp_path, "redis", {"a": dict(REDIS)})
    assert "failed=0" in output


@pytest.mark.parametrize(
    ("system", "version"), [("fedora", "42"), ("debian", "11"), ("ubuntu", "22.04")]
)
def test_another_system_is_refused_by_name(tmp_path: Path, system: str, version: str) -> None:
    survey = DEBIAN_12 | {"system": system, "system_version": version}
    output = preflight(tmp_path, "base", {"a": {}}, survey)
    assert f"a runs {system} {version}, which Nova does not support" in output
    assert "use a host with Debian 12, Debian 13 or Ubuntu 24.04" in output


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("3.10.12", "a has Python 3.10.12 at {python}, Nova needs 3.11 or newer"),
        ("3.11.2", "a cannot be surveyed: SyntaxError: what is that"),
    ],
)
def test_an_old_python_is_refused_with_its_version(tmp_path: Path, version: str, said: str) -> None:
    """A distribution that is supported may have been given another, which cannot run the survey."""
    python = tmp_path / "python3"
    # It reads the program to its end: who writes to it would else find the pipe closed.
    script = f"[ $1 = -c ] && echo {version} && exit 0\ncat > /dev/null"
    python.write_text(f"#!/bin/sh\n{script}\necho 'SyntaxError: what is that' >&2\nexit 1\n")
    python.chmod(0o755)
    survey = {"ansible.builtin.include_role": {"name": "base", "tasks_from": "survey"}}
    play = {"hosts": "a", "gather_facts": False, "tasks": [survey]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    own = ("--inventory=a,", "--connection=local", "-e", f"__base_python={python}")
    output = run_playbook(*own, tmp_path / "play.yml")
    assert said.format(python=python) in output


def test_a_full_disk_is_refused_with_what_is_free(tmp_path: Path) -> None:
    """But not for a release that is there already, which may be the way out of that."""
    survey = DEBIAN_12 | {"free_megabytes": {"/opt": 20_000, "/var": 120}}
    hosts = {"a": {"release_id": "2.0-new"}, "b": {"release_id": "2.0-there"}}
    output = preflight(tmp_path, "base", hosts, survey)
    assert "a has 120 MB free in /var" in output
    assert "b has 120 MB" not in output


@pytest.mark.parametrize(
    ("synchronized", "said"),
    [
        (False, "the clock of a is not synchronised; install systemd-timesyncd or chrony, or set"),
        (None, "timedatectl cannot tell whether the clock of a is synchronised; install"),
    ],
)
def test_a_clock_that_nobody_keeps_is_refused(
    tmp_path: Path, synchronized: bool | None, said: str
) -> None:
    survey = DEBIAN_12 | {"clock_synchronized": synchronized}
    output = preflight(tmp_path, "base", {"a": {}}, survey)
    assert said in output
    assert "set base_clock_required to false" in output
    allowed = {"a": {"base_clock_required": False}}
    (tmp_path / "b").mkdir()
    assert "failed=0" in preflight(tmp_path / "b", "base", allowed, survey)


def test_two_hosts_with_one_hostname_are_refused(tmp_path: Path) -> None:
    """As clones of one image have it: workers are named after it. A mere frontend is no matter."""
    fleet = {"base_fleet": ["a", "b"]}
    clone = DEBIAN_12 | {"hostname": "debian"}
    output = preflight(tmp_path, "base", {"a": dict(fleet), "b": dict(fleet)}, clone)
    assert "a and b have the same hostname, debian, and their workers" in output
    assert "give each a name of its own: sudo hostnamectl set-hostname NAME" in output
    name = "{{ 'a' if inventory_hostname == 'front1' else inventory_hostname }}"
    survey = DEBIAN_12 | {"hostname": name}
    (tmp_path / "named").mkdir()
    hosts = {"a": dict(fleet), "b": dict(fleet), "front1": {}}
    assert preflight(tmp_path / "named", "base", hosts, survey).count("failed=0") == 3


def test_hostnames_are_compared_in_the_whole_fleet() -> None:
    plays = yaml.safe_load((ANSIBLE / "playbooks" / "preflight.yml").read_text())
    [check] = [task for task in plays[0]["tasks"] if "worker_queue_table" in task.get("vars", {})]
    assert check["vars"]["base_fleet"] == "{{ groups['nova'] }}"


def test_an_old_redis_is_refused_with_its_version(tmp_path: Path) -> None:
    output = preflight(tmp_path, "redis", {"a": REDIS | {"redis": "6.0.16"}})
    assert "a would get Redis 6.0.16 from its package sources, Nova needs 7.0 or newer" in output


def group(*names: str, **variables: Any) -> dict[str, dict[str, Any]]:
    """Hosts of one Redis group with all that it needs, and an address of loopback each."""
    passwords = {"redis_replica_password": PASSWORD, "redis_sentinel_password": PASSWORD}
    return {
        name: REDIS
        | passwords
        | {"redis_hosts": list(names), "redis_address": f"127.0.0.{number}"}
        | {"redis_bind": [f"127.0.0.{number}"], "redis_port": 1, "redis_sentinel_port": 2}
        | variables
        for number, name in enumerate(names, start=2)
    }


def test_different_major_versions_of_redis_in_one_group_are_refused(tmp_path: Path) -> None:
    hosts = group("a", "b", "c")
    hosts["b"]["redis"] = "8.0.2"
    output = preflight(tmp_path, "redis", hosts)
    assert "The Redis hosts a, b, c mix the major versions 7 and 8" in output


def test_an_upgrade_that_would_mix_major_versions_for_good_is_refused(tmp_path: Path) -> None:
    """A host has other package sources, or was left out: it could not load what others write."""
    hosts = group("a", "b", "c", installed="5:7.0.15-1")
    hosts["b"]["redis"] = "8.0.2"
    output = preflight(tmp_path, "redis", hosts, part="upgrade")
    assert "the package sources of a, b, c have the major versions 7 and 8 of Redis" in output
    hosts = group("a", "b", "c", installed="5:7.0.15-1", redis="8.0.2")
    del hosts["c"]
    (tmp_path / "limit").mkdir()
    output = preflight(tmp_path / "limit", "redis", hosts, part="upgrade")
    assert "nothing was upgraded: c took no part, and could not load what Redis 8" in output


def test_a_redis_that_would_begin_empty_beside_the_one_in_use_is_refused(tmp_path: Path) -> None:
    """The inventory names another host for it; it is refused until the old one is stopped."""
    with socket.create_server(("127.0.0.9", 0)) as old:
        url = f"redis://127.0.0.9:{old.getsockname()[1]}/0"
        survey = DEBIAN_12 | {"redis_settings": {"REDIS_URL": url}}
        output = preflight(tmp_path, "redis", {"a": dict(REDIS)}, survey)
        assert f"a would begin with an empty Redis, and Nova's data is at {url}" in output
        (tmp_path / "here").mkdir()
        here = {"a": REDIS | {"redis_address": "127.0.0.9"}}
        assert "failed=0" in preflight(tmp_path / "here", "redis", here, survey)
    (tmp_path / "gone").mkdir()
    assert "failed=0" in preflight(tmp_path / "gone", "redis", {"a": dict(REDIS)}, survey)


def test_a_group_that_begins_without_one_of_its_hosts_is_refused(tmp_path: Path) -> None:
    """The others would wait for users and sentinels that the first does not get."""
    hosts = group("a", "b", "c")
    del hosts["c"]
    output = preflight(tmp_path, "redis", hosts)
    assert "c of redis_hosts took no part" in output


def test_a_redis_group_of_two_is_refused(tmp_path: Path) -> None:
    output = preflight(tmp_path, "redis", group("a", "b"))
    assert "redis_hosts names 2 hosts (a, b); it must name a, and one host or at least" in output


def test_a_redis_group_is_given_by_addresses(tmp_path: Path) -> None:
    output = preflight(tmp_path, "redis", group("a", "b", "c", redis_address="redis.example.com"))
    assert "In a group redis_address must be an IP address and stand in redis_bind too" in output


@pytest.mark.parametrize("bind", [[], ["*"], ["127.0.0.1", "-::1"], ["redis.example.com"]])
def test_redis_listens_on_addresses(tmp_path: Path, bind: list[str]) -> None:
    """The host's own tools have to ask it there, which they cannot at `*`."""
    output = preflight(tmp_path, "redis", {"a": REDIS | {"redis_bind": bind}})
    assert "redis_bind on a must be IP addresses" in output


def test_redis_may_listen_on_all_addresses(tmp_path: Path) -> None:
    for number, bind in enumerate((["0.0.0.0", "::"], ["127.0.0.1", "::1"])):  # noqa: S104
        folder = tmp_path / str(number)
        folder.mkdir()
        assert "failed=0" in preflight(folder, "redis", {"a": REDIS | {"redis_bind": bind}})


def test_a_redis_group_without_the_password_of_its_replicas_is_refused(tmp_path: Path) -> None:
    output = preflight(tmp_path, "redis", group("a", "b", "c", redis_replica_password=""))
    assert "redis_replica_password is missing, shorter than 16 characters" in output


@pytest.mark.parametrize("character", [" ", '"', "'", "\\", "#"])
def test_a_password_that_sentinel_could_not_read_back_is_refused(
    tmp_path: Path, character: str
) -> None:
    password = f"0123456789{character}abcdef"
    output = preflight(tmp_path, "redis", group("a", "b", "c", redis_sentinel_password=password))
    assert "redis_sentinel_password has other characters than letters, digits" in output
    assert password not in output


def test_a_password_of_what_sentinel_reads_back_is_not_refused(tmp_path: Path) -> None:
    hosts = group("a", "b", "c", redis_sentinel_password="Az09._~+/=-Az09._~+/=-")
    assert preflight(tmp_path, "redis", hosts).count("failed=0") == 3


@pytest.fixture
def tls_role(tmp_path: Path) -> dict[str, Any]:
    """Variables with which a host has TLS; for a role that finds its CA beside its `apt-cache`."""
    role = tmp_path / "roles" / "redis"
    shutil.copytree(ANSIBLE / "roles" / "redis", role)
    program = role / "files" / "redis_host.py"
    text = program.read_text()
    beside = text.replace('Path("/etc/redis/nova")', 'Path(str(shutil.which("apt-cache"))).parent')
    assert beside != text
    program.write_text(beside)
    (tmp_path / "tls").mkdir()
    return {"redis_tls": True, "redis_tls_folder": str(tmp_path / "tls")}


def certificate(name: str) -> str:
    """Something that looks like a certificate."""
    return f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("action", ["ensure", "new-ca"])
@pytest.mark.parametrize("given", ["", "new"], ids=["no folder", "another CA"])
def test_a_controller_that_would_make_another_ca_is_refused(
    tmp_path: Path, tls_role: dict[str, Any], given: str, action: str
) -> None:
    """A second one, without the folder that the first has: all would trust the old CA alone."""
    file = tmp_path / "tls" / "ca.crt"
    if given:
        file.write_text(certificate(given))
    host = REDIS | tls_role | {"ca": certificate("old"), "redis_tls_action": action}
    output = preflight(tmp_path, "redis", {"a": host})
    assert f"a trusts a CA that {file} does not have; copy the folder {file.parent} " in output
    assert f"copy /etc/redis/nova/tls/ca.crt of a there as {file}, and make another CA" in output
    assert "rotate-certificates.yml -e new_ca=true" in output


@pytest.mark.parametrize(
    ("trusted", "given"),
    [([""], []), (["old"], ["new", "old"]), (["new", "old"], ["new"]), (["old"], ["old"])],
    ids=["a new fleet", "a change of the CA begins", "and ends", "as it should be"],
)
def test_a_controller_with_the_ca_in_use_is_not_refused(
    tmp_path: Path, tls_role: dict[str, Any], trusted: list[str], given: list[str]
) -> None:
    if given:
        (tmp_path / "tls" / "ca.crt").write_text("".join(map(certificate, given)))
    ca = "".join(certificate(name) for name in trusted if name)
    assert "failed=0" in preflight(tmp_path, "redis", {"a": REDIS | tls_role | {"ca": ca}})


def test_a_host_that_was_away_while_the_ca_changed_is_not_refused(
    tmp_path: Path, tls_role: dict[str, Any]
) -> None:
    """The others show that the controller has the CA in use."""
    (tmp_path / "tls" / "ca.crt").write_text(certificate("new"))
    hosts = group("a", "b", "c", **tls_role, ca=certificate("new"))
    hosts["c"]["ca"] = certificate("old")
    assert preflight(tmp_path, "redis", hosts).count("failed=0") == 3


def test_a_ca_that_is_given_may_be_another(tmp_path: Path, tls_role: dict[str, Any]) -> None:
    for name in ("ca.crt", "a.crt", "a.key"):
        (tmp_path / "tls" / name).write_text(certificate("new"))
    host = REDIS | tls_role | {"ca": certificate("old"), "redis_tls_own_ca": False}
    assert "failed=0" in preflight(tmp_path, "redis", {"a": host})


def test_certificates_of_ones_own_that_are_not_there_are_named(tmp_path: Path) -> None:
    hosts = {"a": REDIS | {"redis_tls": True, "redis_tls_own_ca": False}}
    hosts["a"] |= {"redis_tls_folder": str(tmp_path)}
    output = preflight(tmp_path, "redis", hosts)
    assert f"{tmp_path}/ca.crt is not there; give redis_tls_ca_file" in output


def test_a_missing_password_is_named(tmp_path: Path) -> None:
    output = preflight(tmp_path, "redis", {"a": {"redis_nova_password": PASSWORD}})
    assert "missing required arguments: redis_admin_password" in output
    assert PASSWORD not in output


def test_a_queue_without_a_worker_is_refused_by_name(tmp_path: Path) -> None:
    """The guide's own grouping, which forgets `analysis`."""
    instances = {
        "gov": {"queues": ["governance"]},
        "maint": {"queues": ["maintenance"]},
        "data": {"queues": ["analytics", "trends"]},
    }
    host = {"worker_instances": instances, "worker_hosts": ["a"]}
    output = preflight(tmp_path, "worker", {"a": host})
    assert "No worker serves analysis; add the queue to a worker in worker_instances" in output


def test_several_schedulers_are_accepted(tmp_path: Path) -> None:
    output = preflight(tmp_path, "beat", {n: {"beat_hosts": ["a", "b"]} for n in ("a", "b")})
    assert output.count("failed=0") == 2


def test_two_schedulers_of_celerys_own_are_refused(tmp_path: Path) -> None:
    stock = {"NOVA_STOCK_PARTS": "ledger,scheduler"}
    host = {"beat_hosts": ["a", "b"], "settings_environment": stock}
    output = preflight(tmp_path, "beat", {"a": dict(host), "b": dict(host)})
    assert "of which only one may run" in output
    assert "beat_hosts has a, b" in output


def test_an_example_password_is_refused_and_never_shown(tmp_path: Path) -> None:
    example = "example-nova-password"
    output = preflight(tmp_path, "redis", {"a": REDIS | {"redis_nova_password": example}})
    assert (
        "redis_nova_password is missing, shorter than 16 characters or still the example" in output
    )
    assert example not in output


API = {"api_jwt_secret_key": "0123456789abcdef" * 2, "api_address": "192.0.2.11"}


@pytest.mark.parametrize(
    "why",
    [
        {"api_address": "127.0.0.1"},
        {"api_address": "::1"},
        {"api_tls_own_ca": True},
        {"api_tls_certificate": "certificate", "api_tls_key": "key"},
        {"api_allow_clear_text": True},
    ],
)
def test_an_api_whose_tokens_are_safe_is_not_refused(tmp_path: Path, why: dict[str, Any]) -> None:
    assert "failed=0" in preflight(tmp_path, "api", {"a": API | why})


def test_tokens_in_clear_text_are_refused(tmp_path: Path) -> None:
    """Also behind a frontend, which would send them on so."""
    output = preflight(tmp_path, "api", {"a": dict(API)})
    assert "api_address 192.0.2.11 is not loopback" in output
    assert "from a frontend neither; set api_tls_own_ca to true, or api_tls_certificate" in output
    assert "say that clear text is meant with api_allow_clear_text" in output


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    output = preflight(tmp_path, "api", {"a": API | {"api_tls_certificate": "certificate"}})
    assert "api_tls_certificate and api_tls_key belong together" in output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"api_tls_own_ca": True}, "api_tls_own_ca makes a certificate, and api_tls_certificate"),
        ({"api_tls_ca_file": "/none/ca.crt"}, "/none/ca.crt is not there; set api_tls_ca_file"),
    ],
)
def test_a_certificate_of_two_sources_or_without_its_ca_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    given = {"api_tls_certificate": "certificate", "api_tls_key": "key"}
    assert words in preflight(tmp_path, "api", {"a": API | given | change})


@pytest.mark.parametrize("is_here", [False, True])
def test_a_controller_without_the_ca_of_the_api_is_refused(tmp_path: Path, is_here: bool) -> None:
    """It would make another, and frontends would not trust what comes from that."""
    if is_here:
        (tmp_path / "ca.crt").touch()
    host = API | {"api_tls_own_ca": True, "api_tls_folder": str(tmp_path)}
    survey = DEBIAN_12 | {"files": {"/etc/nova/api-ca.crt": {}}}
    output = preflight(tmp_path, "api", {"a": host}, survey)
    words = f"a trusts a CA, and {tmp_path}/ca.crt is not there; copy the folder from the "
    assert (words in output, "failed=0" in output) == (not is_here, is_here)


def test_a_controller_without_the_ca_of_a_frontend_is_refused(tmp_path: Path) -> None:
    """Clients would not trust another; a new frontend is no matter."""
    hosts: dict[str, Any] = {"a": FRONTEND | {"haproxy": "backend api\\n"}, "b": dict(FRONTEND)}
    output = preflight(tmp_path, "frontend", hosts)
    assert f"clients of a trust a CA, and {tmp_path}/frontend-tls/ca.crt is not there; " in output
    assert "clients of b" not in output


FRONTEND = {"frontend_servers": [{"name": "nova1", "address": "192.0.2.11"}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frontend_servers": []}, "frontend_servers must list each API host once"),
        ({"frontend_http_port": 443}, "give each another port"),
        (
            {"frontend_servers": [{"name": "a", "address": "192.0.2.11", "tls": True}]},
            "nothing to verify them with; set frontend_servers_ca_file",
        ),
        ({"frontend_tls_own_ca": False}, "frontend-tls/a.crt is not there"),
    ],
)
def test_a_frontend_that_could_not_work_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    assert words in preflight(tmp_path, "frontend", {"a": FRONTEND | change})


def test_a_frontend_that_can_work_is_not_refused(tmp_path: Path) -> None:
    assert "failed=0" in preflight(tmp_path, "frontend", {"a": dict(FRONTEND)})


@pytest.mark.parametrize(
    ("clock", "words"),
    [("no", "the clock of front1 is not synchronised"), ("yes", "failed=0")],
)
def test_a_host_that_is_nothing_but_a_frontend_is_checked_too(
    tmp_path: Path, clock: str, words: str
) -> None:
    """The playbook itself, on a host whose files and programs the test has made."""
    host = tmp_path / "host"
    for folder in ("etc", "opt", "var/lib/apt/lists"):
        (host / folder).mkdir(parents=True)
    (host / "etc/os-release").write_text("ID=debian\nVERSION_ID=12\n")
    (host / "var/lib/apt/lists/debian_Packages").touch()
    programs = {"systemctl": "", "timedatectl": clock, "apt-cache": "Candidate: 2.6.12-1"}
    (tmp_path / "bin").mkdir()
    for name, answer in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\nprintf %s '{answer}'\n")
        (tmp_path / "bin" / name).chmod(0o755)
    local = {"ansible_connection": "local", "ansible_become": False}
    hosts = {"frontend": {"hosts": {"front1": local | FRONTEND}}, "nova": {"hosts": {"nova1": {}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    output = run_playbook(
        ROOT / "ansible" / "playbooks" / "preflight.yml",
        f"--inventory={tmp_path / 'hosts.yml'}",
        "--limit=front1",
        NOVA_HOST_ROOT=str(host),
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    )
    assert words in output, output


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        ("server nova1 192.0.2.11:8000 ssl verify required ca-file old.crt", False),
        ("server nova1 192.0.2.11:8000", True),
        ("server nova1 192.0.2.11:8001 ssl verify required", True),
        ("server nova9 192.0.2.19:8000", False),
    ],
    ids=["as it will be", "clear text", "another port", "a host that is gone"],
)
def test_an_api_that_a_frontend_would_lose_in_the_middle_of_a_roll_is_refused(
    tmp_path: Path, line: str, is_refused: bool
) -> None:
    """It finds an API host healthy again only once both sides have changed."""
    server = {"name": "nova1", "address": "192.0.2.11", "tls": True}
    host = {"frontend_servers": [server], "frontend_servers_ca_file": "ca.crt"}
    host |= {"haproxy": f"backend api\\n    {line}\\n", "frontend_tls_folder": str(tmp_path)}
    (tmp_path / "ca.crt").touch()
    output = preflight(tmp_path, "frontend", {"a": dict(host)})
    words = "nova1 will have another address, another port or TLS than a knows"
    assert (words in output, "failed=1" in output) == (is_refused, is_refused)
    (tmp_path / "allowed").mkdir()
    host |= {"frontend_must_be_healthy": "false"}  # as -e gives it
    assert "failed=0" in preflight(tmp_path / "allowed", "frontend", {"a": host})


def firewall(**rule: Any) -> dict[str, dict[str, Any]]:
    """A host with one rule."""
    rule = {"name": "api", "ports": [8000], "from": ["192.0.2.0/24", "2001:db8::1"]} | rule
    return {"a": {"firewall_enabled": True, "firewall_rules": [rule]}}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"ports": [22, 8000]}, "names port 22, by which this host is reached"),
        ({"ports": [70000]}, "firewall_rules: api must have a name"),
        ({"from": ["front1.example.com"]}, "no names of hosts"),
    ],
)
def test_a_rule_that_cuts_ssh_or_makes_no_sense_is_refused(
    tmp_path: Path, rule: dict[str, Any], words: str
) -> None:
    assert words in preflight(tmp_path, "firewall", firewall(**rule))


def test_a_good_rule_is_not_refused(tmp_path: Path) -> None:
    assert "failed=0" in preflight(tmp_path, "firewall", firewall())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle for Debian 12 with a release that has only a queue table, and no packages."""
    target = Target("12", "x86_64")
    archive = tmp_path / build_release.archive_name("1.2.3-0123abcd", target.wheels)
    with tarfile.open(archive, "w:gz") as package:
        package.add(ROOT / "nova" / "queues.yml", arcname="queues.yml")
        package.addfile(tarfile.TarInfo(build_release.PROGRAM))
    build_release.checksum_of(archive).write_text(sha256(archive) + "\n")
    maker = Maker(frozenset(), Mirrors(), "1.2.3", tmp_path, lambda *_: ([], {}))
    maker.make([target], tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_damaged_bundle_is_refused_with_the_file(tmp_path: Path, bundle: Path) -> None:
    with (bundle / "Packages-debian-12-x86_64").open("a") as stream:
        stream.write("x")
    output = preflight(tmp_path, "bundle", {"a": {"bundle_folder": str(bundle)}})
    assert f"bundle: {bundle}/Packages-debian-12-x86_64 is damaged; copy the bundle aga" in output


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    output = preflight(tmp_path, "bundle", {"a": {"bundle_folder": str(tmp_path / "none")}})
    assert f"bundle: {tmp_path}/none is no bundle: it lacks manifest.json" in output


def test_a_host_that_a_bundle_is_not_for_is_refused(tmp_path: Path, bundle: Path) -> None:
    survey = DEBIAN_12 | {"system_version": "13", "files": {}}
    output = preflight(tmp_path, "bundle", {"a": {"bundle_folder": str(bundle)}}, survey)
    assert f"a is debian-13-x86_64; the bundle {bundle} is for debian-12-x86_64." in output
    assert 'TARGETS="debian-13-x86_64 ..."' in output
