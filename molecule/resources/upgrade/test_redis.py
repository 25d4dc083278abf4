"""A Redis that gets TLS while the fleet works, with certificates that were given; and loses it."""

import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from scripts.lab.docker import ROOT
from scripts.lab.load import Load
from scripts.lab.plays import Played

Playbook = Callable[..., Played]
MAKE_CERTIFICATES = ROOT / "ansible" / "roles" / "redis" / "files" / "make_certificates.sh"
#: While Redis has moved and the API has not followed, it has no answer; it says so.
MEANWHILE = frozenset({"200", "503"})


def certificates(folder: Path, action: str, fleet: Any) -> dict[str, Any]:
    """Make certificates as somebody else's CA would; return the settings that give them."""
    address = fleet.variables("redis")["ansible_host"]
    name = fleet.one("redis").backend.host
    subprocess.run(
        ["sh", MAKE_CERTIFICATES, folder, action, f"{name}={address}"],
        capture_output=True,
        check=True,
    )
    return {
        "redis_tls": True,
        "redis_tls_own_ca": False,
        "redis_tls_ca_file": f"{folder}/ca.crt",
        "redis_tls_certificate_file": f"{folder}/{{{{ inventory_hostname }}}}.crt",
        "redis_tls_key_file": f"{folder}/{{{{ inventory_hostname }}}}.key",
    }


def words(given: dict[str, Any]) -> tuple[str, str]:
    """The options that give settings to a playbook."""
    return "-e", json.dumps(given)


def test_redis_gets_tls_by_given_certificates_and_loses_it_while_the_fleet_works(
    playbook: Playbook,
    base_sources: Path,
    under_load: Callable[..., AbstractContextManager[Load]],
    audit: Callable[[], dict[str, Any]],
    fleet: Any,
    tmp_path: Path,
) -> None:
    """Hosts are asked for the lock by the way that is wanted, and follow; no task is lost or twice.

    Other certificates of the same CA restart nothing.
    """
    host, expected = fleet.one("redis"), fleet.workers()

    def site(given: dict[str, Any]) -> Played:
        done = playbook("site", "-e", f"release={base_sources}", *words(given))
        assert done.code == 0
        assert fleet.ask_workers(expected)["missing"] == {}
        return done

    assert fleet.redis_certificate(host) == ""
    try:
        given = certificates(tmp_path / "tls", "ensure", fleet)
        # Which moves nothing, and asks by the settings of before.
        assert playbook("site", "-e", f"release={base_sources}", *words(given), "--check").code == 0
        with under_load(allowed=MEANWHILE):
            site(given)
        first = fleet.redis_certificate(host)
        assert first
        assert host.run("redis-cli ping").stdout.strip() != "PONG"
        assert (audit()["action"], audit()["result"]) == ("site", "ok")
        pid = host.check_output("pidof redis-server")
        certificates(tmp_path / "tls", "renew", fleet)
        assert site(given).changed == {host.backend.host: 1}
        assert fleet.redis_certificate(host) not in ("", first)
        assert host.check_output("pidof redis-server") == pid
        assert site(given).changed == {}
    finally:
        site({})
    assert fleet.redis_certificate(host) == ""
