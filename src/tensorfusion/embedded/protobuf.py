"""Request bodies in Kubernetes' protobuf form, turned into the JSON they mean.

kubectl's typed clients send protobuf and do not fall back. Only decoding is needed: those clients accept JSON answers.
Field numbers are facts of Kubernetes' own ``generated.proto`` files, written by ``tools/protobuf_facts.py``.

Source: Kubernetes API concepts, "Protobuf encoding": four bytes ``k8s\\0``, then a ``runtime.Unknown`` message.
"""

import base64
import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

from tensorfusion.embedded.objects import JsonObject
from tensorfusion.errors import BadRequest

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_DEEPEST = 100
_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_RAW_JSON = frozenset(
    {
        "k8s.io.apimachinery.pkg.runtime.RawExtension",
        f"{_META}.FieldsV1",
        "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON",
    }
)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGNED_LIMIT, _SIGNED_RANGE = 1 << 63, 1 << 64


class _Facts(msgspec.Struct, frozen=True):
    kinds: dict[str, str]
    messages: dict[str, dict[str, tuple[str, str, str]]]


class _Malformed(Exception):
    """The bytes are not what the field numbers say."""


@lru_cache(maxsize=1)
def _facts() -> _Facts:
    data = resources.files("tensorfusion.embedded.facts").joinpath("protobuf-1.34.json").read_bytes()
    return msgspec.json.decode(data, type=_Facts)


def decode_protobuf(body: bytes) -> JsonObject:
    """The object in a protobuf body, as JSON.

    Raises:
        BadRequest: not the Kubernetes envelope, a kind that is not known in this form, or bytes that do not parse.
    """
    if not body.startswith(_MAGIC):
        raise BadRequest("the body is not in Kubernetes' protobuf form: wanted it to begin with 'k8s\\0'")
    try:
        envelope = _fields(memoryview(body)[len(_MAGIC) :])
        type_meta = {number: value for number, _, value in _fields(_one(envelope, 1))}
        api_version, kind = _text(type_meta.get(1, b"")), _text(type_meta.get(2, b""))
        message = _facts().kinds.get(f"{api_version}/{kind}")
        if message is None:
            raise BadRequest(f'no protobuf form is known of kind "{kind}" in version "{api_version}": send JSON')
        found: JsonObject = _message(_one(envelope, 2), message, depth=0)
    except _Malformed as error:
        raise BadRequest(f"the protobuf body does not parse: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **found}


def _one(fields: list[tuple[int, int, Any]], number: int) -> memoryview:  # Any: see _fields
    for found, wire, value in fields:
        if found == number and wire == _BYTES:
            part: memoryview = value
            return part
    return memoryview(b"")


def _fields(data: memoryview) -> list[tuple[int, int, Any]]:
    """The fields of a message: number, wire type, and an int or the bytes (Any: either)."""
    found: list[tuple[int, int, Any]] = []
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == _VARINT:
            value, position = _varint(data, position)
        elif wire == _BYTES:
            size, position = _varint(data, position)
            value, position = _slice(data, position, size)
        elif wire in (_FIXED64, _FIXED32):
            value, position = _slice(data, position, 8 if wire == _FIXED64 else 4)
        else:
            raise _Malformed(f"unknown wire type {wire}")
        found.append((number, wire, value))
    return found


def _slice(data: memoryview, position: int, size: int) -> tuple[memoryview, int]:
    if position + size > len(data):
        raise _Malformed("it ends inside a field")
    return data[position : position + size], position + size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise _Malformed("it ends inside a number, or the number is too long")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, position
        shift += 7


def _message(data: memoryview, name: str, *, depth: int) -> Any:  # Any: JSON
    if depth > _DEEPEST:
        raise _Malformed("it is nested too deeply")
    special = _special(data, name)
    if special is not None:
        return special[0]
    shape = _facts().messages[name]
    found: JsonObject = {}
    for number, wire, value in _fields(data):
        entry = shape.get(str(number))
        if entry is None:
            continue  # a field of a newer version: ignored, as protobuf demands
        key, label, kind = entry
        if label == "map":
            map_key, map_value = _map_entry(value, wire, kind, depth=depth)
            found.setdefault(key, {})[map_key] = map_value
            continue
        decoded = _value(value, wire, kind, depth=depth)
        if label == "repeated":
            found.setdefault(key, []).append(decoded)
        elif label == "inline":
            found.update(decoded)
        elif decoded is not None:
            found[key] = decoded
    return found


def _map_entry(data: Any, wire: int, kind: str, *, depth: int) -> tuple[str, Any]:  # Any: see _fields, JSON
    if wire != _BYTES:
        raise _Malformed("a map holds something else than entries")
    key, value = "", _empty(kind)
    for number, inner, part in _fields(data):
        if number == 1:
            key = _text(part)
        elif number == 2:
            value = _value(part, inner, kind, depth=depth)
    return key, value


def _empty(kind: str) -> Any:  # Any: JSON
    return "" if kind in ("string", "bytes") else False if kind == "bool" else 0 if "int" in kind else None


def _value(value: Any, wire: int, kind: str, *, depth: int) -> Any:  # Any: see _fields, JSON
    if kind in ("int32", "int64", "uint32", "uint64", "bool"):
        if wire != _VARINT:
            raise _Malformed(f"wanted a number, found wire type {wire}")
        if kind == "bool":
            return bool(value)
        return value - _SIGNED_RANGE if value >= _SIGNED_LIMIT and kind.startswith("int") else value
    if kind == "double":
        if wire != _FIXED64:
            raise _Malformed(f"wanted a double, found wire type {wire}")
        return struct.unpack("<d", value)[0]
    if wire != _BYTES:
        raise _Malformed(f"wanted bytes, found wire type {wire}")
    if kind == "string":
        return _text(value)
    if kind == "bytes":
        return base64.b64encode(value).decode()
    return _message(value, kind, depth=depth + 1)


def _special(data: memoryview, name: str) -> tuple[Any] | None:  # Any: JSON
    """Messages whose JSON form is not an object of their fields; None for ordinary ones."""
    if name in _RAW_JSON:
        raw = bytes(_one(_fields(data), 1))
        try:
            return (msgspec.json.decode(raw) if raw else None,)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _Malformed(f"embedded JSON: {error}") from error
    short = name.rpartition(".")[2]
    if short in ("Time", "MicroTime") and name.startswith(_META):
        return (_time(data, micro=short == "MicroTime"),)
    if short == "Quantity":
        return (_text(_one(_fields(data), 1)),)
    if short == "IntOrString":
        fields = {number: value for number, _, value in _fields(data)}
        return (_text(fields.get(3, b"")) if fields.get(1, 0) else _value(fields.get(2, 0), _VARINT, "int32", depth=0),)
    if short == "ExtraValue":
        return ([_text(value) for number, wire, value in _fields(data) if number == 1 and wire == _BYTES],)
    return None


def _time(data: memoryview, *, micro: bool) -> str | None:
    fields = {number: value for number, wire, value in _fields(data) if wire == _VARINT}
    seconds = _value(fields.get(1, 0), _VARINT, "int64", depth=0)
    if not seconds:
        return None
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=fields.get(2, 0) // 1000)
    except OverflowError as error:
        raise _Malformed(f"a time of {seconds} seconds") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _text(value: Any) -> str:  # Any: see _fields
    if isinstance(value, int):
        raise _Malformed("wanted text, found a number")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise _Malformed("text that is not UTF-8") from error
