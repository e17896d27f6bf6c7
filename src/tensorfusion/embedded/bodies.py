"""Request bodies: bytes off the wire, as JSON values, with a limit on everything that could be too much.

Nothing here knows what the value should be; that is the schema's business.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import msgspec

from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.json_words import MOST_SCANNED, complaint, of_another_type, summary
from tensorfusion.embedded.objects import JsonObject, decode, encode
from tensorfusion.embedded.protobuf import MEDIA_TYPE as PROTOBUF
from tensorfusion.embedded.protobuf import decode_protobuf
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.embedded.statuses import NotTyped
from tensorfusion.embedded.yaml_bodies import LARGEST_PLAIN, BadYaml, load_yaml
from tensorfusion.errors import BadRequest, TooLarge, UnsupportedMediaType

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]  # Any: an ASGI message

MOST_BYTES = 3 << 20
_DEEPEST = 128
_LARGE_YAML = 64 << 10
_JSON = frozenset({"", "application/json"})
_YAML = frozenset({"application/yaml"})
_MOST_REPEATED = 100
_ACCEPTED = f"application/json, application/yaml, {PROTOBUF}"


class Disconnected(Exception):
    """The client went away before its request was read."""


async def read_body(receive: Receive, stated_length: bytes | None) -> bytes:
    """The whole body.

    Raises:
        TooLarge: more than 3 MiB.
        Disconnected: the client went away.
    """
    if stated_length is not None and stated_length.isdigit() and int(stated_length) > MOST_BYTES:
        raise _too_large()
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > MOST_BYTES:
            raise _too_large()
        return body
    chunks, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MOST_BYTES:
            raise _too_large()
    return b"".join(chunks)


def _too_large() -> TooLarge:
    return TooLarge(f"Request entity too large: limit is {MOST_BYTES}")


def media_type_of(header: str) -> str:
    return header.partition(";")[0].strip().lower()


async def decode_config(body: bytes, call: Call) -> JsonObject:
    """The object in the body of an apply: YAML, of which JSON is a part.

    Keys that come twice are refused or warned of as the call's field validation says; the last one counts.

    Raises:
        BadRequest: it does not parse, is nested too deeply or no object.
    """
    value: Any = None
    twice: list[str] = []
    if body.lstrip()[:1] == b"{":
        try:
            value = decode(body)
            if repeated_keys(body, value):
                value = None  # read as YAML, which counts lines
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = None
    if value is None:
        if len(body) > _LARGE_YAML:
            value, twice = await asyncio.to_thread(_decode_config_yaml, body)
        else:
            value, twice = _decode_config_yaml(body)
    else:
        check_depth(value, "")
        value = whole_numbers(value)
    if twice and call.validation is FieldValidation.STRICT:
        listed = "\n  ".join(["yaml: unmarshal errors:", *twice])
        raise NotTyped(f"error strict decoding YAML: error converting YAML to JSON: {listed}")
    if call.validation is FieldValidation.WARN:
        call.warnings += twice
    if value is None:
        return {}
    if not isinstance(value, dict):
        name = {list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        raise BadRequest(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: "
            f"json: cannot unmarshal {name} into Go value of type map[string]interface {{}}"
        )
    return value


def whole_numbers(value: Any) -> Any:  # Any: JSON
    """The value as it would be if it had come as YAML, where ``1.0`` is 1."""
    if isinstance(value, dict):
        return {name: whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_PLAIN:
        return int(value)
    return value


async def decode_body(body: bytes, content_type: str, *, wanted: str, repeated: list[str]) -> JsonObject:
    """The JSON object in a body, which is empty for ``null``. ``wanted`` names its kind, for messages; ``repeated``
    collects keys that come twice.

    Of a key that comes twice the last value counts.

    Raises:
        UnsupportedMediaType: neither JSON, YAML nor protobuf.
        BadRequest: it does not parse or is nested too deeply.
    """
    media_type = media_type_of(content_type)
    if media_type in _JSON:
        value = decode_json(body, wanted)
        repeated += repeated_keys(body, value)
    elif media_type in _YAML:
        if len(body) > _LARGE_YAML:
            value = await asyncio.to_thread(_decode_yaml, body, wanted, repeated)
        else:
            value = _decode_yaml(body, wanted, repeated)
    elif media_type == PROTOBUF:
        try:
            return decode_protobuf(body)
        except BadRequest as error:
            raise BadRequest(f"{_unrecognized(wanted)}: {error}") from error
    else:
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {_ACCEPTED}"
        )
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _unreadable(body, wanted, of_another_type(value))
    return value


def decode_json(body: bytes, wanted: str, *, unreadable: str | None = None) -> Any:  # Any: JSON
    """``unreadable`` is how an error begins, in place of what says that the object is none of ``wanted``.

    Raises:
        BadRequest: it does not parse or is nested too deeply.
    """
    try:
        value = decode(body)
    except msgspec.DecodeError as error:
        why = (len(body) <= MOST_SCANNED and complaint(body)) or _one_line(error)
        raise (_unreadable(body, wanted, why) if unreadable is None else BadRequest(f"{unreadable}{why}")) from error
    except RecursionError as error:
        raise BadRequest(f"{unreadable or _unrecognized(wanted)}: nested too deeply") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"{unreadable or _unrecognized(wanted)}: not UTF-8: {error.reason}") from error
    if body.count(b"{") + body.count(b"[") > _DEEPEST:
        check_depth(value, wanted)
    return value


def check_depth(value: Any, wanted: str) -> None:  # Any: JSON
    """Refuse values nested deeper than anything that is meant."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise BadRequest(f"{_unrecognized(wanted)}: nested deeper than {_DEEPEST} levels")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [child for child in item.values() if isinstance(child, dict | list)]
            elif isinstance(item, list):
                below += [child for child in item if isinstance(child, dict | list)]
        level = below


def _unreadable(body: bytes, wanted: str, why: str) -> BadRequest:
    return BadRequest(f"{_unrecognized(wanted)}: couldn't get version/kind; json parse error: {why} ({summary(body)})")


def repeated_keys(body: bytes, value: Any) -> list[str]:  # Any: JSON
    """Which keys a JSON document holds twice in one object, as warnings; ``value`` is what it decodes to.

    A key that is lost takes its quotes with it: documents whose quotes are all still there need no second, slower
    parse. (Text may hold quotes in a form that does not count, a key that replaces such a text is overlooked.)
    """
    if body.count(b'"') == encode(value).count(b'"'):
        return []
    try:
        pairs = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    return [f'duplicate field "{path}"' for path in itertools.islice(_repeated(pairs, ""), _MOST_REPEATED)]


class _Pairs(list[tuple[str, Any]]):  # Any: JSON
    """A JSON object with everything that was written."""


def _repeated(value: Any, path: str) -> Iterator[str]:  # Any: JSON with _Pairs for objects
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value:
            below = f"{path}.{key}" if path else key
            if key in seen:
                yield below
            seen.add(key)
            yield from _repeated(inner, below)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _repeated(inner, f"{path}[{number}]")


def _unrecognized(wanted: str) -> str:
    return f"the object provided is unrecognized (must be of type {wanted})" if wanted else "the body is unrecognized"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


# --- YAML ---


def _decode_yaml(body: bytes, wanted: str, repeated: list[str]) -> Any:  # Any: JSON
    try:
        value, twice = load_yaml(body)
    except BadYaml as error:
        raise BadRequest(f"{_unrecognized(wanted)}: {error}") from error
    repeated += twice
    return value


def _decode_config_yaml(body: bytes) -> tuple[Any, list[str]]:  # Any: JSON
    try:
        return load_yaml(body)
    except BadYaml as error:
        raise BadRequest(f"error decoding YAML: error converting YAML to JSON: {error}") from error
