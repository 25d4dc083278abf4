"""Every host: user, folders, modes."""

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://nova?sudo=true"]


def test_nova_is_a_system_user_that_cannot_log_in(host: Host) -> None:
    """The user that runs Nova has no shell and no password."""
    user = host.user("nova")
    assert user.uid < 1000
    assert user.shell.endswith(("nologin", "false"))
    assert host.check_output("getent shadow nova").split(":")[1][0] in "!*"


@pytest.mark.parametrize(
    ("path", "owner", "mode"),
    [
        ("/opt/nova/releases", "root", 0o755),
        ("/etc/nova", "root", 0o755),
        ("/etc/nova/nova.env", "root", 0o644),
        ("/var/lib/nova", "nova", 0o750),
        ("/var/log/nova", "nova", 0o750),
    ],
)
def test_owner_and_mode(host: Host, path: str, owner: str, mode: int) -> None:
    """Settings may be read by all; state and logs by Nova only; code is root's."""
    file = host.file(path)
    assert file.exists
    assert (file.user, oct(file.mode)) == (owner, oct(mode))


def test_credentials_are_for_root_only(host: Host) -> None:
    """The folder and each file in it open for root alone."""
    entries = host.check_output(
        "stat -c '%U %a %F' /etc/nova/credentials /etc/nova/credentials/*"
    ).splitlines()
    assert len(entries) > 1
    for entry in entries:
        user, mode, _ = entry.split(" ", 2)
        assert user == "root"
        assert int(mode, 8) & 0o077 == 0, entry
