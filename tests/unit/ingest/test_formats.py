"""Each format is recognised and read; each bad row is named by line, column and reason."""

import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nova.channels import METRIC_NAMES
from nova.errors import InputError
from nova.ingest.models import PROBLEMS_SHOWN

from .conftest import ReadContent

TRENDING = (
    "video_id,trending_date,title,channel_title,category_id,publish_time,views,likes,dislikes,"
    "comment_count,comments_disabled,ratings_disabled,video_error_or_removed\n"
)
STUDIO = (
    "Video,Video title,Video publish time,Comments added,Shares,Likes,RPM (USD),Video views,"
    "Watch time (hours),Subscribers,Your estimated revenue (USD),Impressions,"
    "Impressions click-through rate (%)\n"
)


def trending(video: str, channel: str = "A", day: str = "17.14.11", **other: object) -> str:
    row: dict[str, object] = {
        "views": 100,
        "likes": 10,
        "comments": 3,
        "no_comments": "FALSE",
        "no_likes": "FALSE",
    }
    row |= other
    return (
        f'{video},{day},"a, title",{channel},22,17:13:01,{row["views"]},{row["likes"]},1,'
        f"{row['comments']},{row['no_comments']},{row['no_likes']},FALSE\n"
    )


# --- Recognition ---


@pytest.mark.parametrize(
    ("content", "channel", "expected"),
    [
        (TRENDING + trending("v"), None, "trending list"),
        (STUDIO, "Ken", "YouTube Studio export"),
        ("Content,Video title,Video publish time,Views\n", "Ken", "YouTube Studio export"),
        ("day,channel,views\n", None, "Nova CSV"),
        ("\ufeffChannel , DAY\n", None, "Nova CSV"),
        ('\ufeff{"day": "2025-01-01"}\n', None, "Nova JSON Lines"),
        ("\n [ ]", None, "Nova JSON array"),
    ],
)
def test_a_format_is_recognised_by_its_beginning(
    read_content: ReadContent, content: str, channel: str | None, expected: str
) -> None:
    """Case, blanks and a byte order mark do not matter."""
    assert read_content(content, channel).format == expected


@pytest.mark.parametrize(
    "content", [b"name,age\nx,1\n", b"PK\x03\x04\xff\xfe", b"day;channel\n", b'"day,channel\n']
)
def test_an_unknown_header_names_what_was_found_and_what_is_known(
    read_content: ReadContent, content: bytes
) -> None:
    """One line, whatever bytes the file begins with."""
    with pytest.raises(InputError) as error:
        read_content(content)
    message = str(error.value)
    assert message.startswith("the file begins with ")
    assert "trending list" in message
    assert "Nova JSON" in message
    assert message.isprintable()


@pytest.mark.parametrize("content", ["", "\ufeff", " \n\r\n"])
def test_an_empty_file_is_refused(read_content: ReadContent, content: str) -> None:
    """A file without anything in it is a mistake."""
    with pytest.raises(InputError, match="the file is empty"):
        read_content(content)


@pytest.mark.parametrize("content", [TRENDING, "day,channel\n", "[]", "{}"])
def test_a_channel_is_refused_where_the_file_names_its_channels(
    read_content: ReadContent, content: str
) -> None:
    """The option would be ignored otherwise, and nobody would know."""
    with pytest.raises(InputError, match="names its channels itself"):
        read_content(content, "Ken")


def test_a_line_without_end_is_refused(read_content: ReadContent) -> None:
    """A file of one endless line is refused before it fills the memory."""
    with pytest.raises(InputError, match="line 2 is longer than 1,048,576 characters"):
        read_content("day,channel\n" + "x" * (1 << 20))
    with pytest.raises(InputError, match="line 1 is longer"):
        read_content('{"day": "' + "x" * (1 << 20))


# --- Trending list ---


def test_trending_rows_are_summed_by_channel_and_day(read_content: ReadContent) -> None:
    """Two videos of a channel on one day are one record; another day is another one."""
    content = read_content(
        TRENDING
        + trending("v1", views=100, likes=10, comments=1)
        + trending("v2", views=50, likes=5, comments=2)
        + trending("v1", day="17.15.11", views=7, likes=0, comments=0)
    )
    assert content.values == {
        ("2017-11-14", "A"): {"views": 150, "likes": 15, "comments": 3},
        ("2017-11-15", "A"): {"views": 7, "likes": 0, "comments": 0},
    }
    assert content.tally.rows_read == 3


def test_a_missing_or_switched_off_number_is_not_known(read_content: ReadContent) -> None:
    """Where comments or ratings are disabled the list says 0, which nobody counted."""
    content = read_content(
        TRENDING
        + trending("v1", "off", likes=0, comments=0, no_comments="TRUE", no_likes="true")
        + trending("v2", "empty", likes="")
        + trending("v3", "both", likes=4)
        + trending("v4", "both", likes=0, no_likes="TRUE")
    )
    assert content.values[("2017-11-14", "off")] == {"views": 100}
    assert content.values[("2017-11-14", "empty")] == {"views": 100, "comments": 3}
    assert content.values[("2017-11-14", "both")] == {"views": 200, "likes": 4, "comments": 6}


def test_a_video_counts_once_a_day(read_content: ReadContent) -> None:
    """The second row of a video, channel and day is rejected, in one batch and over two."""
    rows = TRENDING + trending("v1", views=1) + trending("v2", views=5) + trending("v1", views=9)
    for batch in (1, 2, 100):
        content = read_content(rows, batch=batch)
        assert content.values[("2017-11-14", "A")]["views"] == 6
        assert content.problems == [
            "line 4: is a second row for the video, channel and day of line 2"
        ]
        assert content.tally.rows_rejected == 1


# --- YouTube Studio export ---


def test_a_studio_export_needs_a_channel(read_content: ReadContent) -> None:
    """Without the option the line says which one to add; a bad name is refused."""
    with pytest.raises(InputError, match="does not name its channel; add --channel NAME"):
        read_content(STUDIO)
    with pytest.raises(InputError, match="the channel given for the file is missing"):
        read_content(STUDIO, " ")


def test_a_studio_export_counts_videos_on_the_day_they_were_published(
    read_content: ReadContent,
) -> None:
    """Counts are summed; rpm is weighted by views and ctr by impressions; Total is skipped."""
    content = read_content(
        STUDIO + "Total,,,9,9,9,9,9,9,9,9,9,9\n"
        "v1,T,2020-05-08,1,2,3,4.0,100,1.5,-3,0.5,1000,2\n"
        "v2,T,2020-05-08,1,2,3,8.0,300,2.5,1,2.5,3000,6\n"
        " v3,T,2020-05-09,,,,,7,,,,,1\n",
        "Ken",
    )
    assert content.values == {
        ("2020-05-08", "Ken"): {
            "comments": 2,
            "shares": 4,
            "likes": 6,
            "rpm": 7.0,
            "views": 400,
            "watch_hours": 4.0,
            "subscribers": -2,
            "revenue": 3.0,
            "impressions": 4000,
            "ctr": 5.0,
        },
        ("2020-05-09", "Ken"): {"views": 7, "ctr": 1},
    }
    assert content.tally.skipped == {"row of totals": 1}
    assert content.tally.rows_rejected == 0


def test_a_studio_export_of_today_has_other_column_names(read_content: ReadContent) -> None:
    """The newer names mean the same metrics."""
    content = read_content(
        "Content,Video title,Video publish time,Duration,Views,Estimated revenue (USD),"
        "Thumbnail impressions,Thumbnail click-through rate (%)\n"
        'v1,T,"May 8, 2020",60,5,0.5,100,2\n',
        "Ken",
    )
    known = {"views": 5, "revenue": 0.5, "impressions": 100, "ctr": 2}
    assert content.values == {("2020-05-08", "Ken"): known}


def test_a_ratio_that_one_video_lacks_comes_from_the_others(read_content: ReadContent) -> None:
    """A video without RPM has no part in the mean, nor has its weight."""
    content = read_content(
        STUDIO + "v1,T,2020-05-08,,,,4.0,100,,,,,\nv2,T,2020-05-08,,,,,900,,,,,\n", "Ken"
    )
    assert content.values == {("2020-05-08", "Ken"): {"views": 1000, "rpm": 4.0}}


def test_bytes_that_are_no_utf_8_do_no_harm_in_a_title(read_content: ReadContent) -> None:
    """Titles are not read; a channel's or video's id that is no UTF-8 is rejected."""
    rows = (
        STUDIO.encode() + b"v1,\xf0\x9f\x94,2020-05-08,,,,,1,,,,,\n\xff,T,2020-05-08,,,,,1,,,,,\n"
    )
    content = read_content(rows, "Ken")
    assert content.values == {("2020-05-08", "Ken"): {"views": 1}}
    assert content.problems == [r"line 3, column video: '\udcff' is not valid UTF-8"]


def test_turned_dates_of_a_studio_export_are_noticed_and_noted(read_content: ReadContent) -> None:
    """The order is found from the whole file, also for rows above the ones that show it."""
    content = read_content(
        STUDIO + "v1,T,05-08-2020,,,,,1,,,,,\nv2,T,7-16-2020,,,,,2,,,,,\n", "Ken"
    )
    assert [day for day, _ in content.values] == ["2020-07-16", "2020-08-05"]
    assert content.tally.notes[0].startswith("dates such as 05-08-2020 are read as day-month-year")


# --- Nova CSV ---


def test_nova_csv_takes_any_metrics_in_any_order(read_content: ReadContent) -> None:
    """An empty cell is not known; blank lines are no rows; lines may end with CR LF."""
    content = read_content("ctr,channel,views,day\r\n1.5,A,10,2025-01-01\r\n\r\n,B,,2025-01-01\r\n")
    assert content.values == {
        ("2025-01-01", "A"): {"views": 10, "ctr": 1.5},
        ("2025-01-01", "B"): {},
    }
    assert content.tally.rows_read == 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("day,channel,view", "has an unknown column 'view'"),
        ("day,channel,views,Views", "has views twice"),
        ("day,channel,\x1b[2J", r"has an unknown column '\\x1b\[2j'"),
    ],
)
def test_nova_csv_refuses_columns_it_does_not_know(
    read_content: ReadContent, header: str, message: str
) -> None:
    """A misspelt metric would otherwise be lost without a word."""
    with pytest.raises(InputError, match=message):
        read_content(header + "\n")


def test_every_bad_row_is_named_by_line_column_and_reason(read_content: ReadContent) -> None:
    """The line is that of the file, also below a quoted field of several lines."""
    content = read_content(
        "day,channel,views,ctr\n"
        "2025-01-01,good,1,2\n"
        '2025-01-01,"two\nlines",1,2\n'
        "2025-01-01,A,many,2\n"
        "2025-01-01,A,1,100.1\n"
        "2025-01-01,A,-1,2\n"
        "2025-01-01,A,nan,2\n"
        "2025-13-01,A,1,2\n"
        "2999-01-01,A,1,2\n"
        "2025-01-01,,1,2\n"
        "2025-01-01,A,1\n"
        "2025-01-01,A,1,2,3\n"
        "2025-01-01,good,5,5\n"
    )
    assert content.values == {("2025-01-01", "good"): {"views": 1, "ctr": 2}}
    assert content.problems == [
        r"line 3, column channel: 'two\nlines' holds a control character",
        "line 5, column views: 'many' is not a number",
        "line 6, column ctr: '100.1' is not within 0 and 100",
        "line 7, column views: '-1' is below 0",
        "line 8, column views: 'nan' is not a finite number",
        "line 9, column day: '2025-13-01' is not a day written YYYY-MM-DD",
        "line 10, column day: '2999-01-01' is in the future",
        "line 11, column channel: is missing",
        "line 12: has 3 columns, the header has 4",
        "line 13: has 5 columns, the header has 4",
        "line 14: is a second row for the channel and day of line 2",
    ]
    assert (content.tally.rows_read, content.tally.rows_rejected) == (12, 11)


def test_problems_are_told_up_to_a_limit(read_content: ReadContent) -> None:
    """The others are counted: a file of bad rows must not fill the memory."""
    content = read_content("day,channel\n" + "x,y\n" * (PROBLEMS_SHOWN + 30))
    assert len(content.problems) == PROBLEMS_SHOWN
    assert content.tally.rows_rejected == PROBLEMS_SHOWN + 30


def test_a_row_that_is_no_csv_is_rejected_and_reading_goes_on(read_content: ReadContent) -> None:
    """A field over the limit of the CSV reader costs its own row only."""
    content = read_content(f"day,channel\n2025-01-01,{'x' * 200_000}\n2025-01-02,B\n")
    assert content.problems == ["line 2: is no CSV: field larger than field limit (131072)"]
    assert list(content.values) == [("2025-01-02", "B")]
    assert content.tally.rows_read == 2


# --- Nova JSON ---

OBJECTS = [
    {"day": "2025-01-01", "channel": "A", "views": 10, "ctr": 1.5, "likes": None},
    {"channel": "B", "day": "2025-01-02", "subscribers": -3},
]
AS_VALUES = {
    ("2025-01-01", "A"): {"views": 10, "ctr": 1.5},
    ("2025-01-02", "B"): {"subscribers": -3},
}


def test_json_lines_and_array_hold_the_same(read_content: ReadContent) -> None:
    """Field names are those of the CSV; null is not known; blank lines are no rows."""
    lines = "\n\n".join(json.dumps(item) for item in OBJECTS)
    assert read_content(lines).values == AS_VALUES
    assert read_content("\ufeff" + json.dumps(OBJECTS, indent=2)).values == AS_VALUES


BAD_ITEMS = [
    (5, "5 is not an object"),
    ({"channel": "A"}, ", column day: is missing"),
    ({"views": []}, ", column views: [] is not a number"),
    ({"day": 5, "channel": "A"}, ", column day: 5 is not a string"),
    ({"day": "2025-01-01", "channel": None}, ", column channel: is missing"),
    ({"views": "1"}, ", column views: '1' is not a number"),
    ({"views": True}, ", column views: True is not a number"),
    ({"views": -1}, ", column views: -1 is below 0"),
    ({"views": 1e300}, ", column views: 1e+300 is not within 0 and 1e+15"),
    ({"view": 1}, f", column view: is no metric; known are {', '.join(METRIC_NAMES)}"),
]


@pytest.mark.parametrize(("item", "expected"), BAD_ITEMS)
def test_a_bad_json_object_is_named(read_content: ReadContent, item: object, expected: str) -> None:
    """Lines are counted in JSON Lines, items in an array."""
    if isinstance(item, dict) and not item.keys() & {"day", "channel"}:
        item = {"day": "2025-01-01", "channel": "A"} | item
    good = {"day": "2025-01-01", "channel": "good"}
    separator = "" if expected.startswith(",") else ": "
    lines = read_content(f"{json.dumps(good)}\n{json.dumps(item)}\n")
    assert lines.problems == [f"line 2{separator}{expected}"]
    array = read_content(json.dumps([good, item]))
    assert array.problems == [f"item 2{separator}{expected}"]
    assert list(lines.values) == list(array.values) == [("2025-01-01", "good")]


def test_nested_values_are_rejected_without_being_built(read_content: ReadContent) -> None:
    """What is deep inside of an item counts as one wrong value; the next item is read."""
    content = read_content(
        '[{"day": "2025-01-01", "channel": {"views": [1, {"day": 2}]}, "views": 1},'
        ' [{"day": "2025-01-01"}], {"day": "2025-01-01", "channel": "A", "views": 2}]'
    )
    assert content.problems == [
        "item 1, column channel: [] is not a string",
        "item 2: [] is not an object",
    ]
    assert content.values == {("2025-01-01", "A"): {"views": 2}}


def test_a_line_that_is_no_json_costs_itself_only(read_content: ReadContent) -> None:
    """JSON Lines go on with the next line."""
    content = read_content('{"day": "2025-01-01", "channel": "A"}\n{"day":\n')
    assert content.problems[0].startswith("line 2: is no JSON: ")
    assert list(content.values) == [("2025-01-01", "A")]


def test_a_broken_array_is_refused(read_content: ReadContent) -> None:
    """After a fault nobody knows where the next item begins."""
    with pytest.raises(InputError, match="the file is no JSON after item 1: "):
        read_content('[{"day": "2025-01-01", "channel": "A"}, {"day": "2025-01-02"')


# --- Properties ---

CELLS = st.sampled_from(["", "1", "2.5", "-3", "nan", "x", "1e400", " 7 "])
DAYS = st.sampled_from(["2025-01-01", "2025-01-02", "2025-02-30", ""])
CHANNEL_NAMES = st.sampled_from(["A", "B", "Zoë", ""])


@settings(deadline=None)
@given(
    st.lists(st.tuples(DAYS, CHANNEL_NAMES, CELLS, CELLS), max_size=12, unique_by=lambda r: r[:2]),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
)
def test_the_order_of_rows_and_the_size_of_batches_do_not_matter(
    read_content: ReadContent,
    rows: list[tuple[str, ...]],
    shuffler: random.Random,
    batch: int,
) -> None:
    """Rows of different channels and days give the same in any order."""
    header = "day,channel,views,subscribers\n"
    content = read_content(header + "".join(",".join(row) + "\n" for row in rows))
    shuffler.shuffle(rows)
    shuffled = read_content(header + "".join(",".join(row) + "\n" for row in rows), batch=batch)
    assert shuffled.values == content.values
    assert shuffled.tally.rows_rejected == content.tally.rows_rejected
    assert content.tally.rows_rejected + len(content.values) == len(rows)


BEGINNINGS = st.sampled_from(
    [b"", TRENDING.encode(), STUDIO.encode(), b"day,channel,views\n", b'{"day":', b"[", b"[{"]
)


@settings(deadline=None)
@given(BEGINNINGS, st.binary(max_size=200), st.sampled_from([None, "Ken"]))
@example(b"day,channel,views\n", b'2025-01-01,"A', None)
@example(b"day,channel,views\n", b"2025-01-01,A\x00,1\n\r\r\n", None)
@example(b"[", b'{"views": 123456789012345678901234567890}]', None)
@example(b"[", b"[" * 100_000, None)
@example(b"", b'{"views":' * 10_000, None)
@example(b"[", b'{"day": "\\ud800", "channel": "\\ud800"}]', None)
@example(b"[", b"\xff\xfe]", None)
def test_no_garbage_gets_past_the_readers(
    read_content: ReadContent, beginning: bytes, garbage: bytes, channel: str | None
) -> None:
    """Whatever the bytes are, they are read, rejected row by row, or refused in one line."""
    try:
        messages = read_content(beginning + garbage, channel).problems
    except InputError as error:
        messages = [str(error)]
    assert all(message.isprintable() for message in messages)
