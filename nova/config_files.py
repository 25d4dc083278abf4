"""Reads the YAML files that operators write, and says in one line what is wrong with one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from nova.errors import ConfigurationError


class Section(BaseModel):
    """No field but the known ones, and nothing is converted behind one's back."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


def load_file(path: Path, model: type[SectionT], *, what: str, setting: str) -> SectionT:
    """Read a file and check it.

    Args:
        path: where it is.
        model: what is in it.
        what: how messages call a file of this kind, such as `sources`.
        setting: name of the setting that holds the path.

    Raises:
        ConfigurationError: it cannot be read or is wrong; names file, line, field, reason.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the {what} {path} ({error.strerror}); check {setting}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} {path}: is not UTF-8 text") from None
    return parse_text(text, model, what=what, name=str(path))


def parse_text(text: str, model: type[SectionT], *, what: str, name: str) -> SectionT:
    """Check the text of a file; `name` is how messages call the file itself.

    Raises:
        ConfigurationError: one line with all that is wrong, each with its line.
    """
    try:
        content: Any = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{what} {name}: {_where(error)}") from None
    except (ValueError, RecursionError) as error:  # a date such as 2020-02-30; no end of brackets
        raise ConfigurationError(f"{what} {name}: is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{what} {name}: must be a mapping of fields to values")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"{what} {name}: {_explain(error, tree, what)}") from None


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}is not YAML: {getattr(error, 'problem', None) or 'unreadable'}"


def _explain(error: ValidationError, tree: yaml.Node | None, what: str) -> str:
    """Say what is wrong, without the values: one may be a secret."""
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"line {_line(tree, item['loc'])}, {field or what}: {message}")
    return "; ".join(problems)


def _line(node: yaml.Node | None, place: Sequence[int | str]) -> int:
    """Return the line of a field, or of the closest thing around it that is there."""
    line = node.start_mark.line + 1 if node else 1
    for part in place:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            # What is not there is a missing field, or the name of a kind of section.
            for key, value in node.value:
                if key.value == part:
                    node, line = value, key.start_mark.line + 1
                    break
    return line
