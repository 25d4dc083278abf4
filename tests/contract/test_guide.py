"""docs/guide.md is as it was agreed, and each of its commands is run or named as an exception."""

from tests.guide import test_guide
from tests.guide.guide import COMMANDS, EXCEPTED, GUIDE, ROOT, lab_commands, read_commands

#: The guide as it was handed over, which stands beside the checkout where there is one.
ORIGINAL = ROOT.parent / "shared" / "GUIDE.md"


def sections_with_tests() -> set[str]:
    """Sections whose commands tests/guide runs; its fixture sees to it that it runs all of them."""
    marks = [
        mark
        for function in vars(test_guide).values()
        for mark in getattr(function, "pytestmark", [])
        if mark.name == "section"
    ]
    return {mark.args[0] for mark in marks}


def test_the_guide_is_the_one_that_was_agreed() -> None:
    assert not ORIGINAL.exists() or GUIDE.read_bytes() == ORIGINAL.read_bytes()


def test_every_command_has_a_test_or_is_named_as_an_exception() -> None:
    assert {command.section for command in COMMANDS if command.runs_here} == sections_with_tests()


def test_every_exception_is_in_the_guide() -> None:
    reasons = {command.reason_not_to_run for command in COMMANDS} - {None}
    assert reasons == set(EXCEPTED.values())


def test_lines_for_root_run_on_a_lab_host() -> None:
    on_lab = [command.text for command in COMMANDS if command.runs_on_a_lab_host]
    read_there = lab_commands("2. Start Redis") + lab_commands("Process Management")
    assert on_lab == read_there
    assert len(on_lab) == 5


def test_a_new_command_is_noticed() -> None:
    """The reader sees blocks, joined lines and commands in running text."""
    text = "## One\n```bash\n# why\nls \\\n   -l  # all\n```\nThen `./run it` and `not this`.\n"
    assert [(command.section, command.text) for command in read_commands(text)] == [
        ("One", "ls -l  # all"),
        ("One", "./run it"),
    ]
    assert all(command.runs_here for command in read_commands(text))
