"""Wrong manifests, made from the schemas of our kinds: at least one for every field, each wrong in one way only.

Around the wrong value stands the smallest object that is right, so that whoever refuses it refuses it for that.
"""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tensorfusion.model.crd import KINDS, crd

Json = Any  # Any: JSON of any shape

_SAMPLES = ("a", "1", "1s", "0.5", "https://h.example", "0 0 * * *", "429", "True", "Ready", "UTC", "0" * 64)
_MOMENT = "2026-01-01T00:00:00Z"
_TYPES = {"string": 5, "integer": "x", "number": "x", "boolean": "x", "array": "x", "object": "x"}
_NEVER = "=\n~"
"""No pattern of ours takes it."""

BASES: Mapping[str, Json] = {
    "AzureGPUSource": {
        "sourceType": "vm",
        "subscriptionID": "s",
        "region": "eastus",
        "vm": {"resourceGroup": "g", "vmSizes": ["s"]},
        "scaling": {"targetGPUPool": "p", "maxInstances": 1},
    }
}
"""Specs of kinds whose rules want more than their required fields."""


@dataclass(frozen=True, slots=True)
class BadManifest:
    """One wrong manifest. ``path`` is the field that has to be named; ``part`` is ``spec`` or ``status``."""

    kind: str
    part: str
    path: str
    what: str
    document: Json

    @property
    def unknown(self) -> bool:
        """The manifest has a field that the schema does not know: it is refused while it is decoded."""
        return self.what == "unknown field"


def good_manifest(kind: str) -> Json:
    """The smallest manifest of a kind that is right."""
    schema = _schema(kind)
    spec = schema["properties"].get("spec")
    document = {"apiVersion": "tensor-fusion.ai/v1", "kind": kind, "metadata": {"name": "x"}}
    if spec is not None:
        document["spec"] = deepcopy(BASES[kind]) if kind in BASES else valid(spec)
    return document


def bad_manifests(kind: str) -> Iterator[BadManifest]:
    """Wrong manifests of a kind, one or more for every field of its spec and status."""
    schema = _schema(kind)
    for part in ("spec", "status"):
        if part not in schema["properties"]:
            continue
        base = good_manifest(kind)
        if part == "status":
            base["status"] = valid(schema["properties"]["status"])
        for path, what, value in _cases(schema["properties"][part], base[part], part):
            yield BadManifest(kind, part, path, what, {**base, part: value})
        if part in schema.get("required", ()):
            yield BadManifest(kind, part, part, "missing", {key: one for key, one in base.items() if key != part})


def valid(schema: Json) -> Json:
    """The smallest value that a schema takes."""
    if schema.get("x-kubernetes-int-or-string"):
        return "1"
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if kind == "string":
        return _text(schema)
    if kind == "integer":
        return schema.get("minimum", 0)
    if kind == "number":
        return 0.5
    if kind == "boolean":
        return True
    if kind == "array":
        return [valid(schema["items"])] * schema.get("minItems", 0)
    return {name: valid(schema["properties"][name]) for name in schema.get("required", ())}


def _text(schema: Json) -> str:
    if schema.get("format") == "date-time":
        return _MOMENT
    pattern = schema.get("pattern")
    return next(sample for sample in _SAMPLES if pattern is None or re.search(pattern, sample))


def _cases(schema: Json, good: Json, path: str) -> Iterator[tuple[str, str, Json]]:
    """Each wrong variant of a value: the path that it is wrong at, what is wrong, and the whole value."""
    for what, wrong in _wrong(schema):
        yield path, what, wrong
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if "items" in schema:
        yield from _item_cases(schema, path)
    elif isinstance(schema.get("additionalProperties"), dict):
        inner = schema["additionalProperties"]
        for inside, what, wrong in _cases(inner, valid(inner), f"{path}.k"):
            yield inside, what, {"k": wrong}
    elif "properties" in schema:
        yield from _member_cases(schema, good if isinstance(good, dict) else valid(schema), path)


def _member_cases(schema: Json, good: Json, path: str) -> Iterator[tuple[str, str, Json]]:
    yield f"{path}.nope", "unknown field", {**good, "nope": 1}
    for name in schema.get("required", ()):
        if "default" not in schema["properties"][name]:
            yield f"{path}.{name}", "missing", {key: value for key, value in good.items() if key != name}
    for name, inner in schema["properties"].items():
        inside = good.get(name, valid(inner))
        for where, what, wrong in _cases(inner, inside, f"{path}.{name}"):
            yield where, what, {**good, name: wrong}


def _item_cases(schema: Json, path: str) -> Iterator[tuple[str, str, Json]]:
    inner = schema["items"]
    good = valid(inner)
    for where, what, wrong in _cases(inner, good, f"{path}[0]"):
        yield where, what, [wrong]
    if schema.get("x-kubernetes-list-type") == "map":
        yield f"{path}[1]", "twice", [good, good]


def _wrong(schema: Json) -> Iterator[tuple[str, Json]]:
    """Wrong values of one schema, each for one reason."""
    if schema.get("x-kubernetes-int-or-string"):
        yield "type", True
        yield "pattern", "lots"
    else:
        yield "type", _TYPES[schema["type"]]
        if schema["type"] in ("integer", "number") or "format" in schema:
            yield "other type", True
    if "enum" in schema:
        yield "enum", "no-such-word"
    if "minimum" in schema and schema["type" if "type" in schema else "minimum"] in ("integer", "number"):
        yield "minimum", schema["minimum"] - 1
    if "maximum" in schema:
        yield "maximum", schema["maximum"] + 1
    if schema.get("type") == "string":
        if "pattern" in schema:
            yield "pattern", _NEVER
        if "minLength" in schema:
            yield "minLength", ""
        if "maxLength" in schema:
            yield "maxLength", "a" * (schema["maxLength"] + 1)
        if schema.get("format") == "date-time":
            yield "format", "yesterday"
    if schema.get("minItems"):
        yield "minItems", []
    if "maxItems" in schema:
        yield "maxItems", _many(schema)
    if "maxProperties" in schema:
        yield "maxProperties", {f"k{index}": "a" for index in range(schema["maxProperties"] + 1)}


def _many(schema: Json) -> Json:
    """One item too many, with keys that differ where they have to."""
    items = [deepcopy(valid(schema["items"])) for _ in range(schema["maxItems"] + 1)]
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        for index, item in enumerate(items):
            item[key] = f"a{index}"
    return items


def _schema(kind: str) -> Json:
    if kind not in KINDS:
        raise KeyError(kind)
    return crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
