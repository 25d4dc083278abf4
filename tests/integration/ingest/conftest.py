"""Files to ingest, and what is stored afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

MakeFile = Callable[[str], Path]
Stored = Callable[[], dict[bytes, dict[Any, Any]]]


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Return a function that writes a file of this text."""

    def make(text: str) -> Path:
        path = tmp_path / "metrics.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.fixture
def stored(client: redis.Redis) -> Stored:
    """Return a function that reads all of Redis: hashes, and the index of days as one of them."""

    def read() -> dict[bytes, dict[Any, Any]]:
        content: dict[bytes, dict[Any, Any]] = {}
        for key in client.scan_iter():
            if client.type(key) == b"zset":
                content[key] = dict(client.zrange(key, 0, -1, withscores=True))  # type: ignore[arg-type]
            else:
                content[key] = client.hgetall(key)
        return content

    return read
