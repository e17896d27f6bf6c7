"""Random schemas with values that fit them, and expressions about every place of them."""

import random
from collections.abc import Iterator
from typing import Any

_NAMES = ("a", "b-c", "d.e", "namespace", "if", "f__g", "x/y", "value", "int", "$no", "Ünï", "in", "size", "_h", "as")
_UNWRITABLE = ("$no", "Ünï")
_FORMATS = {
    "date-time": ("2024-02-29T12:30:45Z", "2023-01-01T00:00:00.5+02:00"),
    "date": ("2024-02-29", "1999-12-31"),
    "duration": ("1h30m", "-5s", "0s"),
    "byte": ("aGVsbG8=", ""),
    "email": ("a@b.c",),
    "uuid": ("123e4567-e89b-12d3-a456-426614174000",),
    "": ("", "a", "some text", "é你"),
}
_TEMPLATES = (
    "{0}",
    "has({0})",
    "{0} == {0}",
    "type({0})",
    "size({0})",
    "{0} in [{0}]",
    "string({0})",
    "{0}.all(x, x == x)",
    "{0}.map(x, x)",
    "{0}.exists(x, y, y == x)",
    "{0} + {0}",
    "{0} < {0}",
    "{0}[0]",
    "{0}['a']",
    "[{0}, {0}]",
    "dyn({0}) == {0}",
    "{0}.size() > 1",
    "{0}.matches('a')",
    "{0}.contains({0})",
    "{0}.sum()",
    "{0}.nope",
    "{0} == null",
    "{0} > 1",
    "cel.bind(v, {0}, v == {0})",
    "optional.of({0})",
)


def schema_and_value(choice: random.Random, depth: int = 3) -> tuple[dict[str, Any], Any]:
    kinds = ["string", "integer", "number", "boolean", "port", "string"]
    if depth > 0:
        kinds += ["object", "object", "object", "map", "array", "array", "set", "keyed", "free", "embedded"]
    return _BUILD[choice.choice(kinds)](choice, depth - 1)


def _string(choice: random.Random, _: int) -> tuple[dict[str, Any], Any]:
    name = choice.choice(list(_FORMATS))
    schema: dict[str, Any] = {"type": "string", **({"format": name} if name else {})}
    if choice.random() < 0.3:
        schema["maxLength"] = choice.choice((0, 1, 10, 1000))
    elif not name and choice.random() < 0.2:
        schema["enum"] = ["", "a", "some text", "é你"]
    return schema, choice.choice(_FORMATS[name])


def _integer(choice: random.Random, _: int) -> tuple[dict[str, Any], Any]:
    return {"type": "integer"}, choice.choice((0, 1, -5, 9223372036854775807))


def _number(choice: random.Random, _: int) -> tuple[dict[str, Any], Any]:
    return {"type": "number"}, choice.choice((0, 1, -2.5, 1e300))


def _boolean(choice: random.Random, _: int) -> tuple[dict[str, Any], Any]:
    return {"type": "boolean"}, choice.random() < 0.5


def _port(choice: random.Random, _: int) -> tuple[dict[str, Any], Any]:
    schema: dict[str, Any] = {"x-kubernetes-int-or-string": True}
    if choice.random() < 0.3:
        schema["maxLength"] = 5
    return schema, choice.choice((80, "http", "50%"))


def _object(choice: random.Random, depth: int) -> tuple[dict[str, Any], Any]:
    properties, value, required = {}, {}, []
    for name in choice.sample(_NAMES, choice.randint(0, 4)):
        properties[name], inner = schema_and_value(choice, depth)
        if choice.random() < 0.2:
            properties[name]["nullable"] = True
            inner = choice.choice((inner, None))
        if choice.random() < 0.3:
            required.append(name)
        if name in required or choice.random() < 0.7:
            value[name] = inner
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if choice.random() < 0.2:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    return schema, value


def _map(choice: random.Random, depth: int) -> tuple[dict[str, Any], Any]:
    inner, value = schema_and_value(choice, depth)
    schema: dict[str, Any] = {"type": "object", "additionalProperties": inner}
    if choice.random() < 0.4:
        schema["maxProperties"] = choice.choice((0, 1, 5))
    return schema, choice.choice(({}, {"a": value}, {"b-c": value}))  # one key: the order of several is chance


def _array(choice: random.Random, depth: int) -> tuple[dict[str, Any], Any]:
    inner, value = schema_and_value(choice, depth)
    schema: dict[str, Any] = {"type": "array", "items": inner}
    if choice.random() < 0.4:
        schema["maxItems"] = choice.choice((0, 1, 7, 10_000))
    return schema, [value] * choice.randint(0, 2)


def _set(choice: random.Random, _: int) -> tuple[dict[str, Any], Any]:
    inner, values = choice.choice((({"type": "string"}, ["a", "b"]), ({"type": "integer"}, [1, 2, 3])))
    return {"type": "array", "items": inner, "x-kubernetes-list-type": "set"}, values


def _keyed(choice: random.Random, depth: int) -> tuple[dict[str, Any], Any]:
    inner, value = schema_and_value(choice, depth)
    item = {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": inner}}
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    return {"type": "array", "items": item, **keys}, [{"k": "a", "v": value}, {"k": "b"}][: choice.randint(0, 2)]


def _free(choice: random.Random, _: int) -> tuple[dict[str, Any], Any]:
    schema: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}
    if choice.random() < 0.5:
        schema["type"] = "object"
    return schema, {"any": 1}


def _embedded(choice: random.Random, depth: int) -> tuple[dict[str, Any], Any]:
    schema, value = _object(choice, depth)
    schema["x-kubernetes-embedded-resource"] = True
    return schema, {**value, "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}}


_BUILD = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "port": _port,
    "object": _object,
    "map": _map,
    "array": _array,
    "set": _set,
    "keyed": _keyed,
    "free": _free,
    "embedded": _embedded,
}


def requests_about_schemas(seed: int) -> Iterator[dict[str, Any]]:
    """A few requests about one random schema."""
    choice = random.Random(seed)
    schema, value = _object(choice, 3)
    variable = {"schema": schema, "value": value}
    root = choice.random() < 0.2
    places = ["self", *_places(schema, "self")]
    for _ in range(4):
        expression = choice.choice(_TEMPLATES).format(choice.choice(places))
        # A null field counts in what comparing its object costs, but not in ours.
        costs = "None" not in str(value)
        yield {"expression": expression, "variables": {"self": variable}, "root": root, "costs": costs}


def _places(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        for written in dict.fromkeys((name, *_escapes(name))) if name not in _UNWRITABLE else ():
            yield f"{path}.{written}"
            yield from _places(inner, f"{path}.{written}")
            yield f"{path}.?{written}"
    if "items" in schema:
        yield f"{path}[0]"
        yield from _places(schema["items"], f"{path}[0]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield f"{path}['a']"
        yield from _places(schema["additionalProperties"], f"{path}['a']")
    if schema.get("x-kubernetes-embedded-resource"):
        yield from (f"{path}.kind", f"{path}.metadata.name", f"{path}.metadata.labels", f"{path}.spec")


def _escapes(name: str) -> Iterator[str]:
    if name in ("namespace", "if", "in", "as"):
        yield f"__{name}__"
    yield (
        name.replace("__", "__underscores__").replace("-", "__dash__").replace(".", "__dot__").replace("/", "__slash__")
    )
