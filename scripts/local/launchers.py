"""Puts the commands `nova` and `flower` beside `celery`, where pip did not.

The guide's `pip install -r requirements.txt` installs what Nova needs, not Nova: pip cannot check
the hash of a checkout. docs/decisions/0020-the-start-script-provides-commands.md has the rest.
"""

import shlex
import sys
import sysconfig
import tomllib
from pathlib import Path

from scripts.local.processes import ROOT

#: Tells a launcher of ours from what pip installed; pip replaces either.
MARK = "# Written by scripts/start_celery.sh: runs the checkout below."


def write_launchers(folder: Path | None = None) -> list[str]:
    """Write those commands of pyproject.toml that a folder, that of this Python's, lacks.

    Returns:
        Lines for people: what was written, or why it could not be.
    """
    folder = folder or Path(sysconfig.get_path("scripts"))
    written = []
    for name, target in _commands().items():
        path, text = folder / name, _launcher(target)
        there = path.read_text(errors="replace") if path.exists() else MARK
        if MARK not in there or there == text:
            continue
        try:
            path.write_text(text)
            path.chmod(0o755)
        except OSError as error:
            advice = f"{sys.executable} -m pip install --no-deps {shlex.quote(str(ROOT))}"
            return [f"no command {name} in {folder} ({error.strerror}); to have it: {advice}"]
        written.append(name)
    return [f"new in {folder}: the commands {' and '.join(written)}"] if written else []


def _commands() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commands: dict[str, str] = project["scripts"]
    return commands


def _launcher(target: str) -> str:
    module, _, function = target.partition(":")
    return f"""#!{sys.executable}
{MARK}
import sys

sys.path.insert(0, {str(ROOT)!r})
from {module} import {function}

sys.exit({function}())
"""
