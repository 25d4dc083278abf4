"""What is read from the output of ansible-playbook, and how a run ends."""

from pathlib import Path

import pytest

from bench.fleet import BenchError
from bench.fleet_size import playbook
from bench.fleet_size.playbook import PLAY, START, changes, environment, task_seconds

RECAP = (
    "ok: [bench01]\n\nPLAY RECAP ****\n"
    "bench01                    : ok=12   changed=3    unreachable=0    failed=0    skipped=1\n"
    "bench02                    : ok=9    changed=0    unreachable=0    failed={failed}\n"
)


def test_a_task_takes_the_time_from_its_heading_to_the_next() -> None:
    """Tasks of one name count together; what comes before the first task has a name too."""
    lines = [
        (2.0, "PLAY [Hosts] *****"),
        (2.5, "TASK [base : Survey the host] ****"),
        (4.0, "ok: [bench01]"),
        (6.5, "TASK [Install [x]] ****"),
        (7.0, "PLAY [Workers] ****"),
        (7.5, "TASK [base : Survey the host] ****"),
        (9.0, "RUNNING HANDLER [Restart] ****"),
        (9.5, "PLAY RECAP ****"),
    ]
    assert task_seconds(lines, 10.0) == pytest.approx(
        {
            START: 2.0,
            PLAY: 0.5 + 0.5 + 0.5,
            "base : Survey the host": 4.0 + 1.5,
            "Install [x]": 0.5,
            "Restart": 0.5,
        }
    )


def test_all_seconds_of_a_run_belong_to_something() -> None:
    lines = [(1.0, "PLAY [A] ***"), (3.0, "TASK [B] ***"), (4.0, "TASK [C] ***")]
    assert sum(task_seconds(lines, 9.0).values()) == pytest.approx(9.0)


def test_the_recap_says_what_was_changed() -> None:
    assert changes(RECAP.format(failed=0)) == {"bench01": 3, "bench02": 0}


def test_a_failed_host_is_named() -> None:
    with pytest.raises(BenchError, match=r"failed on bench02$"):
        changes(RECAP.format(failed=1))


def test_a_run_without_a_recap_is_no_success() -> None:
    with pytest.raises(BenchError, match="every host"):
        changes("ok: [bench01]\n")


def test_nobodys_settings_of_ansible_are_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_PIPELINING", "1")
    monkeypatch.setenv("KEPT", "yes")
    found = environment(Path("ansible.cfg"), Path("sockets"), {"ANSIBLE_STRATEGY": "linear"})
    assert "ANSIBLE_PIPELINING" not in found
    assert (found["KEPT"], found["ANSIBLE_STRATEGY"]) == ("yes", "linear")


def program(folder: Path, text: str) -> Path:
    """Make a program that stands in for ansible-playbook."""
    path = folder / "ansible-playbook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_run_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so are the processes that it started."""
    text = f"(sleep 5; touch {tmp_path}/went-on) & sleep 5"
    monkeypatch.setattr(playbook, "ANSIBLE_PLAYBOOK", program(tmp_path, text))
    with pytest.raises(BenchError, match=r"site.yml did not end within 0.2 s; its output: .*log"):
        playbook.run(["site.yml"], {"PATH": "/usr/bin:/bin"}, tmp_path / "log", 0.2)
    assert not (tmp_path / "went-on").exists()


def test_a_failed_run_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playbook, "ANSIBLE_PLAYBOOK", program(tmp_path, "echo why; exit 2"))
    with pytest.raises(BenchError, match=r"site.yml failed; its output: .*log"):
        playbook.run(["site.yml"], {"PATH": "/usr/bin:/bin"}, tmp_path / "log", 60)
    assert (tmp_path / "log").read_text() == "why\n"
