"""YAML documents into typed objects, strictly: an unknown field is an error that names the nearest known one.

Apart from the plain decoding because configuration is written by people, and a misspelt key that is passed over in
silence is the worst answer to it.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.suggestions import did_you_mean

Json = Any  # Any: YAML of any shape
StructT = TypeVar("StructT", bound=msgspec.Struct)


def convert(document: Json, type_: type[StructT], at: str) -> StructT:
    """The document as a typed object; ``at`` is how messages name the place that it was found in.

    Raises:
        ConfigError: an unknown field, or a value of a wrong type.
    """
    require_known(document, type_, at)
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        where = (at + path.rstrip("`")).lstrip(".")
        raise ConfigError(f"{where}: {what[:1].lower()}{what[1:]}") from error


def require_known(document: Json, type_: type[msgspec.Struct], at: str) -> None:
    """Refuse fields that the type does not have, at any depth.

    Raises:
        ConfigError: there is one; the message names the nearest field that exists.
    """
    if not isinstance(document, dict):
        return  # the conversion says what is wanted
    fields = _fields(type_)
    for key, value in document.items():
        if key not in fields:
            raise unknown(f"{at}.{key}" if at else str(key), "field", str(key), fields)
        inner = fields[key]
        if inner is None:
            continue
        path = f"{at}.{key}" if at else str(key)
        for place, item in enumerate(value) if isinstance(value, list) else ():
            require_known(item, inner, f"{path}[{place}]")
        if isinstance(value, dict):
            require_known(value, inner, path)


def unknown(at: str, what: str, word: str, known: Iterable[str]) -> ConfigError:
    """The error for a word that does not exist."""
    return ConfigError(f"{at}: unknown {what} {word!r}{did_you_mean(word, known)}")


@cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """The struct that each field holds, once or in a list, by the name that documents have for it."""
    return {field.encode_name: _struct(field.type) for field in msgspec.structs.fields(type_)}


def _struct(type_: Any) -> type[msgspec.Struct] | None:  # Any: an annotation
    """The struct that a field holds, once or in a list."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_
    return next((found for arg in get_args(type_) if (found := _struct(arg)) is not None), None)
