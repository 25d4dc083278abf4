"""Versions as endpoints tell them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.errors import SourceError
from nova.fetching import Fetched
from nova.governance.checks import LONGEST_VERSION, read_version
from nova.governance.watch import WatchedVersion

ATOM = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>releases</title>
<entry><title>v1.9</title><updated>2026-01-01T00:00:00Z</updated></entry>
<entry><title>v2.0</title><updated>2026-02-01T00:00:00Z</updated></entry>
<entry><title>v1.9.1</title><updated>2026-01-09T00:00:00Z</updated></entry></feed>"""
UNDATED = b"<rss version='2.0'><channel><item><title>b</title></item><item><title>a</title></item>"


def read(kind: Any, body: bytes, path: str | None = None) -> str:
    watched = WatchedVersion(name="v", url="http://x.example/", kind=kind, path=path)
    page = Fetched("http://x.example/", body, "", False, datetime.now(UTC), 0.1)
    return read_version(watched, page)


@pytest.mark.parametrize(
    ("kind", "body", "path", "version"),
    [
        ("text", b"\n  7.2.1 \r\nsecond line", None, "7.2.1"),
        ("text", b"\xef\xbb\xbf7.2", None, "7.2"),
        ("text", b"x" * 1000, None, "x" * LONGEST_VERSION),
        ("json", b'{"info": {"version": "1.4"}}', "info.version", "1.4"),
        ("json", b'[{"tag": 12}]', "0.tag", "12"),
        ("json", b'{"v": "a\\nb\\u001b[31m"}', "v", "a b [31m"),
        ("feed", ATOM, None, "v2.0"),
        ("feed", UNDATED + b"</channel></rss>", None, "b"),
    ],
)
def test_a_version_is_read_on_one_line(
    kind: str, body: bytes, path: str | None, version: str
) -> None:
    assert read(kind, body, path) == version


@pytest.mark.parametrize(
    ("kind", "body", "path", "reason"),
    [
        ("text", b" \n", None, "empty version"),
        ("json", b"{", "v", "is not JSON"),
        ("json", b'{"v": null}', "v", "has no text or number at 'v'"),
        ("json", b'{"v": true}', "v", "has no text or number"),
        ("json", b'{"v": {"w": 1}}', "v", "has no text or number"),
        ("json", b'{"v": ""}', "v", "empty version"),
        ("feed", b"<html></html>", None, "is neither an RSS nor an Atom feed"),
        ("feed", b"<rss version='2.0'><channel></channel></rss>", None, "has no entry"),
    ],
)
def test_what_tells_no_version_is_one_line(
    kind: str, body: bytes, path: str | None, reason: str
) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        read(kind, body, path)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(["text", "json", "feed"]), st.binary(max_size=200))
def test_no_answer_ends_in_anything_but_a_version_or_one_line(kind: str, body: bytes) -> None:
    try:
        version = read(kind, body, "v" if kind == "json" else None)
    except SourceError as error:
        version = error.reason
    assert len(version.splitlines()) == 1
