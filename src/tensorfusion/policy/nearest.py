"""The nearest known word to a misspelled one: annotation keys, fields, kinds. Pure text.

Words are compared without case and separators first, so that ``gpu_pool`` finds ``gpupool``.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tensorfusion.model.crd import KINDS, crd

_CLOSE = 0.72
_SEPARATORS = re.compile(r"[-_. /]")

Json = Any  # Any: JSON of any shape


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that the schema does not have, and what was probably meant."""

    path: str
    wanted: str


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a word most likely means; None where none is close."""
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(_fold(one), one)
    exact = folded.get(_fold(word))
    if exact is not None:
        return exact
    close = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=_CLOSE)
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``x (did you mean it?)`` for the nearest word; ``""`` where none is close."""
    found = nearest(word, known)
    return f"{found} (did you mean it?)" if found is not None else ""


def unknown_fields(kind: str, document: Json) -> Iterator[UnknownField]:
    """The fields of a manifest of one of our kinds that its schema does not have, with the nearest one that it has."""
    schema = _schema(kind)
    allowed = [*schema["properties"], "apiVersion", "kind", "metadata"]
    for key, value in document.items() if isinstance(document, dict) else ():
        if key in ("apiVersion", "kind", "metadata"):
            continue
        if key not in allowed:
            yield UnknownField(str(key), _wanted(str(key), allowed))
        else:
            yield from _walk(schema["properties"][key], value, str(key))


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
                yield UnknownField(f"{path}.{key}", _wanted(str(key), schema["properties"]))


def _wanted(word: str, known: Iterable[str]) -> str:
    names = list(known)
    meant = did_you_mean(word, names)
    return meant or (f"one of {', '.join(names)}" if names else "nothing")


@lru_cache(maxsize=32)
def _schema(kind: str) -> Json:
    if kind not in KINDS:
        raise KeyError(kind)
    return crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def _fold(word: str) -> str:
    return _SEPARATORS.sub("", word).lower()
