"""Reads an answer's body and stops at the limit, packed or unpacked."""

import zlib
from collections.abc import Iterable, Iterator

import httpx

#: Bytes that are unpacked at a time: a small answer that unpacks to a huge one is noticed early.
STEP = 64 * 1024
#: zlib's number for gzip with its header.
GZIP_WBITS = 31


class BodyError(Exception):
    """The body cannot be taken; the message says why."""


def read_body(answer: httpx.Response, limit: int) -> bytes:
    """Read the body of an answer, unpacked, of at most `limit` bytes.

    Raises:
        BodyError: it is larger, or packed in a way that was not asked for, or broken.
        httpx.TransportError: the connection failed.
    """
    too_large = BodyError(f"is larger than {limit:,} bytes (NOVA_FETCH_MAX_BYTES)")
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    for part in _parts(answer):
        body += part
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _parts(answer: httpx.Response) -> Iterator[bytes]:
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return answer.iter_raw()
    if encoding in ("gzip", "x-gzip"):
        return unpack(answer.iter_raw())
    raise BodyError(f"is packed as {encoding[:20]!r}, which was not asked for")


def unpack(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip in pieces of at most `STEP` bytes, whatever it unpacks to.

    Raises:
        BodyError: it is no gzip, or ends too early.
    """
    unpacker = zlib.decompressobj(GZIP_WBITS)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if unpacker.eof:  # a gzip file may be several, one behind the other
                    unpacker = zlib.decompressobj(GZIP_WBITS)
                yield unpacker.decompress(rest, STEP)
                rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error:
        raise BodyError("is not the gzip that it claims to be") from None
    if not unpacker.eof:
        raise BodyError("ends before its end")
