"""How the playbooks reach hosts lasts through an hour in which nothing is said."""

from configparser import ConfigParser
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Firewalls and NAT forget connections that were silent for some minutes.
FORGOTTEN_AFTER_SECONDS = 60
#: By then a lost host is noticed, as ansible.cfg says.
NOTICED_AFTER_SECONDS = 120


def ssh_words() -> list[str]:
    """Return what Ansible gives to ssh."""
    config = ConfigParser()
    config.read(ROOT / "ansible" / "ansible.cfg")
    return config["ssh_connection"]["ssh_args"].split()


def ssh_options() -> dict[str, str]:
    """Return the options (-o) among it."""
    return dict(word.split("=", 1) for flag, word in pairwise(ssh_words()) if flag == "-o")


def test_a_silent_connection_is_kept_awake_and_a_dead_one_is_noticed() -> None:
    """A drain may take an hour; without this its host would be lost in the middle of a roll."""
    options = ssh_options()
    interval, count = int(options["ServerAliveInterval"]), int(options["ServerAliveCountMax"])
    assert 0 < interval < FORGOTTEN_AFTER_SECONDS
    assert interval * count <= NOTICED_AFTER_SECONDS


def test_connections_are_shared_as_ansible_does_by_itself() -> None:
    """`ssh_args` takes the place of Ansible's own, which would be lost."""
    assert ssh_options()["ControlMaster"] == "auto"
    assert "ControlPersist" in ssh_options()


def test_archives_are_not_compressed_once_more() -> None:
    """Ansible's default has -C; for an archive it costs the controller seconds for each host."""
    assert "-C" not in ssh_words()
