"""What hosts said to a playbook that asks them and writes their answers to a file, as JSON."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def ask(playbook: str, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Let a playbook of ansible/playbooks/ ask the hosts; return what they said.

    `options` are those of `parser_of`, `more` are further ones for ansible-playbook.

    Raises:
        SystemExit: the playbook failed; what it printed is shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "answers.json"
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *(f"--inventory={path}" for path in options.inventory),
                *("-e", f"output={output}", str(ROOT / "ansible" / "playbooks" / playbook)),
                *(*more, *options.options),
            ],
            env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible" / "ansible.cfg")},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not output.exists():
            sys.stderr.write(done.stdout)
            raise SystemExit(done.returncode or 1)
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return found


def tell(found: dict[str, Any], options: argparse.Namespace, show: Callable[..., None]) -> int:
    """Print what hosts said, as JSON or by `show`; return the exit code, 1 if one has a problem."""
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 1 if found["problems"] else 0


def parser_of(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all have who ask a fleet."""
    parser = argparse.ArgumentParser(prog=f"python -m scripts.{program}", description=description)
    parser.add_argument("-i", "--inventory", type=Path, action="append", required=True)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument("options", nargs="*", help="for ansible-playbook, after --")
    return parser
