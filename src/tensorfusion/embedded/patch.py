"""JSON patch and JSON merge patch, on plain JSON values.

A real API server is more generous than the RFC, and so are we: ``replace`` of a field that an object does not have
sets it, a missing ``value`` is null, ``test`` and ``copy`` find null in a field that is missing, and an index below
zero counts from the end of its list.

Both are pure; a patch never changes the value it is applied to in a way that shows when it fails: JSON patch works
on a copy of the containers along its paths only where it must, so callers hand in a value of their own.

Source: RFC 6902, RFC 6901, RFC 7386.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

import msgspec

from tensorfusion.errors import BadRequest, Invalid, TooLarge
from tensorfusion.model.meta import Raw

_MOST_OPERATIONS = 10_000
"""As a real API server: more make a request expensive without being useful."""
_MOST_COPIED = 3 << 20
"""Bytes that the copies of one patch may come to: the limit of a request body. Copies of copies grow exponentially."""
_LONGEST_REMEMBERED = 256
_INDEX = re.compile(r"[+-]?[0-9]{1,8}", re.ASCII)


# Any in this module: JSON values of every type are patched.
def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null removes, everything else replaces. ``target`` is changed in place."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = merge_patch(target.get(key), value)
        else:
            target[key] = value
    return target


def parse_json_patch(body: Any) -> list[Raw]:
    """The operations of a JSON patch document, their shape checked.

    Raises:
        BadRequest: not a list of operations.
        TooLarge: more than 10,000 operations.
        Invalid: an operation lacks a part that it needs, or has too many.
    """
    if not isinstance(body, list) or not all(isinstance(operation, dict) for operation in body):
        raise BadRequest("error decoding patch: a JSON patch is a list of operations")
    if len(body) > _MOST_OPERATIONS:
        too_many = f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(body)}"
        raise TooLarge(f"Request entity too large: {too_many}")
    for number, operation in enumerate(body):
        word = operation.get("op")
        if word not in ("add", "remove", "replace", "move", "copy", "test"):
            raise _refuse(number, f"op: wanted add, remove, replace, move, copy or test, found {word!r}")
        if not isinstance(operation.get("path"), str):
            raise _refuse(number, "path: wanted a JSON pointer such as /metadata/labels/a")
        if word in ("move", "copy") and not isinstance(operation.get("from"), str):
            raise _refuse(number, "from: wanted a JSON pointer such as /metadata/labels/a")
        if word == "test" and "value" not in operation:
            raise _refuse(number, "value: is required for test")
    return body


def json_patch(target: Any, operations: Sequence[Raw]) -> Any:
    """RFC 6902. Returns the patched value; ``target`` is changed in place.

    Raises:
        Invalid: a path does not exist or a test does not hold; names the operation by its index.
        TooLarge: the copies come to more than a request may carry.
    """
    copied = 0
    for number, operation in enumerate(operations):
        if operation["op"] == "copy":
            if not operation["from"]:
                raise _refuse(number, "the whole object cannot be copied")
            value = _find_or_null(target, number, _pointer(number, operation["from"]))
            copied += len(msgspec.json.encode(value))
            if copied > _MOST_COPIED:
                raise TooLarge(
                    f"JSON patch operation {number}: copy: wanted at most {_MOST_COPIED} bytes copied in one patch, "
                    f"found {copied}: send the values instead"
                )
        target = _apply(target, number, operation)
    return target


def _apply(target: Any, number: int, operation: Raw) -> Any:
    path = _pointer(number, operation["path"])
    match operation["op"]:
        case "add":
            return _add(target, number, path, value=operation.get("value"))
        case "remove":
            return _remove(target, number, path)[0]
        case "replace":
            return _replace(target, number, path, value=operation.get("value"))
        case "move":
            source = _pointer(number, operation["from"])
            if path[: len(source)] == source and path != source:
                raise _refuse(number, f"cannot move {operation['from']} into itself")
            target, value = _remove(target, number, source)
            return _add(target, number, path, value=value)
        case "copy":
            value = deepcopy(_find_or_null(target, number, _pointer(number, operation["from"])))
            return _add(target, number, path, value=value)
        case _:
            found = _find_or_null(target, number, path)
            if not same_json(found, operation["value"]):
                raise _refuse(number, f"testing value {operation['path']} failed")
            return target


def same_json(left: Any, right: Any) -> bool:
    """JSON equality: unlike Python's, true is not 1, and neither is 1.0, which is written otherwise."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return type(left) is type(right) and bool(left == right)


def _pointer(number: int, text: str) -> tuple[str, ...]:
    if not text:
        return ()
    if not text.startswith("/"):
        raise _refuse(number, f"{text!r} is not a JSON pointer: it starts with /")
    return _steps(text) if len(text) <= _LONGEST_REMEMBERED else _steps.__wrapped__(text)


@lru_cache(maxsize=1024)
def _steps(pointer: str) -> tuple[str, ...]:
    """The parts of a pointer. The same few come with every object that a webhook completes."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def _find(target: Any, number: int, path: Sequence[str]) -> Any:
    for key in path:
        target = _read(target, number, key)
    return target


def _find_or_null(target: Any, number: int, path: Sequence[str]) -> Any:
    """The value at a path; null where an object lacks its last field."""
    if not path:
        return target
    container, key = _parent(target, number, path)
    if isinstance(container, dict) and key not in container:
        return None
    return _read(container, number, key)


def _parent(target: Any, number: int, path: Sequence[str]) -> tuple[Any, str]:
    return _find(target, number, path[:-1]), path[-1]


def _read(container: Any, number: int, key: str) -> Any:
    if isinstance(container, dict):
        if key in container:
            return container[key]
    elif isinstance(container, list):
        position = _position(container, number, key)
        if 0 <= position < len(container):
            return container[position]
    raise _refuse(number, f"path {key!r} does not exist")


def _position(container: Any, number: int, key: str, *, end: int = 0) -> Any:
    """The key of an object, or the index of a list; ``end`` is how far behind the last element it may be."""
    if not isinstance(container, list):
        return key
    if not _INDEX.fullmatch(key):
        raise _refuse(number, f"{key!r} is not an index of a list")
    found = int(key)
    if found < 0:
        found += len(container) + end
        if found < 0:
            raise _refuse(number, f"index {key} is before the start of the list")
    return found


def _add(target: Any, number: int, path: Sequence[str], *, value: Any) -> Any:
    if not path:
        raise _refuse(number, "the whole object cannot be added: replace it")
    container, key = _parent(target, number, path)
    if isinstance(container, dict):
        container[key] = value
    elif isinstance(container, list):
        position = len(container) if key == "-" else _position(container, number, key, end=1)
        if position > len(container):
            raise _refuse(number, f"index {position} is beyond the end of the list")
        container.insert(position, value)
    else:
        raise _refuse(number, f"path {key!r} is not in an object or a list")
    return target


def _replace(target: Any, number: int, path: Sequence[str], *, value: Any) -> Any:
    if not path:  # with nothing that could be an object it stays what it was, as on a real server
        return value if isinstance(value, dict | list) else target
    container, key = _parent(target, number, path)
    if not isinstance(container, dict):
        _read(container, number, key)
    container[_position(container, number, key)] = value
    return target


def _remove(target: Any, number: int, path: Sequence[str]) -> tuple[Any, Any]:
    if not path:
        raise _refuse(number, "the whole object cannot be removed")
    container, key = _parent(target, number, path)
    value = _read(container, number, key)
    del container[_position(container, number, key)]
    return target, value


def _refuse(number: int, why: str) -> Invalid:
    return Invalid(
        f"the server rejected our request due to an error in our request: JSON patch operation {number}: {why}"
    )
