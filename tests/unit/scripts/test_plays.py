"""What the tests of scenarios read from the output of a playbook."""

import signal
import subprocess

import pytest

from scripts.lab import plays
from scripts.lab.plays import Begun, Played

OUTPUT = """
TASK [Say what would be changed=9] *****
fatal: [nova1]: FAILED! => a long
    message

PLAY RECAP *********************************************************************
nova1                      : ok=3    changed=0    unreachable=0    failed=1
nova2                      : ok=60   changed=12   unreachable=0    failed=0
"""


def test_changes_are_those_of_the_recap() -> None:
    done = Played(2, OUTPUT)
    assert done.changes == {"nova1": 0, "nova2": 12}
    assert done.changed == {"nova2": 12}


def test_a_playbook_without_a_recap_has_no_changes() -> None:
    assert Played(1, "ERROR! no such file, changed=1").changes == {}


def test_a_message_is_found_wherever_it_was_broken() -> None:
    assert "a long message" in Played(2, OUTPUT).words


def test_a_playbook_hears_ctrl_c_where_the_tests_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell starts what goes to the background so."""
    monkeypatch.setattr(plays, "command", lambda name, *options: ["sleep", "60"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        begun = Begun("deploy")
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        # Until `env` has become `sleep` the signal is not heard: it is sent until it is.
        code = None
        for _ in range(100):
            begun.signal(signal.SIGINT)
            try:
                code = begun.wait(0.1).code
            except subprocess.TimeoutExpired:
                continue
            break
        assert code == -signal.SIGINT
    finally:
        begun.end()
