"""What the tests of scenarios read from the output of a playbook."""

from scripts.lab.plays import Played

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
