"""Agent memory: what it refuses, before it asks Redis anything."""

from typing import Any

import pytest
import redis

from nova.errors import InputError
from nova.memory import MAX_VALUE_BYTES, Memory


def message(namespace: str, key: str, value: Any = 1) -> str:
    with redis.Redis(port=1) as nowhere, pytest.raises(InputError) as caught:
        Memory(nowhere).put(namespace, key, value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("namespace", ["", "A", "1a", "a:b", "a b", "a" * 65, "a\n"])
def test_namespaces_are_words(namespace: str) -> None:
    assert "small letters" in message(namespace, "key")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", "1 to 256"),
        ("ü" * 129, "is 258 bytes long"),
        ("a\nb", "control character"),
        ("\ud800", "not valid UTF-8"),
    ],
)
def test_keys_are_short_texts(key: str, expected: str) -> None:
    assert expected in message("trends", key)


deep: list[Any] = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "is not JSON"),
        ([float("inf")], "is not JSON"),
        ({1, 2}, "is not JSON"),
        ("\ud800", "is not JSON"),
        (deep, "is not JSON"),
        ("x" * MAX_VALUE_BYTES, "65,538 bytes as JSON; 65,536 are allowed"),
    ],
    ids=["nan", "infinity", "set", "surrogate", "deep", "large"],
)
def test_values_are_json_of_a_limited_size(value: Any, expected: str) -> None:
    assert expected in message("trends", "cats", value)
