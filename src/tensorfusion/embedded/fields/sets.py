"""Sets of fields, in the form in which ``managedFields`` carries them, and their algebra.

A set is a nested dict, the FieldsV1 object itself: keys are path elements (``f:name`` a field or map key, ``k:{...}``
an element of a list by its keys, ``v:...`` one by its value, ``i:...`` one by its position), values the sets below.
``{}`` below a key means that the element is in the set and nothing under it is; ``"."`` that it is in the set besides
what is under it. At the top ``{}`` is the empty set: the whole object is never a member.

Nothing here changes its arguments; results may share parts with them. A class around the dicts was rejected: it would
have to be built and taken apart on every write of every object.

Source: FieldsV1 of meta/v1; structured-merge-diff fieldpath, by behaviour.
"""

import json
import re
from collections.abc import Iterator
from json.encoder import encode_basestring as _quoted
from typing import Any, TypeAlias

import msgspec

Fields: TypeAlias = dict[str, Any]  # Any: again Fields
Path: TypeAlias = tuple[str, ...]
"""Path elements as the keys of a set write them."""

SELF = "."
LEAF: Fields = {}
"""A member with nothing under it. Shared, and never changed."""

_INDEX = re.compile(r"-?[0-9]{1,18}").fullmatch
_DEEPEST = 128


def is_member(node: Fields) -> bool:
    """Whether what stands below a key says that the key itself is in the set."""
    return not node or SELF in node


def union(left: Fields, right: Fields) -> Fields:
    if not left or left is right:
        return right
    return _union(left, right) if right else left


def _union(left: Fields, right: Fields) -> Fields:
    """Of two places below a key."""
    if not left or not right:
        other = left or right
        return other if is_member(other) else {SELF: LEAF, **other}
    result = dict(left)
    for key, node in right.items():
        mine = result.get(key)
        result[key] = node if mine is None else _union(mine, node)
    return result


def difference(left: Fields, right: Fields) -> Fields:
    """What is in ``left`` and not in ``right``. What stands under a removed member stays."""
    if not left or not right:
        return left
    return _rest(left, right) or {}


def _rest(left: Fields, right: Fields) -> Fields | None:
    result: Fields = {}
    for key, node in left.items():
        if key == SELF:
            continue
        other = right.get(key)
        if other is None:
            result[key] = node
            continue
        rest: Fields | None = _rest(node, other)
        if is_member(node) and not is_member(other):
            rest = {SELF: LEAF, **rest} if rest else LEAF
        if rest is not None:
            result[key] = rest
    return result or None


def recursive_difference(left: Fields, right: Fields) -> Fields:
    """What is in ``left`` and neither in ``right`` nor under a member of it."""
    result: Fields = {}
    for key, node in left.items():
        other = right.get(key) if key != SELF else None
        if other is None:
            result[key] = node
        elif not is_member(other):
            rest = recursive_difference(node, other)
            if rest or not node:
                result[key] = rest
    return result


def intersection(left: Fields, right: Fields) -> Fields:
    if left is right:
        return left
    result: Fields = {}
    for key, node in left.items():
        other = right.get(key)
        if other is None or key == SELF:
            continue
        both = intersection(node, other)
        if is_member(node) and is_member(other):
            result[key] = {SELF: LEAF, **both} if both else LEAF
        elif both:
            result[key] = both
    return result


def has(fields: Fields, path: Path) -> bool:
    """Whether the path itself is a member."""
    node: Fields | None = fields
    for step in path:
        node = node.get(step) if node else None
        if node is None:
            return False
    return bool(path) and is_member(node or {})


def of_paths(*paths: Path) -> Fields:
    """The set with these members."""
    found: Fields = {}
    for path in paths:
        one: Fields = LEAF
        for step in reversed(path):
            one = {step: one}
        found = union(found, one)
    return found


def paths(fields: Fields, prefix: Path = ()) -> Iterator[Path]:
    """Every member, in the order in which a real API server names them: those of a level before those below it."""
    for key in sorted(fields):
        if key != SELF and is_member(fields[key]):
            yield (*prefix, key)
    for key in sorted(fields):
        if fields[key]:
            yield from paths(fields[key], (*prefix, key))


def path_text(path: Path) -> str:
    """``.spec.containers[name="c"].image``."""
    return "".join(_step_text(step) for step in path)


def _step_text(step: str) -> str:
    kind, value = step[:2], step[2:]
    if kind == "f:":
        return f".{value}"
    if kind == "k:":
        return f"[{','.join(f'{key}={value_text(part)}' for key, part in json.loads(value).items())}]"
    if kind == "v:":
        return f"[={value_text(json.loads(value))}]"
    return f"[{value}]"


def value_text(value: object) -> str:
    """A plain value, or an object of them, as field sets and messages write it."""
    if type(value) is str:
        return _quoted(value)
    return msgspec.json.encode(value).decode()


def parse_fields(value: object) -> Fields:
    """A set that a client sent, with its keys as this module writes them.

    Raises:
        ValueError: it is none.
    """
    return _parsed(value, 0)


def _parsed(value: object, depth: int) -> Fields:
    if not isinstance(value, dict) or depth > _DEEPEST:
        raise ValueError("wanted nested objects")
    return {_parsed_key(key): _parsed(node, depth + 1) for key, node in value.items()}


def _parsed_key(key: str) -> str:
    kind, value = key[:2], key[2:]
    if key == SELF or kind == "f:":
        return key
    if kind == "v:":
        return f"v:{value_text(json.loads(value))}"
    if kind == "k:":
        keys = json.loads(value)
        if not isinstance(keys, dict):
            raise ValueError(f"{key}: wanted an object of keys")
        return f"k:{value_text(dict(sorted(keys.items())))}"
    if kind == "i:" and _INDEX(value):
        return key
    raise ValueError(f"missing key type: {key}" if kind[1:] != ":" else f"unknown key type: {key}")
