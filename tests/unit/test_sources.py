"""The sources file: what is taken, and what a person reads when it is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.errors import ConfigurationError
from nova.fetching import Target
from nova.settings import Settings
from nova.sources import load_sources, parse_sources

FEED = "sources:\n  - name: a\n    kind: rss\n    url: http://example.org/\n"
LISTS = "sources:\n  - {name: a, kind: trending}\n"


def settings_with(path: Path | None) -> Settings:
    return Settings.model_validate({"REDIS_URL": "redis://localhost", "NOVA_SOURCES": path})


def message_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_sources(text, "sources.yml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_setting_there_are_no_sources() -> None:
    assert load_sources(settings_with(None)) == ()


def test_the_file_that_the_setting_names_is_used(tmp_path: Path) -> None:
    path = tmp_path / "own.yml"
    path.write_text(FEED + "    timeout_seconds: 3\n    private: true\n")
    [source] = load_sources(settings_with(path))
    assert source.target == Target("http://example.org/", 3, {}, private=True)


def test_an_empty_list_is_allowed() -> None:
    assert parse_sources("sources: []", "sources.yml") == ()


def test_a_missing_file_names_the_path_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yml.*NOVA_SOURCES"):
        load_sources(settings_with(tmp_path / "absent.yml"))


def test_a_file_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yml"
    path.write_bytes(b"sources: \xff")
    with pytest.raises(ConfigurationError, match=r"latin\.yml: is not UTF-8"):
        load_sources(settings_with(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("sources: [", "line 1, column"),
        ("sources:\n", "line 1, sources: Input should be"),
        (FEED + "    pasword: x\n", "line 5, sources.0.pasword: Extra inputs"),
        (FEED.replace("rss", "atom"), "line 3, sources.0.kind: Input should be"),
        (FEED.replace("http:", "ftp:"), "line 4, sources.0.url: must be http"),
        (FEED.replace("example", "u:hunter2@example"), "line 4, sources.0.url: must not hold"),
        (FEED.replace("    url: http://example.org/\n", ""), "line 2, sources.0: kind rss needs"),
        (FEED.replace("rss", "json"), "line 2, sources.0: kind json needs fields"),
        (FEED.replace("rss", "trending"), "line 2, sources.0: kind trending takes no url"),
        (FEED + "    fields: {title: t}\n", "line 2, sources.0: kind rss takes no fields"),
        (FEED + "    fields:\n      items: a\n", "line 5, sources.0.fields.title: Field required"),
        (FEED + "    headers:\n      X-Key: JWT_SECRET_KEY\n", "line 6, sources.0.headers.X-Key:"),
        (FEED + "    headers:\n      X-Key: hunter2\n", "line 6, sources.0.headers.X-Key:"),
        (FEED + "    timeout_seconds: 0\n", "line 5, sources.0.timeout_seconds: "),
        (FEED + FEED.removeprefix("sources:\n"), "line 1, sources: several sources are called a"),
        (LISTS + "  - {name: b, kind: trending}\n", "several sources are of kind trending"),
    ],
)
def test_a_wrong_file_names_line_field_and_reason(text: str, expected: str) -> None:
    message = message_of(text)
    assert message.startswith("sources sources.yml: ")
    assert expected in message
    assert "hunter2" not in message, "what was taken for a secret is not repeated"


def test_all_that_is_wrong_stands_in_one_line() -> None:
    message = message_of(FEED + "    private: maybe\n  - name: Ü\n    kind: trending\n")
    assert "line 5, sources.0.private" in message
    assert "line 6, sources.1.name" in message


@given(st.text())
def test_no_text_ends_in_anything_but_sources_or_one_line(text: str) -> None:
    message = ""
    try:
        parse_sources(text, "sources.yml")
    except ConfigurationError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
