"""Bodies: limits hold before the memory is full, packed or not."""

import gzip
import zlib
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.fetching.body import STEP, BodyError, read_body, unpack


def answer(body: bytes, **headers: str) -> httpx.Response:
    def stream() -> Iterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, headers=names, content=stream())


@given(
    st.lists(st.binary(max_size=400), max_size=4),
    st.integers(min_value=1, max_value=50),
)
def test_what_was_packed_comes_out_however_it_arrives(members: list[bytes], size: int) -> None:
    packed = b"".join(gzip.compress(member) for member in members) or gzip.compress(b"")
    chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
    assert b"".join(unpack(chunks)) == b"".join(members)


def test_a_bomb_is_unpacked_in_small_steps_only() -> None:
    """Of 64 MiB that arrive in one chunk no more than a step is in memory at a time."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    sizes = [len(part) for part in unpack([bomb])]
    assert max(sizes) <= STEP
    assert sum(sizes) == 64 * 1024 * 1024


def test_a_bomb_is_larger_than_allowed() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    with pytest.raises(BodyError, match="larger than 1,000,000 bytes"):
        read_body(answer(bomb, content_encoding="gzip"), 1_000_000)


def test_the_limit_itself_is_allowed_and_one_more_byte_is_not() -> None:
    assert len(read_body(answer(bytes(5000)), 5000)) == 5000
    with pytest.raises(BodyError, match="larger"):
        read_body(answer(bytes(5001)), 5000)


def test_a_declared_length_over_the_limit_is_refused_before_reading() -> None:
    def never() -> Iterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    declared = httpx.Response(200, headers={"content-length": "5001"}, content=never())
    with pytest.raises(BodyError, match="larger"):
        read_body(declared, 5000)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"plain", "gzip", "not the gzip"),
        (gzip.compress(bytes(range(256)) * 9)[:-9], "gzip", "ends before its end"),
        (zlib.compress(b"text"), "deflate", "not asked for"),
        (b"", "gzip", "ends before its end"),
    ],
)
def test_a_body_that_cannot_be_unpacked_says_why(body: bytes, encoding: str, message: str) -> None:
    with pytest.raises(BodyError, match=message):
        read_body(answer(body, content_encoding=encoding), 5000)
