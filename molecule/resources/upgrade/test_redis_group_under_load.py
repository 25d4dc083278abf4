"""What happens to a group of Redis servers under load: no task is lost, none has two effects.

For scenario `ha`. Servers are lost, and what an operator does to them is done.
"""

import base64
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

from scripts.lab.outages import answers, cut_off, frozen, killed
from scripts.lab.plays import play, play_in_vain

#: While there is no primary the API may say: not now. A request that it was answering when its host
#: was cut off gets no answer, or the frontend's.
ANSWERS = frozenset({"200", "502", "503", "504", "ReadTimeout"})
LEADS = "timeout 5 nova-redis-cli role | grep --quiet master"
WORKS = "timeout 5 nova-redis-cli ping | grep --quiet PONG"
#: Tells when Redis was started, in Unix time after an "@".
STARTED = (
    "systemctl show --value --timestamp=unix --property=ActiveEnterTimestamp redis-server.service"
)

UnderLoad = Callable[..., AbstractContextManager[Any]]

pytestmark = pytest.mark.usefixtures("whole_group")


@pytest.fixture
def primary(fleet: Any, wait_until: Callable[..., None]) -> Host:
    """The primary, on a host that is no frontend: requests must get through."""
    frontends = fleet.hosts("frontend")
    if fleet.redis_primary().backend.host in frontends:
        fleet.redis_primary().check_output("nova-redis-cli -p 26379 sentinel failover nova")
        wait_until(lambda: fleet.redis_primary().backend.host not in frontends, "another leads")
        wait_until(fleet.redis_is_whole, "the group is whole again", seconds=120)
    return fleet.redis_primary()


@pytest.mark.parametrize("outage", [killed, frozen, cut_off])
def test_a_lost_primary_costs_no_task(
    outage: Callable[[Host], AbstractContextManager[None]],
    primary: Host,
    fleet: Any,
    under_load: UnderLoad,
    wait_until: Callable[..., None],
) -> None:
    """Another takes over; tasks are published and requests answered before the lost one is back.

    That one comes back as who it was before the others elected another.
    """
    name = primary.backend.host
    others = [host for other, host in fleet.hosts("redis").items() if other != name]
    publisher = next(host for other, host in fleet.hosts("workers").items() if other != name)
    with under_load(publisher, ANSWERS) as load:
        wait_until(lambda: len(load.tasks.confirmed()) > 50, "the load has begun")
        with outage(primary):
            wait_until(lambda: not answers(primary, WORKS), "it is lost")
            wait_until(
                lambda: any(answers(host, LEADS) for host in others), "another leads", seconds=120
            )
            published, answered = len(load.tasks.confirmed()), load.requests.answers.count("200")
            wait_until(
                lambda: (
                    len(load.tasks.confirmed()) > published + 50
                    and load.requests.answers.count("200") > answered + 10
                ),
                "tasks are published and requests answered again",
            )
            assert not answers(primary, WORKS), "it was back before that"
        wait_until(fleet.redis_is_whole, "the lost one is a replica", seconds=120)
    assert fleet.redis_primary().backend.host != name


def test_certificates_and_their_ca_change_and_cost_no_task(
    fleet: Any, under_load: UnderLoad
) -> None:
    """Every host shows a new certificate, and no Redis restarts."""
    hosts = fleet.hosts("redis")
    before = {name: fleet.redis_certificate(host) for name, host in hosts.items()}
    pids = {name: host.check_output("pidof redis-server") for name, host in hosts.items()}
    with under_load():
        play("rotate-certificates", "--extra-vars", "new_ca=true")
    assert all(fleet.redis_certificate(host) not in ("", before[n]) for n, host in hosts.items())
    assert pids == {name: host.check_output("pidof redis-server") for name, host in hosts.items()}
    assert fleet.ask_workers(fleet.workers())["missing"] == {}


def test_passwords_change_and_cost_no_task(
    base_release: str,
    fleet: Any,
    lab_secrets: dict[str, str],
    under_load: UnderLoad,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """rotate-passwords.yml: site.yml refuses the new ones, work goes on, the old ones are void.

    No password is printed, not even with -vvv.
    """
    names = [name for name in lab_secrets if name.startswith("nova_redis_")]
    old = {name: lab_secrets[name] for name in names}
    file = tmp_path / "new.yml"
    # The checkout's would lack the task that the load counts.
    options = ("--extra-vars", f"@{file}", "-e", f"release={base_release}")

    def write(values: dict[str, str]) -> None:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            yaml.safe_dump(values, stream)

    new = {name: secrets.token_hex(32) for name in names}
    write(new)
    done = play_in_vain("site", "--extra-vars", f"@{file}", "--limit", "redis")
    assert "rotate-passwords.yml" in done.words
    host = fleet.one("redis")
    try:
        with under_load():
            done = play("rotate-passwords", "-vvv", *options)
        capsys.readouterr()  # one that is in it must not get into the report of this test
        values = [*old.items(), *new.items()]
        assert [name for name, value in values if value in done.text] == []
        for user in ("nova", "admin"):
            variable = "nova_redis_password" if user == "nova" else "nova_redis_admin_password"
            # sudo logs commands, so it sees no password.
            login = base64.b64encode(f"AUTH {user} {old[variable]}\n".encode()).decode()
            answer = host.run(
                f"echo {login} | base64 -d | redis-cli --tls --cacert /etc/redis/nova/tls/ca.crt"
            )
            assert "WRONGPASS" in answer.stdout
    finally:
        write(old)
        play("rotate-passwords", *options)


def believe_older(host: Host) -> None:
    """Make the host's package database believe that it has older packages than it can get."""
    installed = host.check_output("dpkg-query --show --showformat '${Version}' redis-server")
    older = installed.replace("-", "~older-", 1)
    host.check_output(
        "sed -i '/^Package: redis-/,/^$/s/%s/%s/g' /var/lib/dpkg/status", installed, older
    )


def test_an_upgrade_goes_host_by_host_and_costs_no_task(
    fleet: Any, under_load: UnderLoad, wait_until: Callable[..., None]
) -> None:
    """Replicas, then a failover, then the old primary: each server was restarted."""
    hosts = fleet.hosts("redis")
    for host in hosts.values():
        believe_older(host)
    primary = fleet.redis_primary().backend.host
    pids = {name: host.check_output("pidof redis-server") for name, host in hosts.items()}
    with under_load(allowed=ANSWERS):
        assert play("redis-upgrade").changed == dict.fromkeys(hosts, 1)
    wait_until(fleet.redis_is_whole, "the group is whole", seconds=120)
    assert fleet.redis_primary().backend.host != primary
    started = {name: int(host.check_output(STARTED).lstrip("@")) for name, host in hosts.items()}
    assert max(started, key=lambda name: started[name]) == primary
    assert all(host.check_output("pidof redis-server") != pids[n] for n, host in hosts.items())


def test_a_reboot_of_every_host_costs_no_task(
    fleet: Any, under_load: UnderLoad, wait_until: Callable[..., None]
) -> None:
    """One after another, the one frontend without requests; whoever is the primary in the end."""
    before = fleet.boots()
    key, value = f"nova:test:{secrets.token_hex(4)}", secrets.token_hex(8)
    fleet.redis_primary().check_output(f"nova-redis-cli set {key} {value}")
    with under_load(allowed=ANSWERS):
        play("reboot", "--limit", "!frontend")
    play("reboot", "--limit", "frontend")
    assert before.items().isdisjoint(fleet.boots().items())
    wait_until(fleet.redis_is_whole, "the group is whole", seconds=120)
    assert fleet.redis_primary().check_output(f"nova-redis-cli getdel {key}") == value
