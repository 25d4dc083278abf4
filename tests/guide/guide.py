"""Reads docs/guide.md: which commands it has, section by section, and which run elsewhere."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide.md"

#: Commands that need a host with systemd, by how they begin; molecule/resources/tests runs them.
ON_A_LAB_HOST = "sudo "
#: What is not run at all, by how it begins, and why.
EXCEPTED = {
    "brew ": "for macOS; Redis runs as `redis-server` here",
    "docker run ": "needs a Docker registry; Redis runs as `redis-server` here",
    "# Manual loop in FastAPI startup": "shows what was there before; nova/legacy/ holds it",
}


@dataclass(frozen=True)
class Command:
    """One command of a bash block, or the whole of a python block, as the guide has it."""

    section: str
    text: str

    @property
    def reason_not_to_run(self) -> str | None:
        """Why it is run nowhere; None if it is."""
        reasons = [why for start, why in EXCEPTED.items() if self.text.startswith(start)]
        return reasons[0] if reasons else None

    @property
    def runs_on_a_lab_host(self) -> bool:
        """Whether it needs a host with systemd."""
        return self.text.startswith(ON_A_LAB_HOST)

    @property
    def runs_here(self) -> bool:
        """Whether tests/guide runs it."""
        return not self.runs_on_a_lab_host and self.reason_not_to_run is None


def read_commands(text: str) -> list[Command]:
    """Return the commands of a guide in its order.

    A block of bash is cut into lines, with those that end in a backslash joined; comments are left
    out. In running text what stands in backticks and begins with `./` is one. Sections are named
    by their nearest heading.
    """
    commands: list[Command] = []
    block: list[str] = []
    section, language = "", None
    for line in text.splitlines():
        if language is None and line.startswith("```"):
            language, block = line[3:], []
        elif line.startswith("```"):
            commands += [Command(section, one) for one in _split("\n".join(block), language)]
            language = None
        elif language is not None:
            block.append(line)
        elif line.startswith("#"):
            section = line.lstrip("#").strip()
        else:
            commands += [Command(section, one) for one in re.findall(r"`(\./[^`]+)`", line)]
    return commands


def _split(block: str, language: str | None) -> list[str]:
    if language != "bash":
        return [block]
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


COMMANDS = read_commands(GUIDE.read_text(encoding="utf-8"))


def commands_of(section: str) -> list[Command]:
    """Return the commands of a section."""
    return [command for command in COMMANDS if command.section == section]


def lab_commands(section: str) -> list[str]:
    """Return the commands of a section that need a host with systemd."""
    return [command.text for command in commands_of(section) if command.runs_on_a_lab_host]
