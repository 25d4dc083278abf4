"""What the role redis decides from reports: who is the primary, and what counts as equal."""

import importlib.util
import os
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
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1 10.0.0.1", '"127.0.0.1 10.0.0.1"'),
        ("with a space", '"with a space"'),
        ("", '""'),
        ('a"b#', '"a\\"b#"'),
        ("ä b", '"ä b"'),
    ],
)
def test_values_are_quoted_where_redis_wants_it(program: ModuleType, value: str, line: str) -> None:
    assert program.quoted(value) == line


#: Speaks German, unless it is told to speak as programs want it.
APT_CACHE = """#!/bin/sh
if [ "$LC_ALL" = C ]; then echo "  Installed: $OLD\n  Candidate: $NEW"
else echo "  Installiert:           $OLD\n  Installationskandidat: $NEW"; fi
"""


@pytest.fixture
def apt_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `apt-cache` of a German host."""
    path = tmp_path / "apt-cache"
    path.write_text(APT_CACHE)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    return path


@pytest.mark.parametrize(("newest", "is_newer"), [("5:7.0.15-2", True), ("5:7.0.15-1", False)])
def test_a_newer_version_is_seen_whatever_the_host_speaks(
    program: ModuleType,
    apt_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    newest: str,
    is_newer: bool,
) -> None:
    monkeypatch.setenv("OLD", "5:7.0.15-1")
    monkeypatch.setenv("NEW", newest)
    assert program.upgradable(["redis-server"]) is is_newer


def test_package_sources_that_say_nothing_are_no_newest_version(
    program: ModuleType, apt_cache: Path
) -> None:
    """An upgrade that did nothing would pass for one that was not due."""
    apt_cache.write_text("#!/bin/sh\n")
    with pytest.raises(program.ProblemError, match="`apt-cache policy a b` names no version"):
        program.upgradable(["a", "b"])


def certificate(name: str) -> str:
    """Something that looks like a certificate."""
    return f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("trusted", "given", "whose"),
    [
        (None, certificate("old"), ""),
        (certificate("old"), certificate("old"), "ours"),
        (certificate("old"), certificate("old").strip(), "ours"),
        (certificate("old"), certificate("new") + certificate("old"), "ours"),
        (certificate("new") + certificate("old"), certificate("new"), "ours"),
        (certificate("old"), certificate("new"), "another"),
        (certificate("old"), "", "another"),
    ],
    ids=[
        "a new host",
        "the same",
        "the same, less the line's end",
        "a change of the CA begins",
        "a change of the CA ends",
        "made by a second controller",
        "a controller without its folder",
    ],
)
def test_a_host_says_whose_ca_it_trusts(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: str | None,
    given: str,
    whose: str,
) -> None:
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    if trusted is not None:
        (tmp_path / "tls").mkdir()
        (tmp_path / "tls" / "ca.crt").write_text(trusted)
    me = {"name": "a", "address": "127.0.0.1"}
    request = {"me": me, "peers": [], "sentinels": 0, "check": False, "tls": {"ca": given}}
    assert program.Host(request).trusted_ca() == whose


def test_a_ca_can_be_handed_over_while_there_is_no_certificate_of_it(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a controller that has lost its folder: the new CA first, then certificates."""
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    written = []
    monkeypatch.setattr(
        program.Host, "write", lambda _, path, *rest: written.append((path.name, rest[0]))
    )
    monkeypatch.setattr(program.Host, "server", None)
    me = {"name": "a", "address": "127.0.0.1"}
    request = {"me": me, "peers": [], "sentinels": 0, "check": False, "tls": {"ca": "new"}}
    program.Host(request).certificates()
    assert written == [("ca.crt", "new")]
