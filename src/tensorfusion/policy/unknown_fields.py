"""Fields of a manifest of one of our kinds that its schema does not have, each with the one that was probably meant.

Found before a server is asked, so that the error can name the nearest field.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tensorfusion.model.crd import crd
from tensorfusion.suggestions import nearest

Json = Any  # Any: JSON of any shape

_ENVELOPE = ("apiVersion", "kind", "metadata")


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that the schema does not have, and what it has instead."""

    path: str
    wanted: str


def unknown_fields(kind: str, document: Json) -> Iterator[UnknownField]:
    """The unknown fields of a manifest of one of our kinds, metadata apart."""
    schema = _schema(kind)
    for key, value in document.items() if isinstance(document, dict) else ():
        if key in _ENVELOPE:
            continue
        if key in schema["properties"]:
            yield from _walk(schema["properties"][key], value, str(key))
        else:
            yield UnknownField(str(key), one_of(str(key), [*schema["properties"], *_ENVELOPE]))


def one_of(word: str, known: Iterable[str]) -> str:
    """What is wanted instead of a wrong word: the likely one, else all there are."""
    names = list(dict.fromkeys(known))
    likely = nearest(word, names)
    if likely:
        return f"{likely[0]} (did you mean it?)"
    return f"one of {', '.join(names)}" if names else "nothing"


def _walk(schema: Json, value: Json, path: str) -> Iterator[UnknownField]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _walk(schema["items"], item, f"{path}[{index}]")
    elif isinstance(value, dict) and "additionalProperties" in schema:
        for key, item in value.items():
            yield from _walk(schema["additionalProperties"], item, f"{path}[{key}]")
    elif isinstance(value, dict) and "properties" in schema:
        for key, item in value.items():
            if key in schema["properties"]:
                yield from _walk(schema["properties"][key], item, f"{path}.{key}")
            else:
                yield UnknownField(f"{path}.{key}", one_of(str(key), schema["properties"]))


@lru_cache(maxsize=32)
def _schema(kind: str) -> Json:
    return crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
