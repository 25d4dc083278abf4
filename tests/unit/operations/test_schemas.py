"""What one type takes and another does not, by the schemas that pydantic makes of them."""

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from nova.operations.schemas import takes_all_of


class Small(BaseModel):
    name: str


class Larger(BaseModel):
    name: str
    note: str | None = None


class Demanding(BaseModel):
    name: str
    note: str


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


class Color(Enum):
    RED = "red"
    BLUE = "blue"


Name = Annotated[str, Field(min_length=1)]


def limited(kind: Any, **bounds: Any) -> Any:
    return Annotated[kind, Field(**bounds)]


#: The first takes all that the second takes, and not the other way round.
WIDER = [
    (Any, str),
    (str | None, str),
    (float, int),
    (int | str, int),
    (limited(int, ge=0), limited(int, ge=1)),
    (int, limited(int, le=5)),
    (limited(str, max_length=9), limited(str, min_length=1, max_length=5)),
    (str, limited(str, pattern="^a")),
    (Literal["a", "b"], Literal["a"]),
    (str, Literal["a", "b"]),
    (str, Color),
    (list[int | None], list[int]),
    (limited(list[str], max_length=9), limited(list[str], max_length=5)),
    (list[str] | None, limited(list[Name], min_length=1)),
    (dict[str, Any], dict[str, int]),
    (Larger, Demanding),
    (Small, Closed),
    (Small | None, Small),
    (list[Larger], list[Demanding]),
]


def schema(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


@pytest.mark.parametrize(("wide", "narrow"), WIDER, ids=str)
def test_the_wider_type_takes_all_of_the_narrower_and_not_the_reverse(
    wide: Any, narrow: Any
) -> None:
    assert takes_all_of(schema(wide), schema(narrow))
    assert not takes_all_of(schema(narrow), schema(wide))
    assert takes_all_of(schema(wide), schema(wide))
    assert takes_all_of(schema(narrow), schema(narrow))


@pytest.mark.parametrize(
    ("one", "other"), [(str, int), (bool, int), (list[str], str), (Literal["a"], Literal["b"])]
)
def test_types_that_have_nothing_in_common_take_nothing_of_each_other(one: Any, other: Any) -> None:
    assert not takes_all_of(schema(one), schema(other))
    assert not takes_all_of(schema(other), schema(one))


def test_names_and_explanations_do_not_matter() -> None:
    explained = Annotated[int, Field(description="how many", title="Count", examples=[3])]
    assert takes_all_of(schema(explained), schema(int))
    assert takes_all_of(schema(int), schema(explained))


def test_what_is_not_understood_counts_as_narrower_unless_it_is_the_same() -> None:
    odd = {"type": "string", "not": {"const": "x"}}
    assert not takes_all_of(odd, {"type": "string"})
    assert takes_all_of(odd, odd)
