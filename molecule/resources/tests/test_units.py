"""Units: there, running, sound, hardened, and obedient to plain systemctl."""

import socket
from collections.abc import Callable

import httpx
import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://nova?sudo=true"]

HIGHEST_EXPOSURE = 2.0
GROUP_UNITS = {
    "beat": ["celery-beat.service"],
    "api": ["nova-api.socket", "nova-api.service"],
    "flower": ["flower.service"],
}


@pytest.fixture
def units(host: Host) -> list[str]:
    """The units that the host's groups call for, worker instances included."""
    groups = host.ansible.get_variables()["group_names"]
    wanted = ["nova.target"]
    for group, names in GROUP_UNITS.items():
        wanted += names if group in groups else []
    if "workers" in groups:
        files = host.check_output("ls /etc/nova/workers").split()
        wanted += [f"celery-worker@{name.removesuffix('.env')}.service" for name in files]
    return wanted


def loaded_units(host: Host) -> set[str]:
    """Nova's units that systemd runs on the host, whatever their state but inactive."""
    lines = host.check_output(
        "systemctl list-units --plain --no-legend 'celery-*' 'nova*' 'flower*'"
    ).splitlines()
    return {line.split()[0] for line in lines} - {"system-celery\\x2dworker.slice"}


def is_ready(url: str) -> bool:
    """Return whether the API answers that it is ready."""
    try:
        return httpx.get(url, timeout=30).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_units_are_active_and_enabled(host: Host, units: list[str]) -> None:
    """Every unit that the host's groups call for runs now and after a reboot."""
    for unit in units:
        service = host.service(unit)
        assert service.is_running, unit
        assert service.is_enabled, unit


def test_no_other_unit_of_nova_runs(host: Host, units: list[str]) -> None:
    """A host runs what its groups say, and nothing more."""
    assert loaded_units(host) == set(units)


def test_no_unit_failed(host: Host) -> None:
    """The whole host is healthy, not only Nova."""
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_no_unit_was_restarted_by_systemd(host: Host, units: list[str]) -> None:
    """Nothing crashed on its way up: systemd has brought no service back."""
    for unit in (name for name in units if name.endswith(".service")):
        assert host.check_output("systemctl show -P NRestarts %s", unit) == "0", unit


def test_units_verify_clean(host: Host, units: list[str]) -> None:
    """systemd-analyze finds nothing to say about any unit, as installed with its drop-ins."""
    paths = [host.check_output("systemctl show -P FragmentPath %s", unit) for unit in units]
    result = host.run("systemd-analyze verify " + " ".join(sorted(set(paths))))
    assert (result.rc, result.stdout, result.stderr) == (0, "", "")


def test_services_are_hardened(host: Host, units: list[str]) -> None:
    """systemd's own exposure score of each service is at most 2.0 of 10."""
    for unit in (name for name in units if name.endswith(".service")):
        score = host.check_output(
            "systemd-analyze security --no-pager %s | sed -n 's/.*exposure level for .*: "
            "\\([0-9.]*\\).*/\\1/p'",
            unit,
        )
        assert float(score) <= HIGHEST_EXPOSURE, unit


def test_status_says_what_a_worker_consumes(host: Host, units: list[str]) -> None:
    """`systemctl status` shows a person which queues a worker is consuming."""
    for unit in (name for name in units if name.startswith("celery-worker@")):
        status = host.check_output("systemctl show -P StatusText %s", unit)
        assert status.startswith("consuming "), (unit, status)


def test_a_restart_brings_a_new_process(host: Host, units: list[str]) -> None:
    """`systemctl restart` returns when the new process is ready, and it is another process."""
    unit = units[-1]
    before = host.check_output("systemctl show -P MainPID %s", unit)
    host.check_output("systemctl restart %s", unit)
    assert host.service(unit).is_running
    assert host.check_output("systemctl show -P MainPID %s", unit) != before


def test_stopping_the_target_stops_everything(
    host: Host, units: list[str], wait_until: Callable[..., None]
) -> None:
    """`stop nova.target` stops all units, a scrape cannot revive the API, `start` undoes it."""
    serves_api = "nova-api.socket" in units
    address = host.ansible.get_variables()["ansible_host"]
    try:
        host.check_output("systemctl stop nova.target")
        wait_until(lambda: loaded_units(host) == set(), "all units have stopped")
        if serves_api:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, 8000), timeout=5).close()
        assert loaded_units(host) == set()
    finally:
        host.check_output("systemctl start nova.target")
    wait_until(lambda: loaded_units(host) == set(units), "all units are back")
    if serves_api:
        # A unit that is just starting is back, too.
        wait_until(lambda: is_ready(f"http://{address}:8000/readyz"), "the API is ready")
