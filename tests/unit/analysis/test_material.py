"""What a feed knows of a channel, and how material is cut into halves."""

from datetime import UTC, date, datetime, timedelta

from nova.analysis.material import Material, Piece, Window, feed_channel, feed_material
from nova.analysis.models import Origin
from nova.feeds import Item

TODAY = date(2026, 3, 28)


def item(title: str, days_ago: int | None, views: int | None = None) -> Item:
    published = None
    if days_ago is not None:
        published = datetime(2026, 3, 28, 12, tzinfo=UTC) - timedelta(days=days_ago)
    return Item(title, "Them", published, views)


def test_entries_outside_the_window_do_not_count_and_undated_ones_do() -> None:
    items = [item("new", 0, 5), item("old", 28), item("last", 27), item("?", None), item("!", -1)]
    found = feed_material(items, TODAY, 28)
    assert [piece.title for piece in found.pieces] == ["new", "last", "?"]
    assert [piece.title for piece in found.dated] == ["new", "last"]
    assert found.window.first == TODAY - timedelta(days=27)
    assert found.window.rows == 3


def test_a_feed_that_reaches_beyond_the_window_covers_all_of_it() -> None:
    assert feed_material([item("new", 1), item("old", 90)], TODAY, 28).days == 28


def test_a_feed_that_ends_within_the_window_covers_the_days_since_its_oldest_entry() -> None:
    """A feed of fifteen entries says nothing of the days before them."""
    assert feed_material([item("new", 1), item("older", 6)], TODAY, 28).days == 7


def test_a_feed_without_dates_covers_no_day() -> None:
    assert feed_material([item("?", None)], TODAY, 28).days == 0


def test_the_channel_of_a_feed_is_the_one_that_most_entries_name() -> None:
    items = [Item("a", "B"), Item("b", "A"), Item("c", "B"), Item("d")]
    assert feed_channel(items) == "B"
    assert feed_channel([Item("a", "B"), Item("b", "A")]) == "A"
    assert feed_channel([Item("a")]) is None


def test_halves_are_those_of_the_days_that_are_known() -> None:
    """Seven days: three and a half make the first half, so that its days are the first four."""
    first = TODAY - timedelta(days=9)
    window = Window(Origin.LISTS, first, TODAY, (), 0)
    since = TODAY - timedelta(days=6)
    days = [first + timedelta(days=number) for number in range(10)]
    pieces = [Piece(day=day, first_views=number) for number, day in enumerate(days)]
    pieces += [Piece(day=None, first_views=99), Piece(day=TODAY, first_views=None)]
    assert Material(window, since, pieces).halves() == ([3, 4, 5, 6], [7, 8, 9])
