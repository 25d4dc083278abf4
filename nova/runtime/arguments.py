"""Checks the arguments of a task when it is published: docs/decisions/0016 says why, and when not.

A task says in its signature what it takes, with pydantic's types and constraints:

    @shared_task(name="nova.maintenance.memory_cleanup_task", bind=True, base=NovaTask)
    def memory_cleanup_task(
        self: NovaTask, max_age_hours: Annotated[int, Field(ge=1)] = 24
    ) -> dict[str, Any]:

Arguments are published as they are, nothing is converted: "24" is no int, and 1 no bool. So take
what JSON has - str, int, float, bool, list, dict, None, Literal - and `IsoDay` for a day.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from nova.errors import InputError


def _check_day(text: str) -> str:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError("write the day as YYYY-MM-DD")
    return text


#: A day as YYYY-MM-DD, text also in the task: `date.fromisoformat` makes a date of it.
IsoDay = Annotated[str, AfterValidator(_check_day)]


@dataclass(frozen=True)
class Arguments:
    """What a task takes."""

    task: str
    signature: inspect.Signature
    #: One field for each parameter, but for *args and **kwargs: those take anything.
    model: type[BaseModel]

    @classmethod
    def of(cls, task: str, function: Callable[..., Any]) -> "Arguments":
        """Read what the function of a task takes from its annotations.

        A parameter without an annotation takes anything.
        """
        signature = inspect.signature(function, eval_str=True)
        return cls(task, signature, _model(task, signature))

    def check(self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> None:
        """Check arguments before they are published; None is none.

        Raises:
            InputError: one is unknown, missing or wrong; names the task, the argument and why.
        """
        try:
            given = self.signature.bind(*(args or ()), **(kwargs or {})).arguments
        except TypeError as error:
            known = ", ".join(self.signature.parameters) or "none"
            raise InputError(f"task {self.task}: {error}; its arguments: {known}") from None
        named = {name: value for name, value in given.items() if name in self._names()}
        try:
            self.model.model_validate(named)
        except ValidationError as error:
            raise InputError(f"task {self.task}: {'; '.join(_problems(error))}") from None

    def _names(self) -> set[str | None]:
        return {field.alias for field in self.model.model_fields.values()}


def check_arguments(task: Any, args: Any, kwargs: Any, *, retries: int = 0) -> None:
    """Check arguments that are about to be published, if the task is one of Nova's.

    Those with which a run publishes itself again are let through: an older release, which
    published them first, may have allowed more.

    Raises:
        InputError: one is unknown, missing or wrong.
    """
    arguments = getattr(task, "arguments", None)
    if not isinstance(arguments, Arguments):
        return
    if not (retries and _plain(task.request.args, task.request.kwargs) == _plain(args, kwargs)):
        arguments.check(args, kwargs)


def _plain(args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    return list(args or ()), dict(kwargs or {})


def _model(task: str, signature: inspect.Signature) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(signature.parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        is_open = parameter.annotation is parameter.empty
        annotation = Any if is_open else parameter.annotation
        default = ... if parameter.default is parameter.empty else parameter.default
        # Under an alias, for pydantic keeps some names, such as `schema` and `_x`, to itself.
        fields[f"argument_{number}"] = (annotation, Field(default, alias=parameter.name))
    # Infinity and NaN are no JSON.
    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return create_model(task, __config__=config, **fields)


def _problems(error: ValidationError) -> Iterator[str]:
    """Yield what is wrong, without the values: one may be a secret."""
    for problem in error.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        yield f"argument {where}: {problem['msg']}"
