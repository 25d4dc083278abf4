"""Feeds and JSON documents become items."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.errors import InputError
from nova.feeds import Item, at_path, read_feed, read_json

RSS = """<?xml version="1.0" encoding="{encoding}"?>
<rss version="2.0"><channel><title>Süd News</title>
<item><title>First  \n &amp; foremost</title>
<pubDate>Wed, 01 May 2024 14:00:00 +0200</pubDate></item>
<item><description>no title</description></item>
<item><title>Zweitens</title><author>Anna</author></item>
</channel></rss>"""

ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:media="http://search.yahoo.com/mrss/">
<title>Uploads</title>
<entry><title>Cats</title><author><name>Cat Channel</name></author>
<published>2024-05-01T12:00:00+00:00</published>
<media:group><media:community><media:statistics views="1234"/></media:community></media:group>
</entry></feed>"""

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1"])
def test_an_rss_feed(encoding: str) -> None:
    found = read_feed(RSS.format(encoding=encoding).encode(encoding), "text/xml")
    assert found.items == [
        Item("First & foremost", "Süd News", NOON),
        Item("Zweitens", "Anna"),
    ]
    assert found.left_out == 1


def test_a_charset_that_nobody_knows_does_no_harm() -> None:
    assert read_feed(ATOM, "text/xml; charset=nonsense").items[0].title == "Cats"


def test_an_atom_feed_as_youtube_has_it() -> None:
    assert read_feed(ATOM).items == [Item("Cats", "Cat Channel", NOON, 1234)]


@pytest.mark.parametrize("body", [b"", b"<html><body>Sign in</body></html>", b"{}", b"\x00\xff"])
def test_what_is_no_feed_says_so(body: bytes) -> None:
    with pytest.raises(InputError, match="neither an RSS nor an Atom feed"):
        read_feed(body)


@given(st.binary() | st.text(alphabet="<>/&;!?[]itemle= \"'a\n").map(str.encode))
def test_no_body_ends_in_anything_but_items_or_one_error(body: bytes) -> None:
    for text in (body, ATOM[:200] + body):
        try:
            found = read_feed(text)
        except InputError:
            continue
        assert all(item.title for item in found.items)


@pytest.mark.parametrize("published", ["", "<published>some day</published>"])
def test_without_a_readable_date_the_update_counts(published: str) -> None:
    entry = f"<title>Cats</title>{published}"
    feed = '<feed xmlns="http://www.w3.org/2005/Atom"><entry>{}</entry></feed>'
    assert read_feed(feed.format(entry).encode()).items == [Item("Cats")]
    updated = entry + "<updated>2024-05-01T12:00:00Z</updated>"
    assert read_feed(feed.format(updated).encode()).items == [Item("Cats", None, NOON)]


def test_a_body_that_is_the_name_of_a_file_opens_no_file(tmp_path: Path) -> None:
    """A server must not make us read our own files."""
    path = tmp_path / "feed.xml"
    path.write_bytes(ATOM)
    with pytest.raises(InputError):
        read_feed(str(path).encode())


def test_entities_of_a_hostile_feed_are_not_expanded() -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = (
        f'<!DOCTYPE rss [<!ENTITY e0 "x">{levels}]><rss version="2.0"><channel>'
        "<item><title>a&e11;b</title></item></channel></rss>"
    )
    found = read_feed(bomb.encode())
    assert all(len(item.title) < 100 for item in found.items)


FIELDS = {"title": "s.title", "channel": "s.by.0", "published": "at", "views": "n"}


def one(entry: Any) -> Item:
    [item] = read_json(orjson.dumps({"data": {"list": [entry]}}), "data.list", FIELDS).items
    return item


def test_json_fields_are_found_by_their_paths() -> None:
    entry = {"s": {"title": "Cats", "by": ["Tom"]}, "at": "2024-05-01T14:00:00+02:00", "n": "12"}
    assert one(entry) == Item("Cats", "Tom", NOON, 12)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (1714564800, NOON),
        ("2024-05-01T12:00:00Z", NOON),
        ("2024-05-01T12:00:00", NOON),
        ("yesterday", None),
        (1e300, None),
        (True, None),
        (None, None),
        ([2024, 5, 1], None),
    ],
)
def test_times_are_utc_or_unknown(at: Any, expected: datetime | None) -> None:
    assert one({"s": {"title": "Cats"}, "at": at}).published == expected


@pytest.mark.parametrize(
    ("views", "expected"),
    [(0, 0), (7, 7), (-1, None), ("x", None), (True, None), (2**60, None), ([], None)],
)
def test_views_are_a_count_or_unknown(views: Any, expected: int | None) -> None:
    assert one({"s": {"title": "Cats"}, "n": views}).views == expected


def test_entries_without_a_title_are_counted() -> None:
    found = read_json(b'[{"title": "a"}, {"title": " "}, {}, 3, null]', "", {"title": "title"})
    assert ([item.title for item in found.items], found.left_out) == (["a"], 4)


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (b"<html>", "", "is not JSON"),
        (b"{}", "", "has no list at 'its top'"),
        (b'{"a": {"b": 1}}', "a.b", "has no list at 'a.b'"),
        (b"[]", "x.y", "has no list"),
    ],
)
def test_a_document_without_the_list_says_so(body: bytes, path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_json(body, path, {"title": "title"})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("tsan"), inner),
    max_leaves=20,
)


@given(st.lists(JSON))
def test_no_entry_breaks_the_others(entries: list[Any]) -> None:
    """Whatever a server sends, each entry becomes an item with a title or is counted."""
    paths = {"title": "t", "channel": "s", "published": "a", "views": "n"}
    found = read_json(orjson.dumps([*entries, {"t": "last"}]), "", paths)
    assert found.items[-1].title == "last"
    assert all(item.title for item in found.items)
    assert len(found.items) + found.left_out == len(entries) + 1


@given(JSON, st.text())
def test_any_path_leads_somewhere_or_nowhere(value: Any, path: str) -> None:
    at_path(value, path)
