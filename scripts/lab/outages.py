"""Ways to lose Redis on a host, or the host; what is lost comes back when the context ends."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from testinfra.host import Host

from scripts.lab.docker import LabError

#: For how long `cut_off` takes a host away. Leases of tasks end meanwhile, and a second election is
#: possible, which follows a vote that nobody won after a minute.
CUT_SECONDS = 150


@contextmanager
def killed(host: Host) -> Iterator[None]:
    """Kill Redis as a crash would, and keep it down as a lost host is."""
    host.check_output("systemctl mask --runtime --quiet redis-server")
    host.check_output("systemctl kill --signal KILL redis-server")
    try:
        yield
    finally:
        host.check_output("systemctl unmask --runtime --quiet redis-server")
        host.check_output("systemctl start redis-server")


@contextmanager
def frozen(host: Host) -> Iterator[None]:
    """Stop Redis with SIGSTOP: connections stay open, and later it wakes as who it was."""
    host.check_output("systemctl kill --signal STOP redis-server")
    try:
        yield
    finally:
        host.check_output("systemctl kill --signal CONT redis-server")


@contextmanager
def cut_off(host: Host) -> Iterator[None]:
    """Take the whole host's link down for CUT_SECONDS; what runs on it goes on.

    Raises:
        LabError: it does not answer again.
    """
    cut_link(host, CUT_SECONDS)
    deadline = time.monotonic() + CUT_SECONDS + 120
    try:
        yield
    finally:
        while not answers(host):
            if time.monotonic() > deadline:
                raise LabError(f"{host.backend.host} does not answer again")
            time.sleep(1)


def cut_link(host: Host, seconds: int) -> None:
    """Take a host's link down for a while, a second from now: the answer must still get here."""
    script = f"sleep 1; ip link set eth0 down; sleep {seconds}; ip link set eth0 up"
    host.check_output(f"systemd-run --collect sh -c '{script}'")


def answers(host: Host, command: str = "true") -> bool:
    """Return whether a host can be reached, and a command there ends well."""
    try:
        return bool(host.run(command).rc == 0)
    except RuntimeError:  # testinfra: SSH did not get there
        return False
