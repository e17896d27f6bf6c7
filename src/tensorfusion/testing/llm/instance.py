"""The smallest JSON value that a JSON schema takes: what a model that keeps to a schema might say.

Of every choice the first, of every range the lower end, of an object what it requires. ``pattern``, ``not`` and
``if`` are not looked at: a schema that needs them gets a value that may break them.

Source: JSON Schema 2020-12, validation and core 8.2.3.1 ($ref).
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Schema: TypeAlias = Mapping[str, object]

_DEEPEST: Final = 64
_FORMATS: Final = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class NoInstance(ValueError):
    """The schema is none, or has no finite instance."""


def instance(schema: object) -> Json:
    """A value that the schema takes.

    Raises:
        NoInstance: says why.
    """
    return _any(schema, schema, 0)


def _any(schema: object, root: object, depth: int) -> Json:
    if schema is True:
        return None
    if not isinstance(schema, Mapping):
        raise NoInstance(f"wanted an object as a schema, found {type(schema).__name__}")
    if depth > _DEEPEST:
        raise NoInstance(f"the schema is deeper than {_DEEPEST} levels, or refers to itself without an end")
    schema = _merged(schema, root)
    if "const" in schema:
        return schema["const"]  # type: ignore[return-value] # decoded from JSON
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]  # type: ignore[no-any-return]
    for word in ("anyOf", "oneOf"):
        options = schema.get(word)
        if isinstance(options, list) and options:
            return _first(options, schema, root, depth)
    return _typed(schema, root, depth)


def _merged(schema: Schema, root: object) -> Schema:
    """With what it refers to, and all that it must hold, put in its place."""
    for _ in range(_DEEPEST):
        reference, every = schema.get("$ref"), schema.get("allOf")
        if isinstance(reference, str):
            kept = {name: value for name, value in schema.items() if name != "$ref"}
            schema = _joined(_at(root, reference), kept)
        elif isinstance(every, list):
            kept = {name: value for name, value in schema.items() if name != "allOf"}
            for part in every:
                if isinstance(part, Mapping):
                    kept = dict(_joined(kept, part))
            schema = kept
        else:
            return schema
    raise NoInstance("the schema refers to itself")


def _joined(one: Schema, other: Schema) -> Schema:
    """Both: properties and what is required together, otherwise what the second says."""
    both = {**one, **other}
    for word in ("properties", "$defs"):
        first, second = one.get(word), other.get(word)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            both[word] = {**first, **second}
    first, second = one.get("required"), other.get("required")
    if isinstance(first, list) and isinstance(second, list):
        both["required"] = [*first, *second]
    return both


def _at(root: object, reference: str) -> Schema:
    found = root
    for step in reference.removeprefix("#").split("/")[1:] if reference.startswith("#") else ["?"]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise NoInstance(f"$ref {reference} leads nowhere: wanted one inside the schema, like #/$defs/name")
    return found


def _first(options: list[object], schema: Schema, root: object, depth: int) -> Json:
    """The first of the options that has an instance."""
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "oneOf")}
    for option in options[:-1]:
        try:
            return _any(_joined(kept, option) if isinstance(option, Mapping) else option, root, depth + 1)
        except NoInstance:
            pass
    last = options[-1]
    return _any(_joined(kept, last) if isinstance(last, Mapping) else last, root, depth + 1)


def _typed(schema: Schema, root: object, depth: int) -> Json:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "null"
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            items = schema.get("prefixItems")
            least = _whole(schema, "minItems")
            found = [_any(item, root, depth + 1) for item in items] if isinstance(items, list) else []
            return found + [_any(schema.get("items", True), root, depth + 1) for _ in range(least - len(found))]
        case "string":
            text = _FORMATS.get(str(schema.get("format")), "")
            return text + "x" * (_whole(schema, "minLength") - len(text))
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return False
        case "null":
            return None
    raise NoInstance(f"type {kind!r} is none of JSON Schema")


def _object(schema: Schema, root: object, depth: int) -> Json:
    properties, required = schema.get("properties"), schema.get("required")
    wanted = dict.fromkeys(required) if isinstance(required, list) else {}
    found: dict[str, Json] = {}
    for name in wanted:
        known = properties.get(name, True) if isinstance(properties, Mapping) else True
        found[str(name)] = _any(known, root, depth + 1)
    return found


def _number(schema: Schema, *, whole: bool) -> int | float:
    """The one nearest to nothing in the range."""
    low, high = _limit(schema, "inimum", up=True, whole=whole), _limit(schema, "aximum", up=False, whole=whole)
    value: float = 0
    if low is not None and low > 0:
        value = low
    elif high is not None and high < 0:
        value = high
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0 and value % step:
        value = (value // step + (1 if value > 0 else 0)) * step
    return int(value) if whole or value == int(value) else value


def _limit(schema: Schema, word: str, *, up: bool, whole: bool) -> float | None:
    at = schema.get("m" + word)
    beyond = schema.get("exclusiveM" + word)
    step = 1 if whole else 0.5
    if isinstance(beyond, int | float) and not isinstance(beyond, bool):
        return beyond + (step if up else -step)
    return at if isinstance(at, int | float) and not isinstance(at, bool) else None


def _whole(schema: Schema, word: str) -> int:
    value = schema.get(word)
    if not isinstance(value, int):
        return 0
    if value > 1 << 16:
        raise NoInstance(f"{word} is {value}: wanted at most {1 << 16}")
    return value
