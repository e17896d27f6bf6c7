"""What a value owns, and what a change of one touches: the walks over objects that write field sets.

The hot part of this room: every write of every object passes ``compare``. So parts that are equal are left out by one
comparison of the values (C code), and only what differs is walked.

Source: structured-merge-diff typed (ToFieldSet, Compare), by behaviour.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tensorfusion.embedded.fields.keys import BadElement, element_key
from tensorfusion.embedded.fields.sets import LEAF, SELF, Fields, union
from tensorfusion.embedded.fields.types import FieldType, ListType, MapType
from tensorfusion.model.meta import Raw

_CONTAINERS = frozenset((dict, list))
_PLAIN = frozenset((str, int, float, bool))


class Change(NamedTuple):
    """What differs between two versions: what came or has another value, and what went."""

    changed: Fields
    removed: Fields


# Any in this module: JSON values.
def owned(obj: Raw, kind: FieldType) -> Fields:
    """The fields that an applied object owns: its plain values, the elements of its lists, the keys of its maps.

    Raises:
        BadElement: an element of a list has no key.
    """
    return _owned_map(obj, kind.map) if kind.map is not None else {}


def _owned(value: Any, kind: FieldType) -> Fields | None:
    """What stands below a key, None for nothing."""
    if type(value) is dict and kind.map is not None:
        return LEAF if kind.map.atomic else _owned_map(value, kind.map) or None
    if type(value) is list and kind.list is not None:
        return LEAF if kind.list.atomic else _owned_list(value, kind.list) or None
    if value is None and not kind.scalar:  # an empty map or list, unless it counts as one value
        atomic = (kind.map is not None and kind.map.atomic) or (kind.list is not None and kind.list.atomic)
        return LEAF if atomic else None
    return LEAF


def _owned_map(value: Raw, kind: MapType) -> Fields:
    found: Fields = {}
    for key, inner in value.items():
        field = kind.fields.get(key)
        inner_kind = field or kind.element
        node = _owned(inner, inner_kind) if inner_kind is not None else LEAF
        if inner is None or inner == {}:
            node = node or LEAF
        elif field is None:
            node = _and_itself(node)
        if node is not None:
            found["f:" + key] = node
    return found


def _owned_list(values: Sequence[Any], kind: ListType) -> Fields:
    found: Fields = {}
    twice: set[str] = set()
    for value in values:
        key = element_key(value, kind)
        if key in found:
            twice.add(key)
        else:
            found[key] = _and_itself(_owned(value, kind.element))
    for key in twice:  # equal keys cannot be owned apart
        found[key] = LEAF
    return found


def _and_itself(node: Fields | None) -> Fields:
    if not node:
        return LEAF
    return node if SELF in node else {SELF: LEAF, **node}


def compare(old: Raw, new: Raw, kind: FieldType) -> Change:
    """What differs between two versions of an object.

    Raises:
        BadElement: an element of a list has no key, or a list stands where a text is wanted.
    """
    change = Change({}, {})
    if kind.map is not None:
        _maps(old, new, kind.map, change)
    return change


def _maps(old: Raw, new: Raw, kind: MapType, change: Change) -> None:
    fields, element = kind.fields, kind.element
    for key, value in new.items():
        inner = fields.get(key, element)
        if inner is None:
            continue
        if key not in old:
            change.changed["f:" + key] = _whole(value, inner) if type(value) in _CONTAINERS else LEAF
        elif (before := old[key]) != value:
            if type(value) in _PLAIN and type(before) in _PLAIN:
                change.changed["f:" + key] = LEAF
            else:
                _values("f:" + key, before, value, inner, change)
    for key, value in old.items():
        if key not in new:
            inner = fields.get(key, element)
            if inner is not None:
                change.removed["f:" + key] = _whole(value, inner)


def _values(step: str, old: Any, new: Any, kind: FieldType, change: Change) -> None:
    """Two values that are there and differ."""
    if kind.map is not None and _is_map(old) and _is_map(new):
        if kind.map.atomic or not (old or new):
            change.changed[step] = LEAF
        else:
            _below(step, _map_change(old or {}, new or {}, kind.map), change)
    elif kind.list is not None and _is_list(old) and _is_list(new):
        if kind.list.atomic or not (old or new):
            change.changed[step] = LEAF
        else:
            _below(step, _list_change(old or [], new or [], kind.list), change)
    elif _is_plain(old) and _is_plain(new):
        change.changed[step] = LEAF
    else:  # another shape: all that was below went, all that is below came, and the place itself changed
        below = _whole(old, kind)
        gone = {key: node for key, node in below.items() if key != SELF}
        if gone:
            change.removed[step] = gone
        change.changed[step] = _and_itself(_whole(new, kind))


def _below(step: str, inner: Change, change: Change) -> None:
    if inner.changed:
        change.changed[step] = inner.changed
    if inner.removed:
        change.removed[step] = inner.removed


def _map_change(old: Raw, new: Raw, kind: MapType) -> Change:
    change = Change({}, {})
    _maps(old, new, kind, change)
    return change


def _list_change(old: Sequence[Any], new: Sequence[Any], kind: ListType) -> Change:
    change = Change({}, {})
    before, after = _by_key(old, kind), _by_key(new, kind)
    for key, values in after.items():
        had = before.get(key)
        if had is None:
            change.changed[key] = _whole(values[0], kind.element) if len(values) == 1 else LEAF
        elif had != values:
            _elements(key, had, values, kind, change)
    for key, values in before.items():
        if key not in after:
            change.removed[key] = _whole(values[0], kind.element) if len(values) == 1 else LEAF
    return change


def _elements(key: str, old: list[Any], new: list[Any], kind: ListType, change: Change) -> None:
    """Elements of one key before and after; several of one key are one value."""
    if len(old) == len(new) == 1:
        _values(key, old[0], new[0], kind.element, change)
        return
    if len(old) == 1:
        change.removed[key] = _whole(old[0], kind.element)
    elif len(new) == 1:
        change.removed[key] = LEAF
    change.changed[key] = _whole(new[0], kind.element) if len(new) == 1 else LEAF


def _by_key(values: Sequence[Any], kind: ListType) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for value in values:
        found.setdefault(element_key(value, kind), []).append(value)
    return found


def _whole(value: Any, kind: FieldType) -> Fields:
    """What stands below a key that came or went: the place itself and everything in it."""
    if type(value) is dict:
        of_map = kind.map
        if not value or of_map is None or of_map.atomic:
            return LEAF
        found = {SELF: LEAF}
        fields, element = of_map.fields, of_map.element
        for key, inner in value.items():
            inner_kind = fields.get(key, element)
            if inner_kind is not None:  # most are plain: a call for each of them would cost more than all the rest
                found["f:" + key] = _whole(inner, inner_kind) if type(inner) in _CONTAINERS else LEAF
        return found
    if type(value) is list:
        of_list = kind.list
        if of_list is None and kind.scalar:  # only for texts with a format does validation take one
            raise BadElement(f"expected {kind.scalar}, got a list")
        if not value or of_list is None or of_list.atomic:
            return LEAF
        found = {SELF: LEAF}
        for inner in value:
            key = element_key(inner, of_list)
            found[key] = LEAF if key in found else _whole(inner, of_list.element)
        return found
    return LEAF


def _is_map(value: Any) -> bool:
    return type(value) is dict or value is None


def _is_list(value: Any) -> bool:
    return type(value) is list or value is None


def _is_plain(value: Any) -> bool:
    return type(value) is not dict and type(value) is not list


__all__ = ["BadElement", "Change", "compare", "owned", "union"]
