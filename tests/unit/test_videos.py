"""The records of videos survive packing, and older and newer releases' records too."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ingest.values import MAX_TITLE, count, midnight, moment, title
from nova.videos import FIELDS, Video, VideoSource, field, pack, pack_row, unpack

NUMBER = st.none() | st.integers(0, 10**15)
VIDEO = st.builds(
    Video,
    id=st.text(min_size=1, max_size=12),
    source=st.sampled_from(VideoSource),
    title=st.text(max_size=30),
    channel=st.text(min_size=1, max_size=12),
    published_at=st.none()
    | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda time: time.replace(microsecond=0)
    ),
    category=NUMBER,
    views=NUMBER,
    likes=NUMBER,
    dislikes=NUMBER,
    comments=NUMBER,
    revenue=st.none() | st.floats(-1e9, 1e9),
)


def test_the_first_nine_fields_keep_their_places() -> None:
    """Records in Redis are read by position, so the order may never change."""
    described = "title channel published_at category views likes dislikes comments revenue"
    assert FIELDS[:9] == tuple(described.split(" "))


@given(VIDEO)
def test_unpack_gives_back_what_was_packed(video: Video) -> None:
    """Every value comes back, an id with a colon too."""
    assert unpack(field(video.source, video.id).encode(), pack(video)) == video


def test_pack_row_equals_pack() -> None:
    """Counts from the scratch table are floats, and give the same bytes as whole numbers."""
    row: list[Any] = ["T", "A", 0, 24, 7.0, None, 1.0, 2.0, -0.5]
    at = datetime(1970, 1, 1, tzinfo=UTC)
    video = Video("v", VideoSource.STUDIO, "T", "A", at, 24, 7, None, 1, 2, -0.5)
    assert pack_row(row) == pack(video) == b'["T","A",0,24,7,null,1,2,-0.5]'


def test_a_longer_record_is_cut_and_a_shorter_one_completed() -> None:
    """Records of a newer and of an older release are readable side by side."""
    values: list[Any] = ["T", "A", None, 24, 7, 1, 2, 3, None]
    whole = unpack(b"trending:v", orjson.dumps(values))
    assert unpack(b"trending:v", orjson.dumps([*values, "later"])) == whole
    assert unpack(b"trending:v", orjson.dumps(values[:8])) == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  WE  WANT\tto talk\n", "WE WANT to talk"),
        ("caf\udcc3 \udcff", "caf\ufffd \ufffd"),
        ("a\x1b[31m\x85b", "a [31m b"),
        ("x" * (MAX_TITLE - 1) + " y", "x" * (MAX_TITLE - 1)),
        ("", ""),
    ],
)
def test_a_title_is_mended_and_never_refused(text: str, expected: str) -> None:
    """One line of UTF-8 of a length that fits, whatever bytes the file has there."""
    assert title(text) == expected


@given(st.binary(max_size=60))
def test_any_bytes_are_a_title(content: bytes) -> None:
    """What csv reads of any bytes can be stored, and shown on a terminal without harm."""
    found = title(content.decode("utf-8", "surrogateescape"))
    assert found.encode().decode() == found == title(found)
    assert not any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-11-13T17:13:01.000Z", datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)),
        ("2017-11-13T17:13:01+02:00", datetime(2017, 11, 13, 15, 13, 1, tzinfo=UTC)),
        ("2017-11-13 17:13:01", datetime(2017, 11, 13, 17, 13, 1, tzinfo=UTC)),
        ("17:13:01", None),
        ("soon", None),
    ],
)
def test_a_time_needs_its_day(text: str, expected: datetime | None) -> None:
    """The trending list of some years has the time of day only: then nobody knows when."""
    assert moment(text) == (None if expected is None else expected.timestamp())


def test_midnight_is_utc() -> None:
    """The ordinal of a day becomes the seconds since 1970 of its beginning."""
    at = datetime(2020, 5, 8, tzinfo=UTC)
    assert midnight(at.toordinal()) == at.timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("24", 24), ("7.0", 7), ("", None), ("-1", None), ("nan", None), ("inf", None), ("x", None)],
)
def test_a_count_that_is_none_is_not_known(text: str, expected: int | None) -> None:
    """What only describes a video does not make its row bad."""
    assert count(text) == expected
