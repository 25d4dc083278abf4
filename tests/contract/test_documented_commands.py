"""The commands that pages and heads of playbooks show are there, and so are their options."""

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from nova.cli import app

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
PLAYBOOKS = sorted((ANSIBLE / "playbooks").glob("*.yml"))
PAGES = sorted(
    [
        *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
        *ROOT.glob("docs/**/*.md"),
        *ANSIBLE.glob("**/README.md"),
    ]
)
TEXTS = [*PAGES, *PLAYBOOKS]
#: `-e name=value`, and `-e '{"name": ...}'`.
VARIABLE = re.compile(r"(?<![\w-])-e (?:'\{\")?([a-z_]\w*)")
#: A playbook with its folder, or with options behind it.
PLAYBOOK = re.compile(r"(?<!baseline/)\bplaybooks/([\w-]+)\.yml|`([\w-]+)\.yml -")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


# --- Playbooks


def head(playbook: Path) -> str:
    """The comment with which a playbook begins: what it does, needs, and how to undo it."""
    found = re.match(r"---\n((?:#.*\n)+)", playbook.read_text())
    return found.group(1) if found else ""


def playbooks_in(text: str) -> list[Path]:
    """The playbooks that a text names."""
    found = [folder or alone for folder, alone in PLAYBOOK.findall(text)]
    return [ANSIBLE / "playbooks" / f"{name}.yml" for name in found]


@functools.cache
def variables_of(playbook: Path) -> frozenset[str]:
    """The words of a playbook, of those that it imports, and of the files of variables of both."""
    text = re.sub(r"^ *#.*$", "", playbook.read_text(), flags=re.MULTILINE)
    others = re.findall(r"import_playbook: (\S+)", text)
    for files in re.findall(r"vars_files: (?:&\w+ )?\[(.+)\]", text):
        others += files.split(", ")
    words = frozenset(re.findall(r"\w+", text))
    return words.union(*(variables_of(playbook.parent / name) for name in others))


@functools.cache
def inputs_of_roles() -> frozenset[str]:
    """The variables that roles take, which playbooks pass on without naming them."""
    specs = [yaml.safe_load(path.read_text()) for path in ANSIBLE.glob("roles/*/meta/arg*.yml")]
    mains = [spec["argument_specs"]["main"] for spec in specs]
    return frozenset(name for main in mains for name in main.get("options", {}))


@pytest.mark.parametrize("text", TEXTS, ids=names(TEXTS))
def test_playbooks_that_are_named_exist(text: Path) -> None:
    assert [playbook for playbook in playbooks_in(text.read_text()) if not playbook.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_variables_on_a_line_are_read_by_the_playbook_on_it(page: Path) -> None:
    """Where a line names no playbook, by any."""
    for line in page.read_text().splitlines():
        readers = playbooks_in(line) or PLAYBOOKS
        known = inputs_of_roles().union(*(variables_of(playbook) for playbook in readers))
        assert set(VARIABLE.findall(line)) <= known, line


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=names(PLAYBOOKS))
def test_variables_in_the_head_of_a_playbook_are_read_by_it(playbook: Path) -> None:
    known = variables_of(playbook) | inputs_of_roles()
    assert set(VARIABLE.findall(head(playbook))) <= known


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=names(PLAYBOOKS))
def test_the_head_of_a_playbook_tells_of_what_a_roll_or_round_asks(playbook: Path) -> None:
    """What operators may say to roll.yml and round.yml, they say to a playbook that imports it."""
    asked = {"take_over", "force"} & variables_of(playbook)
    if playbook.name not in ("roll.yml", "round.yml"):
        assert asked <= set(VARIABLE.findall(head(playbook)))


# --- `nova`


def nova_commands(text: str) -> list[str]:
    """What stands behind `nova` in code of a text: `nova report show`, `sudo nova status`."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [match[1] for line in lines if (match := re.match(r" *(?:sudo )?nova (.+)", line))]
    found += re.findall(
        r"`(?:sudo )?nova ([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    )
    # Behind two spaces is what it does, behind the others another program.
    return [re.split(r"\s{2,}|\n| [|>#] ", command)[0] for command in found]


def unknown_in(command: str) -> list[str]:
    """What of a command the program does not know: a subcommand, or an option."""
    words = command.split()
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands") and words and not words[0].startswith("-"):
        word = words.pop(0)
        if word not in found.commands:
            return [] if word.isupper() or word == "..." else [word]  # DOMAIN stands for each
        found = found.commands[word]
    if found.ignore_unknown_options or found.allow_extra_args:
        return []  # it hands them on, such as `nova celery`
    known = {option for parameter in found.params for option in parameter.opts}
    known |= {option for parameter in found.params for option in parameter.secondary_opts}
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    return sorted(options - known - {"--help"})


@pytest.mark.parametrize("text", TEXTS, ids=names(TEXTS))
def test_commands_of_nova_exist_with_their_options(text: Path) -> None:
    unknown = {command: unknown_in(command) for command in nova_commands(text.read_text())}
    assert {command: words for command, words in unknown.items() if words} == {}


def test_commands_are_found_at_all() -> None:
    """The patterns above fit the pages: else nothing would be looked at."""
    page = (ROOT / "docs" / "operations.md").read_text()
    assert "report show latest" in nova_commands(page)
    assert ANSIBLE / "playbooks" / "uninstall.yml" in playbooks_in(page)
    assert {"take_over", "batches", "release"} <= set(VARIABLE.findall(page))
    assert unknown_in("report shew") == ["shew"]
    assert unknown_in("report show --jsn") == ["--jsn"]
