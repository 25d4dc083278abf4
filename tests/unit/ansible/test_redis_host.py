"""What the role redis decides from reports: who is the primary, and what counts as equal."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "ansible/roles/redis/files/redis_host.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The program that the role runs on a host."""
    spec = importlib.util.spec_from_file_location("redis_host", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def server(address: str, role: str, follows: str = "", keys: int = 0) -> dict[str, Any]:
    """The report of a host whose Redis answers."""
    return {"server": {"address": address, "role": role, "follows": follows, "keys": keys}}


def sentinel(primary: str, epoch: int) -> dict[str, Any]:
    """The report of a host whose Sentinel answers."""
    return {"server": None, "sentinel": {"primary": primary, "epoch": str(epoch)}}


BARE: dict[str, Any] = {"server": None, "sentinel": None}


@pytest.mark.parametrize(
    ("reports", "primary"),
    [
        ([BARE, BARE, BARE], "a"),
        ([], "a"),
        ([sentinel("a", 1), sentinel("c", 10), sentinel("b", 9)], "c"),
        ([sentinel("b", 1), server("a", "master", keys=5)], "b"),
        ([server("b", "master", keys=5), BARE, BARE], "b"),
        ([server("a", "master"), server("c", "slave", "b"), server("b", "master")], "b"),
        ([server("b", "slave", "c"), BARE], "c"),
        ([server("a", "master"), server("b", "master")], "a"),
    ],
    ids=[
        "a new group: the first host",
        "nobody answers: the first host",
        "sentinels differ: the newest decision",
        "a sentinel is believed before a server",
        "one server has data: it grows into a group",
        "without sentinels: the one that is followed",
        "the primary is away: the one that its replica follows",
        "empty servers count for nothing",
    ],
)
def test_the_primary_is_asked_for(
    program: ModuleType, reports: list[dict[str, Any]], primary: str
) -> None:
    assert program.primary_by(reports, "a") == primary


def test_two_servers_with_data_and_no_sentinel_are_refused(program: ModuleType) -> None:
    reports = [server("a", "master", keys=1), server("b", "master", keys=1)]
    with pytest.raises(program.ProblemError, match="a, b; empty those that do not"):
        program.primary_by(reports, "a")


@pytest.mark.parametrize(
    ("known", "wanted", "same"),
    [
        ("67108864", "64mb", True),
        ("4000000000", "4g", True),
        ("yes", "yes", True),
        ("1", "2", False),
        ("67108865", "64mb", False),
        ("", "", True),
    ],
)
def test_sizes_are_compared_in_bytes(
    program: ModuleType, known: str, wanted: str, same: bool
) -> None:
    assert program.same_value(known, wanted) is same


@pytest.mark.parametrize(
    ("value", "line"),
    [("127.0.0.1 10.0.0.1", "127.0.0.1 10.0.0.1"), ("", '""'), ('a"b#', '"a\\"b#"')],
)
def test_values_are_quoted_where_redis_wants_it(program: ModuleType, value: str, line: str) -> None:
    assert program.quoted(value) == line
