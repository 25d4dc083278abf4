"""needrestart, as Debian configures it, leaves Nova's services and Redis alone."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "ansible/roles").glob("*/files/etc/needrestart/conf.d/*.conf"))
#: Reads the files as needrestart does, and prints what they say of each unit.
EVALUATE = """
our %nrconf = (override_rc => {});
my ($files, @units) = @ARGV;
defined(do $_) or die "$_: $@" for split /:/, $files;
for my $unit (@units) {
    my ($found) = grep { $unit =~ $_ } keys %{$nrconf{override_rc}};
    print defined $found ? $nrconf{override_rc}{$found} : "restart", "\\n";
}
"""


def what_happens_to(*units: str) -> list[str]:
    """0 for each unit that is left alone."""
    command = ["perl", "-e", EVALUATE, ":".join(map(str, FILES)), *units]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "unit",
    [
        *(path.name for path in (ROOT / "deployment/systemd").glob("*.service")),
        "celery-worker@trends.service",
        "redis-server.service",
        "redis-sentinel.service",
    ],
)
def test_a_new_library_restarts_no_service_of_the_fleet(unit: str) -> None:
    assert what_happens_to(unit) == ["0"]


def test_all_others_are_restarted_as_ever() -> None:
    others = ("ssh.service", "cron.service", "my-flower.service")
    assert what_happens_to(*others) == ["restart"] * len(others)
