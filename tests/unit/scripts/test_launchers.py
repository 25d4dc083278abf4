"""The commands that the start script provides."""

import subprocess
from pathlib import Path

import nova
from scripts.local.launchers import MARK, write_launchers


def test_missing_commands_are_written_and_run_the_checkout(tmp_path: Path) -> None:
    assert write_launchers(tmp_path) == [f"new in {tmp_path}: the commands nova and flower"]
    command = [str(tmp_path / "nova"), "--version"]
    result = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert result.stdout.strip() == nova.__release__
    assert write_launchers(tmp_path) == []


def test_commands_of_pip_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "nova").write_text("#!/usr/bin/python3\nfrom nova.cli import main\n")
    write_launchers(tmp_path)
    assert MARK not in (tmp_path / "nova").read_text()
    assert MARK in (tmp_path / "flower").read_text()


def test_launchers_of_another_checkout_are_replaced(tmp_path: Path) -> None:
    write_launchers(tmp_path)
    here = (tmp_path / "flower").read_text()
    (tmp_path / "flower").write_text(f"#!/usr/bin/python3\n{MARK}\n")
    assert write_launchers(tmp_path) == [f"new in {tmp_path}: the commands flower"]
    assert (tmp_path / "flower").read_text() == here


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    [line] = write_launchers(tmp_path / "missing")
    assert "no command nova" in line
    assert "pip install --no-deps" in line
