"""What a newer release writes stays readable: readers ignore fields that they do not know."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

import nova
from nova.config_files import Section
from nova.operations import data_format

#: Bodies of requests are written by people, to whom a misspelt word must be told.
FROM_PEOPLE = "nova.api.routes."
#: They do something when they are imported, and have no models.
RUN_AT_IMPORT = {"nova.__main__", "nova.celery_app"}


def models() -> set[type[BaseModel]]:
    """Return every pydantic model of Nova's."""
    for module in pkgutil.walk_packages(nova.__path__, "nova."):
        if module.name not in RUN_AT_IMPORT:
            importlib.import_module(module.name)
    return {model for model in _subclasses(BaseModel) if model.__module__.startswith("nova.")}


def _subclasses(cls: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def is_strict(model: type[BaseModel]) -> bool:
    """Whether a model refuses fields that it does not know."""
    return model.model_config.get("extra") == "forbid"


def parts(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that stand in an annotation, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from parts(field.annotation)
    for argument in get_args(annotation):
        yield from parts(argument)


def test_only_what_people_write_is_read_strictly() -> None:
    strict = {model for model in models() if is_strict(model)}
    assert strict, "the test sees the models"
    others = {
        model
        for model in strict
        if not issubclass(model, Section) and not model.__module__.startswith(FROM_PEOPLE)
    }
    assert others == set()


def test_nothing_that_is_read_back_holds_a_part_that_is_read_strictly() -> None:
    found = {
        f"{model.__name__} holds {part.__name__}"
        for model in models()
        if not is_strict(model)
        for part in parts(model)
        if is_strict(part)
    }
    assert found == set()


def test_a_release_reads_what_it_writes() -> None:
    assert data_format.WRITES in data_format.READS
