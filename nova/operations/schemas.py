"""Whether a JSON schema takes all that another takes; of the schemas that pydantic makes."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

#: Keywords that refuse nothing.
_ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "$defs"}
_LOWER_BOUNDS = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER_BOUNDS = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
#: Keywords that are looked at one by one; any other has to be the same in both.
_KNOWN = {
    *_ANNOTATIONS,
    *_LOWER_BOUNDS,
    *_UPPER_BOUNDS,
    *("type", "enum", "const", "items", "properties", "required", "additionalProperties"),
}


def takes_all_of(new: Schema, old: Schema) -> bool:
    """Say whether every value that fits `old` also fits `new`; no when in doubt."""
    new, old = _plain(new, new), _plain(old, old)
    choices = _choices(new)
    return all(any(_fits(one, other) for one in choices) for other in _choices(old))


def _plain(schema: Schema, root: Schema) -> dict[str, Any]:
    """Return a schema without references and annotations."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _plain(root.get("$defs", {}).get(name, {"$ref": name}), root)
    plain: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "properties":
            plain[keyword] = {name: _plain(part, root) for name, part in value.items()}
        elif keyword in {"anyOf", "oneOf"}:
            plain["anyOf"] = [_plain(part, root) for part in value]
        elif keyword not in _ANNOTATIONS:
            plain[keyword] = _plain(value, root) if isinstance(value, Mapping) else value
    return plain


def _choices(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives of a schema, none of which has alternatives itself."""
    if set(schema) == {"anyOf"}:
        return [choice for part in schema["anyOf"] for choice in _choices(part)]
    if isinstance(schema.get("type"), list):
        return [schema | {"type": name} for name in schema["type"]]
    return [schema]


def _fits(new: dict[str, Any], old: dict[str, Any]) -> bool:
    return (
        not new
        or new == old
        or (
            _fits_type(new, old)
            and _fits_values(new, old)
            and _fits_bounds(new, old)
            and _fits_parts(new, old)
            and all(old.get(word) == new[word] for word in new.keys() - _KNOWN)
        )
    )


def _fits_type(new: dict[str, Any], old: dict[str, Any]) -> bool:
    wanted = new.get("type")
    return wanted in (None, old.get("type")) or (wanted, old.get("type")) == ("number", "integer")


def _fits_values(new: dict[str, Any], old: dict[str, Any]) -> bool:
    wanted, given = _values(new), _values(old)
    return wanted is None or (given is not None and all(value in wanted for value in given))


def _values(schema: dict[str, Any]) -> list[Any] | None:
    """Return the values that a schema names; None if it names none."""
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _fits_bounds(new: dict[str, Any], old: dict[str, Any]) -> bool:
    return all(
        word in old and old[word] >= new[word] for word in _LOWER_BOUNDS & new.keys()
    ) and all(word in old and old[word] <= new[word] for word in _UPPER_BOUNDS & new.keys())


def _fits_parts(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Compare what stands in lists and objects."""
    if not takes_all_of(new.get("items", {}), old.get("items", {})):
        return False
    if not set(new.get("required", [])) <= set(old.get("required", [])):
        return False
    new_parts, old_parts = new.get("properties", {}), old.get("properties", {})
    return all(
        _takes(_part(new, new_parts, name), _part(old, old_parts, name))
        for name in (*new_parts.keys(), *old_parts.keys(), None)
    )


def _part(schema: dict[str, Any], parts: dict[str, Any], name: str | None) -> Schema | None:
    """Return what a property must fit, None for any other one; None if there must be none."""
    if name in parts:
        part: Schema = parts[name]
        return part
    others = schema.get("additionalProperties", True)
    if isinstance(others, Mapping):
        return others
    return {} if others else None


def _takes(new: Schema | None, old: Schema | None) -> bool:
    return old is None or (new is not None and takes_all_of(new, old))
