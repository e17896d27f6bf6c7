"""What the API server itself reads and writes of every object, whatever its kind.

Objects travel as plain JSON dicts and are stored encoded, always with ``apiVersion``, ``kind`` and ``metadata``
first: then a stored object can be handed out in another version of its kind by exchanging a prefix, without decoding
it.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tensorfusion.embedded.store import ObjectKey, Record
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import Resource

JsonObject = Raw
FieldsOf = Callable[[JsonObject], Mapping[str, str]]

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_PREFIX = 58
_AT_ONCE = 64
_SPARE: list[str] = []
"""Random digits for uids to come: asking the system for them one by one costs more than all the rest of it."""
_MANAGED = (
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "managedFields",
)

_METADATA = b'"metadata":{'
_MANAGED_FIELDS = b'"managedFields":'

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
decode = _decoder.decode
encode = _encoder.encode


def decode_object(data: bytes) -> JsonObject:
    """A stored object as a dict of its own, free to be changed."""
    found: JsonObject = decode(data)
    return found


def encode_object(obj: JsonObject) -> bytes:
    """The JSON of an object.

    Raises:
        BadRequest: a number does not fit into 64 bits, or the text holds lone surrogates.
    """
    try:
        return encode(obj)
    except (OverflowError, UnicodeEncodeError, ValueError) as error:
        raise BadRequest(
            f"the object cannot be written as JSON: {error}: use numbers of 64 bits and valid UTF-8"
        ) from error


def metadata_of(obj: JsonObject) -> JsonObject:
    """``metadata``, made if it is missing.

    Raises:
        BadRequest: it is not an object.
    """
    found = obj.get("metadata")
    if found is None:
        found = obj["metadata"] = {}
    if not isinstance(found, dict):
        raise BadRequest(f"metadata: wanted an object, found {_named(found)}")
    return found


def text_of(metadata: JsonObject, field: str) -> str:
    """A string field of metadata, ``""`` when it is missing.

    Raises:
        BadRequest: it is not a string.
    """
    found = metadata.get(field)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise BadRequest(f"metadata.{field}: wanted a string, found {_named(found)}")
    return found


def in_order(obj: JsonObject, resource: Resource) -> JsonObject:
    """The object with ``apiVersion``, ``kind`` and ``metadata`` first, as it is stored."""
    ordered: JsonObject = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": obj.get("metadata")}
    ordered.update(obj)
    ordered["apiVersion"] = resource.api_version
    ordered["kind"] = resource.kind
    return ordered


def prefix_of(resource: Resource) -> bytes:
    """The first bytes of every stored object of a resource in one version."""
    return b'{"apiVersion":"%s","kind":"%s",' % (resource.api_version.encode(), resource.kind.encode())


def encoded_record(record: Record, prefix: bytes, *, managed: bool) -> bytes:
    """The JSON of a stored object that begins with ``prefix``, with its managed fields or without."""
    if not managed or not record.managed:
        return record.data
    inside = len(prefix) + len(_METADATA)
    return b"".join((record.data[:inside], _MANAGED_FIELDS, record.managed, b",", record.data[inside:]))


def decode_record(record: Record, *, managed: bool) -> JsonObject:
    """A stored object as a dict, with its managed fields or without."""
    obj = decode_object(record.data)
    if managed and record.managed:
        obj["metadata"]["managedFields"] = decode(record.managed)
    return obj


def make_record(key: ObjectKey, obj: JsonObject, revision: int, fields: FieldsOf, managed: bytes) -> Record:
    """Encode an object at its new revision. The object's ``resourceVersion`` is set in place."""
    metadata = obj["metadata"]
    metadata["resourceVersion"] = str(revision)
    owners = metadata.get("ownerReferences")
    return Record(
        key,
        revision,
        metadata.get("uid", ""),
        encode_object(obj),
        metadata.get("labels") or {},
        fields(obj),
        tuple(owner["uid"] for owner in owners) if owners else (),
        managed,
    )


def wipe_managed(metadata: JsonObject) -> None:
    """Drop what only the server may say of a new object."""
    for field in _MANAGED:
        metadata.pop(field, None)


def new_uid() -> str:
    """A random uid, as metadata.uid."""
    try:
        digits = _SPARE.pop()
    except IndexError:
        block = secrets.token_bytes(16 * _AT_ONCE).hex()
        _SPARE.extend(block[at : at + 32] for at in range(0, len(block), 32))
        digits = _SPARE.pop()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def generate_name(prefix: str) -> str:
    """``prefix`` and five random letters that spell nothing."""
    return prefix[:_LONGEST_PREFIX] + "".join(secrets.choice(_NAME_LETTERS) for _ in range(5))


def dig(obj: JsonObject, path: str) -> Any:  # Any: JSON
    """The value at a dotted path of field names, None where it is missing."""
    found: Any = obj
    for part in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _named(value: object) -> str:
    """What JSON calls a value's type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
