"""The commands on a real Redis: what a person reads, what a program reads."""

import json
from collections.abc import Callable

import pytest
import redis

from nova import domain_commands
from nova.analytics import commands
from nova.analytics.service import process_day
from nova.errors import NotFoundError
from nova.settings import Settings
from tests.conftest import Invoke
from tests.integration.analytics.conftest import StoreDay, video


@pytest.fixture
def nova(command_line: Callable[..., Invoke]) -> Invoke:
    """Run a command and return what it prints; an error of Nova's is raised."""
    return command_line(commands, domain_commands)


@pytest.fixture
def processed(client: redis.Redis, settings: Settings, store: StoreDay) -> None:
    """Two days: `[a]` overtakes `b/c`; `d` jumps among ten that stay."""
    store(1, {"[a]": 10, "b/c": 2000, "d": 5, **{f"s{n}": 100 + n for n in range(12)}})
    today = {"[a]": 3000.5, "b/c": 2100, "d": 900, **{f"s{n}": 101 + 2 * n for n in range(12)}}
    store(0, today, (video("1", "[a]", 10), video("2", "b/c", 24)))
    process_day(client, settings, "run")


@pytest.mark.usefixtures("processed")
def test_a_report_shows_spans_leaders_categories_changes_and_outliers(nova: Invoke) -> None:
    text = nova("report", "show", "run")
    assert "day: 2026-03-29 to 2026-03-29" in text
    assert "13 channels: no category known on the day" in text
    assert "Note: 2 of the day's channels come from a trending list" in text
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    assert ["1", "15", "+14", "[a]", "3,000.50"] not in lines
    assert ["1", "14", "+13", "[a]", "3,000.50"] in lines
    assert ["10 Music", "1", "3,000.50", "3,000.50", "3,000.50"] in lines
    assert ["[a]", "10", "3,000.50", "+2,990"] in lines
    assert any(cells[:4] == ["[a]", "views, change", "10", "3,000.50"] for cells in lines)
    assert "2026-03-29: 15 channels, " in nova("report", "list", "--domain", "analytics")


@pytest.mark.usefixtures("processed")
def test_a_leaderboard_is_shown_and_given_to_programs(nova: Invoke) -> None:
    text = nova("analytics", "leaderboard", "--limit", "2")
    assert "total views, day 2026-03-29 to 2026-03-29, compared with day:2026-03-28" in text
    assert "2 of 15; 15 channels have it" in text
    arguments = ("leaderboard", "views", "--period", "all", "--offset", "1", "--json")
    page = json.loads(nova("analytics", *arguments))
    assert (page["period"], page["standings"][0]["rank"], page["total"]) == ("all", 2, 15)


@pytest.mark.usefixtures("processed")
def test_categories_and_a_channel_are_shown(nova: Invoke) -> None:
    text = nova("analytics", "categories", "--period", "week")
    assert "24 Entertainment" in text
    assert "28 of 30 channel days" in text
    text = nova("analytics", "channel", "b/c")
    assert "b/c, day 2026-03-29 to 2026-03-29" in text
    assert "+5.0 %" in text
    found = json.loads(nova("analytics", "channel", "[a]", "--day", "2026-03-28", "--json"))
    assert (found["day"], found["spans"][0]["metrics"][0]["total"]) == ("2026-03-28", 10)


def test_what_is_not_there_is_an_error_for_people(nova: Invoke) -> None:
    for command in ("leaderboard", "categories"):
        with pytest.raises(NotFoundError, match="run: nova trigger analytics"):
            nova("analytics", command)
