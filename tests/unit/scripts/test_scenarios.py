"""What is written about scenarios: from pytest's own report to the page."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import scenarios
from scripts.lab.docker import LabError, docker_command
from scripts.scenarios import Finding, Outcome, read_report, sentence_of, write_page

TESTS = """
import pytest

@pytest.mark.parametrize("host", ["ansible://nova1"])
def test_a_log_is_rotated(host): pass

def test_the_disk_is_full(): assert False

@pytest.fixture
def broken(): raise RuntimeError

def test_with_a_broken_fixture(broken): pass
"""


def test_a_report_tells_each_test_and_whether_it_passed(tmp_path: Path) -> None:
    """An error in a fixture is no success."""
    (tmp_path / "test_logging.py").write_text(TESTS)
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    found = {(test.subject, test.sentence): test.passed for test in read_report(report)}
    assert found == {
        ("logging", "a log is rotated (nova1)"): True,
        ("logging", "the disk is full"): False,
        ("logging", "with a broken fixture"): False,
    }


def test_a_scenario_that_never_came_to_its_tests_has_none(tmp_path: Path) -> None:
    assert read_report(tmp_path / "none.xml") == ()


def test_a_name_without_parameters_is_a_sentence() -> None:
    assert sentence_of("test_a_task_runs_once") == "a task runs once"


def test_the_page_keeps_what_was_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, whatever the order of the runs; a second run replaces the first."""
    page = tmp_path / "scenarios.md"
    page.write_text("# Title\n\nIntroduction.\n")
    monkeypatch.setattr(scenarios, "PAGE", page)
    seen = Finding("release", "it goes back", 61.25, passed=True)
    write_page([Outcome("upgrade", passed=False, seconds=600, tests=(seen,))])
    write_page([Outcome("ha", passed=True, seconds=60, tests=())])
    write_page([Outcome("upgrade", passed=True, seconds=1200, tests=(seen,))])
    text = page.read_text()
    assert text.startswith(
        "# Title\n\nIntroduction.\n\n## ha\n\npassed: 0 tests, 0 failed; 1 minutes"
    )
    assert text.count("## upgrade") == 1
    assert "passed: 1 tests, 0 failed; 20 minutes" in text
    assert text.endswith("| release | it goes back | 61.2 |\n")
    assert "FAILED" not in text


def test_without_docker_one_line_says_what_to_do_and_the_page_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(scenarios, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["scenarios", "--page", "default"])
    monkeypatch.setenv("PATH", str(tmp_path))
    docker_command.cache_clear()
    assert scenarios.main() == 1
    assert capfd.readouterr() == (
        "",
        "scenarios: docker is not installed: run scripts/bootstrap.sh --tools fleet\n",
    )
    assert not page.exists()


def test_what_was_run_is_shown_though_the_hosts_of_the_next_could_not_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str) -> Outcome:
        if name == "fleet":
            raise LabError("a host stays")
        return Outcome(name, passed=True, seconds=60.0, tests=())

    monkeypatch.setattr(scenarios, "run", run)
    monkeypatch.setattr(scenarios, "docker_command", lambda: ["docker"])
    monkeypatch.setattr(sys, "argv", ["scenarios", "default", "fleet"])
    assert scenarios.main() == 1
    said = capsys.readouterr()
    assert "default" in said.out
    assert said.err == "scenarios: a host stays\n"
