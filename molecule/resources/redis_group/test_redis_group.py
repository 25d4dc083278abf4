"""A group of Redis servers with Sentinel: it outlives its primary, and stays as it was told."""

import base64
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from testinfra.host import Host

from scripts.lab.outages import frozen, killed
from scripts.lab.plays import play, play_in_vain, try_to_play

AS_ROOT = "nova-redis-cli "
SENTINEL = "nova-redis-cli -p 26379 "
CERTIFICATE = "/etc/redis/nova/tls/redis.crt"

pytestmark = pytest.mark.usefixtures("whole_group")


def test_every_sentinel_knows_the_same_primary_and_has_a_quorum(fleet: Any) -> None:
    """The sentinels agree on the primary that the servers name, and could elect another."""
    address = fleet.redis_primary().check_output("hostname -i").split()[0]
    for host in fleet.hosts("redis").values():
        told = host.check_output(SENTINEL + "sentinel get-master-addr-by-name nova").split()
        assert told[0] == address
        assert host.check_output(SENTINEL + "sentinel ckquorum nova").startswith("OK 3 usable")
    status = fleet.status()
    said = {sentinel["primary"] for sentinel in status["sentinels"]}
    assert said == {status["redis"]["address"]}
    assert len(status["sentinels"]) == 3


def test_a_primary_without_a_majority_takes_no_writes(
    fleet: Any, wait_until: Callable[..., None]
) -> None:
    """Of three servers one replica must keep up: when all have frozen, writes are refused."""
    primary = fleet.redis_primary()
    write = AS_ROOT + "set nova:test:majority 1"
    assert primary.check_output(write) == "OK"
    replicas = [h for n, h in fleet.hosts("redis").items() if n != primary.backend.host]
    with ExitStack() as outages:
        for replica in replicas:
            outages.enter_context(frozen(replica))
        wait_until(lambda: "NOREPLICAS" in primary.run(write).stdout, "writes are refused")
    wait_until(lambda: primary.run(write).stdout.strip() == "OK", "writes are taken again")
    primary.check_output(AS_ROOT + "del nova:test:majority")


def test_nothing_is_answered_without_tls(fleet: Any) -> None:
    """Neither Redis nor Sentinel talks to who does not speak TLS."""
    for host in fleet.hosts("redis").values():
        for port in (6379, 26379):
            assert "NOAUTH" not in host.run(f"timeout 5 redis-cli -p {port} ping 2>&1").stdout
            assert (
                "NOAUTH"
                in host.run(
                    f"redis-cli -p {port} --tls --cacert /etc/redis/nova/tls/ca.crt ping 2>&1"
                ).stdout
            )


def test_a_failover_is_survived_and_a_converge_after_it_changes_nothing(
    fleet: Any, wait_until: Callable[..., None]
) -> None:
    """The primary is killed: another takes over, workers go on, and site.yml leaves all as it is.

    Once without the lost host, and once with it, when it has come back as a replica.
    """
    lost = fleet.redis_primary()
    name = lost.backend.host
    key, value = f"nova:test:{secrets.token_hex(4)}", secrets.token_hex(8)
    lost.check_output(AS_ROOT + f"set {key} {value}")
    wait_until(lambda: int(lost.check_output(AS_ROOT + "wait 1 1000")) > 0, "a replica has it")
    with killed(lost):
        wait_until(lambda: fleet.redis_primary().backend.host != name, "another takes over")
        assert fleet.redis_primary().check_output(AS_ROOT + f"getdel {key}") == value
        assert fleet.ask_workers(fleet.workers())["missing"] == {}
        assert play("site", "--limit", f"redis:!{name}").changed == {}
    wait_until(fleet.redis_is_whole, "the old primary is a replica", seconds=120)
    new = fleet.redis_primary().backend.host
    assert new != name
    pids = {h: x.check_output("pidof redis-server") for h, x in fleet.hosts("redis").items()}
    assert play("site").changed == {}
    assert fleet.redis_primary().backend.host == new
    assert pids == {
        h: x.check_output("pidof redis-server") for h, x in fleet.hosts("redis").items()
    }


def ended_certificate(folder: Path, name: str) -> bytes:
    """Return a host's certificate (PEM) as its CA would have made it for a time that is over."""
    now = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
    issuer = serialization.load_pem_private_key((folder / "issuer.key").read_bytes(), None)
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ended = (
        x509.CertificateBuilder(now.issuer, now.subject, now.public_key(), now.serial_number)
        .not_valid_before(yesterday - timedelta(days=825))
        .not_valid_after(yesterday)
    )
    for extension in now.extensions:
        ended = ended.add_extension(extension.value, extension.critical)
    return ended.sign(issuer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def end_certificate(host: Host, certificate: bytes) -> None:
    """Have a host's Redis and Sentinel show a certificate that has ended to all who come from now.

    All who are connected have to come again.
    """
    text = base64.b64encode(certificate).decode()
    host.check_output(f"echo {text} | base64 -d > {CERTIFICATE}")
    commands = (
        f"config set tls-cert-file {CERTIFICATE}",
        "client kill type replica",
        "client kill type pubsub",
        "client kill type normal",
    )
    host.check_output("printf '%s\n' " + " ".join(f"'{c}'" for c in commands) + f" | {AS_ROOT}")
    host.check_output("systemctl restart redis-sentinel")


def test_certificates_that_have_ended_are_replaced_by_force(
    fleet: Any, wait_until: Callable[..., None]
) -> None:
    """Nobody can be asked for the lock; without it all is whole again, and nothing is gone."""
    hosts = fleet.hosts("redis")
    folder = fleet.tls_folder("redis")
    key, value = f"nova:test:{secrets.token_hex(4)}", secrets.token_hex(8)
    fleet.redis_primary().check_output(AS_ROOT + f"set {key} {value}")
    for name, host in hosts.items():
        end_certificate(host, ended_certificate(folder, name))
    for host in hosts.values():
        refused = host.run(AS_ROOT + "ping")
        assert refused.rc != 0
        assert "certificate verify failed" in refused.stderr
    refused = play_in_vain("rotate-certificates")
    assert "certificate has expired" in refused.words
    play("rotate-certificates", "-e", "force=true")
    wait_until(fleet.redis_is_whole, "the group is whole", seconds=120)
    assert fleet.redis_primary().check_output(AS_ROOT + f"getdel {key}") == value
    assert fleet.ask_workers(fleet.workers())["missing"] == {}
    assert play("site").changed == {}


def test_an_upgrade_of_nothing_is_none(fleet: Any) -> None:
    """redis-upgrade.yml on a healthy, current group changes nothing and moves no primary."""
    primary = fleet.redis_primary().backend.host
    assert play("redis-upgrade").changed == {}
    assert fleet.redis_primary().backend.host == primary


def test_redis_hosts_are_not_rebooted_together(fleet: Any) -> None:
    """However large the batches are that an operator asks for."""
    before = fleet.boots()
    refused = play_in_vain("reboot", "-e", '{"batches": [3]}')
    assert "hold the data of Redis, and would be rebooted together" in refused.words
    assert fleet.boots() == before


def test_a_copy_is_restored_to_the_whole_group(
    fleet: Any, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """What was deleted since is back on every server, sentinels watch again, and tasks run."""

    def everywhere(state: str) -> None:
        for host in fleet.hosts("nova").values():
            host.check_output(f"systemctl {state} nova.target")

    key, value = f"nova:test:{secrets.token_hex(4)}", secrets.token_hex(8)
    fleet.redis_primary().check_output(AS_ROOT + f"set {key} {value}")
    wait_until(fleet.redis_is_whole, "the copy has it")
    play("backup", "-e", f"folder={tmp_path}")
    fleet.redis_primary().check_output(AS_ROOT + f"del {key}")
    primary = fleet.redis_primary().backend.host
    everywhere("stop")
    replica = next(name for name in fleet.hosts("redis") if name != primary)
    try:
        options = ("-e", f"folder={tmp_path}", "-e", "backup=latest")
        refused = play_in_vain("restore", *options, "-e", f"host={replica}")
        assert f"{replica} is a replica and would take the data of before" in refused.words
        wait_until(lambda: restores(tmp_path), "the fleet has been silent", seconds=120)
        wait_until(fleet.redis_is_whole, "the group is whole", seconds=120)
        found = [
            host.check_output(AS_ROOT + f"get {key}") for host in fleet.hosts("redis").values()
        ]
        assert found == [value] * len(found)
    finally:
        everywhere("start")
    assert fleet.redis_primary().backend.host == primary
    fleet.redis_primary().check_output(AS_ROOT + f"del {key}")
    assert fleet.ask_workers(fleet.workers())["missing"] == {}
    assert play("site").changed == {}


def restores(folder: Path) -> bool:
    """Restore the newest copy; false while Redis still remembers workers that have just ended."""
    done = try_to_play("restore", "-e", f"folder={folder}", "-e", "backup=latest")
    assert done.code == 0 or "heard within the last seconds" in done.words
    return done.code == 0
