"""`nova deadletter` on a real Redis: what a person reads, what a program reads, and errors."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nova.errors import InputError, NotFoundError, NovaError
from nova.runtime import deadletter_commands
from nova.runtime.deadletters import all_letters
from nova.settings import Settings
from nova.terminal import console
from tests.integration.runtime.letters import bury

#: The answers of redis-py are typed for two protocols at once, which helps nobody here.
Client = Any
Invoke = Callable[..., Result]


@pytest.fixture
def deadletter(client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command and return what came of it; an error of Nova's is raised."""
    monkeypatch.setattr(deadletter_commands, "get_settings", lambda: settings)
    monkeypatch.setattr(console, "width", 160)

    def invoke(*arguments: str, answer: str | None = None) -> Result:
        result = CliRunner().invoke(deadletter_commands.deadletter, arguments, input=answer)
        if isinstance(result.exception, NovaError):
            raise result.exception
        return result

    return invoke


def ids(client: Client, queue: str | None = None) -> list[str]:
    return [letter.id for letter in all_letters(client, queue)]


def test_letters_are_listed_for_people_and_programs(client: Client, deadletter: Invoke) -> None:
    assert deadletter("list").stdout == "There is no dead letter.\n"
    letter = bury(client, "task-1")
    bury(client, "task-2", "analysis")
    text = deadletter("list", "--queue", "trends").stdout
    assert letter.id in text
    assert "started 5 times and never finished" in text
    assert "1 of 1" in text
    page = json.loads(deadletter("list", "--limit", "1", "--offset", "1", "--json").stdout)
    assert (page["total"], [line["id"] for line in page["letters"]]) == (2, [letter.id])


def test_a_letter_is_shown_with_its_starts_and_arguments(
    client: Client, deadletter: Invoke
) -> None:
    letter = bury(client, "task-1")
    text = deadletter("show", letter.id).stdout
    assert "('é',) {}" in text
    assert text.count("on trends@a") == 5
    shown = json.loads(deadletter("show", letter.id, "--json").stdout)
    assert shown["message"] == letter.message


def test_what_publishers_wrote_gives_the_terminal_no_orders(
    client: Client, deadletter: Invoke
) -> None:
    text = json.dumps(
        {
            "headers": {"id": "a", "task": "\x1b[2J[red]x", "argsrepr": "\u202e", "kwargsrepr": ""},
            "properties": {"delivery_tag": "a"},
        }
    )
    client.hset("nova:run:a", mapping={"starts": 5})
    letter = bury(client, "a", text=text.encode())
    for command in (("show", letter.id), ("list",)):
        shown = deadletter(*command).stdout
        assert r"\x1b[2J[red]x" in shown
        assert not {"\x1b", "\u202e"} & set(shown)


@pytest.mark.parametrize("verb", ["replay", "drop"])
def test_letters_are_chosen_by_id(client: Client, deadletter: Invoke, verb: str) -> None:
    first, second, third = (bury(client, f"task-{number}").id for number in range(3))
    result = deadletter(verb, first, third, "--json")
    assert [line["id"] for line in json.loads(result.stdout)] == [first, third]
    assert ids(client) == [second]
    assert client.llen("trends") == (2 if verb == "replay" else 0)
    with pytest.raises(NotFoundError, match=first):
        deadletter(verb, first)


@pytest.mark.parametrize("verb", ["replay", "drop"])
def test_all_of_a_queue_go_when_somebody_says_yes(
    client: Client, deadletter: Invoke, verb: str
) -> None:
    letters = [bury(client, f"task-{number}").id for number in range(3)]
    other = bury(client, "other", "analysis").id
    chosen = (verb, "--all", "--queue", "trends")
    dry = deadletter(*chosen, "--dry-run")
    assert "3 to" in dry.stdout
    declined = deadletter(*chosen, answer="n\n")
    assert (declined.exit_code, "3 dead letters?" in declined.stderr) == (1, True)
    assert deadletter(*chosen).exit_code == 1, "nobody is there to say yes"
    assert ids(client, "trends") == letters
    assert deadletter(*chosen, answer="y\n").exit_code == 0
    assert ids(client) == [other]
    assert deadletter(verb, "--all", "--yes").exit_code == 0
    assert ids(client) == []
    assert deadletter(verb, "--all").stdout.startswith("0 "), "nothing to ask about"


def test_a_replay_of_all_leaves_what_is_no_message(client: Client, deadletter: Invoke) -> None:
    rubbish = bury(client, "", text=b"rubbish").id
    bury(client, "task-1")
    deadletter("replay", "--all", "--yes")
    assert ids(client) == [rubbish]
    with pytest.raises(InputError, match=f"drop {rubbish}"):
        deadletter("replay", rubbish)
    assert deadletter("drop", rubbish).exit_code == 0


@pytest.mark.parametrize("arguments", [(), ("0f3a", "--all"), ("0f3a", "--queue", "trends")])
def test_ids_and_all_exclude_each_other(deadletter: Invoke, arguments: tuple[str, ...]) -> None:
    for verb in ("replay", "drop"):
        with pytest.raises(InputError, match="either ids of letters, or --all"):
            deadletter(verb, *arguments)
