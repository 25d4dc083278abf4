"""`nova ingest` as a process of its own: what it prints, and how it ends."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from .conftest import MakeFile

ROWS = "day,channel,views\n2025-01-01,A [b],1\n2025-01-02,B,2\n"


def run(
    environment: dict[str, str], *arguments: str, errors: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nova", "ingest", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        check=False,
    )


@pytest.fixture
def environment(process_environment: dict[str, str], client: redis.Redis) -> dict[str, str]:
    """Environment of the process; its Redis is empty."""
    return process_environment | {"COLUMNS": "200"}


def test_a_table_tells_what_was_stored(
    environment: dict[str, str], make_file: MakeFile, client: redis.Redis
) -> None:
    """Counts, problems and the file's name stand in it; not a word on standard error."""
    file = make_file(ROWS + "2025-01-02,[red]C[/red],x\n")
    done = run(environment, str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "metrics.csv: Nova CSV" in done.stdout
    cells = {line.strip("│ \n") for line in done.stdout.splitlines()}
    table = {tuple(part.strip() for part in cell.split("│")) for cell in cells}
    assert {("rows read", "3"), ("rows rejected", "1"), ("channel days new", "2")} <= table
    assert ("days", "2 (2025-01-01 to 2025-01-02)") in table
    assert "rejected line 4, column views: 'x' is not a number" in done.stdout
    assert client.hlen("nova:metrics:2025-01-01") == 1


def test_json_is_for_programs(environment: dict[str, str], make_file: MakeFile) -> None:
    """One JSON document with every field of the result."""
    done = run(environment, str(make_file(ROWS)), "--json", "--dry-run")
    result = json.loads(done.stdout)
    assert result["days"] == ["2025-01-01", "2025-01-02"]
    assert (result["dry_run"], result["channels_new"], result["problems"]) == (True, 2, [])


def test_a_mistake_is_one_line_and_exit_code_1(
    environment: dict[str, str], make_file: MakeFile, client: redis.Redis
) -> None:
    """No stack trace for a bad row under --strict, nor for a file that is not there."""
    file = make_file(ROWS + "2025-01-02,C,x\n")
    for arguments in ([str(file), "--strict"], [str(file.with_name("nowhere"))]):
        done = run(environment, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("nova: ")
        assert done.stderr.count("\n") == 1
    assert client.dbsize() == 0


def test_a_studio_export_takes_its_channel_from_the_option(
    environment: dict[str, str], make_file: MakeFile, client: redis.Redis
) -> None:
    """Without --channel the line says to add it; with it the rows are that channel's."""
    file = make_file("Video,Video publish time,Video views\nv,2025-01-01,5\n")
    assert "add --channel NAME" in run(environment, str(file)).stderr
    done = run(environment, str(file), "--channel", "Ken Jee")
    assert done.returncode == 0, done.stderr
    assert client.hkeys("nova:metrics:2025-01-01") == [b"Ken Jee"]


def test_progress_is_shown_on_a_terminal_only(
    environment: dict[str, str], make_file: MakeFile
) -> None:
    """On a terminal standard error has a bar; standard output is the same as ever."""
    file = make_file(ROWS)
    controller, terminal = pty.openpty()
    done = run(environment | {"TERM": "xterm"}, str(file), "--json", errors=terminal)
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert "reading" in shown or "storing day" in shown
    assert json.loads(done.stdout)["channels_new"] == 2


def test_a_file_that_cannot_be_looked_at_is_one_line_on_a_terminal_too(
    environment: dict[str, str],
) -> None:
    """As one in a folder that one may not enter; a name that is too long is so for root, too."""
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "wb"):
        done = run(environment, "x" * 300, errors=terminal)
    assert done.returncode == 1
    said = os.read(controller, 4096).decode()
    os.close(controller)
    assert said.strip().endswith("File name too long")
    assert said.count("\n") == 1


def test_a_killed_process_leaves_no_file(environment: dict[str, str], tmp_path: Path) -> None:
    """The scratch table is on disk, already deleted: kill -9 leaves nothing in TMPDIR."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = """
import os, signal
from nova.ingest.models import Tally
from nova.ingest.scratch import open_scratch
with open_scratch() as scratch:
    for day in range(25):
        rows = [(day, f"{channel:0200}", "", channel) + (1.5,) * 10 for channel in range(10_000)]
        scratch.add(rows, Tally())
    files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{fd}")]
    print(*files, sep="\\n", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert f"{folder}/" in done.stdout, "nothing went to disk: the test would prove nothing"
    assert "(deleted)" in done.stdout
    assert list(folder.iterdir()) == []
