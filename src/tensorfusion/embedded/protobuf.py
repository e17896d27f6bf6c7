"""Protobuf request bodies as JSON objects: typed Go clients (``kubectl create``, controllers) send nothing else.

Field numbers, names and types are facts of Kubernetes' own sources (``tools/protobuf_facts.py``); here is only the wire
format, and the few messages whose JSON form is not an object of their fields. Answers are JSON: those clients take it.

A typed client writes fields that it has not set as zero. What JSON leaves out then is left out here: zeroes of fields
that are no pointers in Go.

Source: protocol buffers encoding; Kubernetes API concepts, "Protobuf encoding".
"""

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

from tensorfusion.embedded.objects import JsonObject, decode
from tensorfusion.errors import BadRequest

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_FILE = "protobuf-1.34.json"
_DEEPEST = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."

Wire = int | bytes
"""A field as it is on the wire: a number, or the bytes of anything longer."""


class _Malformed(Exception):
    """The bytes are no message."""


class _Facts(msgspec.Struct, frozen=True):
    """``messages`` maps a message to its fields: number -> (JSON name, label, type)."""

    kinds: dict[str, str]
    messages: dict[str, dict[str, tuple[str, str, str]]]


@lru_cache(maxsize=1)
def _facts() -> _Facts:
    found = resources.files("tensorfusion.embedded.facts").joinpath(_FILE).read_bytes()
    return msgspec.json.decode(found, type=_Facts)


def decode_protobuf(body: bytes) -> JsonObject:
    """The JSON object that a protobuf body stands for, with its apiVersion and kind.

    Raises:
        BadRequest: it does not parse, or is of a kind whose protobuf form is not known.
    """
    if not body.startswith(_MAGIC):
        raise BadRequest("the body is not in Kubernetes' protobuf form: wanted it to begin with 'k8s\\0'")
    try:
        envelope = dict(_fields(memoryview(body)[len(_MAGIC) :]))
        type_meta = dict(_fields(_part(envelope.get(1, b""))))
        api_version, kind = _text(type_meta.get(1, b"")), _text(type_meta.get(2, b""))
        message = _facts().kinds.get(f"{api_version}/{kind}")
        if message is None:
            raise BadRequest(f'no protobuf form is known of kind "{kind}" in version "{api_version}": send JSON')
        found: JsonObject = _message(message, _part(envelope.get(2, b"")), depth=0)
    except _Malformed as error:
        raise BadRequest(f"the protobuf body does not parse: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **found}


# Any below: a JSON value.
def _message(name: str, data: memoryview, *, depth: int) -> Any:
    special = _SPECIAL.get(name)
    if special is not None:
        return special(data)
    if depth > _DEEPEST:
        raise _Malformed(f"nested deeper than {_DEEPEST} levels")
    if name.startswith(_EXTENSIONS + "JSONSchemaPropsOr"):
        return _schema_or(name, data, depth=depth)
    fields = _facts().messages.get(name)
    if fields is None:
        raise _Malformed(f"message {name} is not known")
    found: JsonObject = {}
    for number, value in _fields(data):
        known = fields.get(str(number))
        if known is not None:
            _set(found, known, value, depth=depth)
    return found


def _set(found: JsonObject, field: tuple[str, str, str], value: Wire, *, depth: int) -> None:
    name, label, type_ = field
    if label == "map":
        key, item = _entry(type_, value, depth=depth)
        found.setdefault(name, {})[key] = item
        return
    decoded = _value(type_, value, depth=depth)
    if label == "inline":
        if isinstance(decoded, dict):
            found.update(decoded)
    elif label == "repeated":
        found.setdefault(name, []).append(decoded)
    elif decoded is not None and (label == "pointer" or decoded not in ("", 0, False)):
        found[name] = decoded


def _value(type_: str, value: Wire, *, depth: int) -> Any:
    match type_:
        case "string":
            return _text(value)
        case "bytes":
            return base64.b64encode(_part(value)).decode()
        case "bool":
            return bool(_number(value))
        case "int32" | "int64":
            number = _number(value)
            return number - (1 << 64) if number >= 1 << 63 else number
        case "uint32" | "uint64":
            return _number(value)
        case "double":
            return struct.unpack("<d", _number(value).to_bytes(8, "little"))[0]
        case _:
            return _message(type_, _part(value), depth=depth + 1)


def _entry(type_: str, value: Wire, *, depth: int) -> tuple[str, Any]:
    """One entry of a map: key is field 1, value field 2; what is left out is empty."""
    parts = dict(_fields(_part(value)))
    default: Wire = b"" if type_ not in ("bool", "int32", "int64", "uint32", "uint64", "double") else 0
    return _text(parts.get(1, b"")), _value(type_, parts.get(2, default), depth=depth)


# --- the wire ---


def _fields(data: memoryview) -> Iterator[tuple[int, Wire]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
            if at + size > end:
                raise _Malformed("a number is cut off")
            yield number, int.from_bytes(data[at : at + size], "little")
            at += size
        elif wire_type == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise _Malformed("a field is cut off")
            yield number, bytes(data[at : at + size])
            at += size
        else:
            raise _Malformed(f"wire type {wire_type} is not used here")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Malformed("a number is cut off or too long")
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found & ((1 << 64) - 1), at
        shift += 7


def _number(value: Wire) -> int:
    if not isinstance(value, int):
        raise _Malformed("wanted a number")
    return value


def _part(value: Wire) -> memoryview:
    if not isinstance(value, bytes):
        raise _Malformed("wanted a longer field")
    return memoryview(value)


def _text(value: Wire) -> str:
    try:
        return str(_part(value), "utf-8")
    except UnicodeDecodeError as error:
        raise _Malformed("text is not UTF-8") from error


# --- messages with a JSON form of their own ---


def _quantity(data: memoryview) -> str:
    return _text(dict(_fields(data)).get(1, b""))


def _time(data: memoryview) -> str | None:
    return _timestamp(data, "%Y-%m-%dT%H:%M:%SZ")


def _micro_time(data: memoryview) -> str | None:
    return _timestamp(data, "%Y-%m-%dT%H:%M:%S.%fZ")


def _timestamp(data: memoryview, form: str) -> str | None:
    if not data:
        return None
    parts = dict(_fields(data))
    seconds = _value("int64", parts.get(1, 0), depth=0)
    try:
        return (_EPOCH + timedelta(seconds=seconds, microseconds=_number(parts.get(2, 0)) // 1000)).strftime(form)
    except OverflowError as error:
        raise _Malformed("a time is out of range") from error


def _int_or_string(data: memoryview) -> int | str:
    parts = dict(_fields(data))
    if _number(parts.get(1, 0)):
        return _text(parts.get(3, b""))
    found: int = _value("int32", parts.get(2, 0), depth=0)
    return found


def _raw_json(data: memoryview) -> Any:
    raw = bytes(_part(dict(_fields(data)).get(1, b"")))
    try:
        return decode(raw) if raw else None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Malformed("embedded JSON does not parse") from error


def _items(data: memoryview) -> list[str]:
    return [_text(value) for number, value in _fields(data) if number == 1]


def _schema_or(name: str, data: memoryview, *, depth: int) -> Any:
    """A schema, or what the name says: a boolean, several schemas, several names."""
    props = _EXTENSIONS + "JSONSchemaProps"
    fields = list(_fields(data))
    if name.endswith("OrBool"):
        parts = dict(fields)
        return _message(props, _part(parts[2]), depth=depth + 1) if 2 in parts else bool(parts.get(1, 0))
    several = [value for number, value in fields if number == 2]
    if name.endswith("OrArray") and several:
        return [_message(props, _part(value), depth=depth + 1) for value in several]
    if several:
        return [_text(value) for value in several]
    return _message(props, _part(dict(fields).get(1, b"")), depth=depth + 1)


_SPECIAL: dict[str, Callable[[memoryview], Any]] = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _quantity,
    _META + "Time": _time,
    _META + "MicroTime": _micro_time,
    _META + "FieldsV1": _raw_json,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw_json,
    _EXTENSIONS + "JSON": _raw_json,
    "k8s.io.api.authentication.v1.ExtraValue": _items,
    "k8s.io.api.authorization.v1.ExtraValue": _items,
}
