"""Taking fields out of an object: what a manager no longer applies goes, unless somebody else owns it too.

Source: structured-merge-diff typed (RemoveItems), merge.Updater (prune), by behaviour.
"""

from typing import Any

from tensorfusion.embedded.fields.compare import owned
from tensorfusion.embedded.fields.keys import element_key
from tensorfusion.embedded.fields.sets import LEAF, SELF, Fields, difference, intersection, is_member, union
from tensorfusion.embedded.fields.types import FieldType
from tensorfusion.model.meta import Raw

_NOTHING: Fields = {}


# Any in this module: JSON values.
def without_fields(obj: Raw, fields: Fields, kind: FieldType) -> Raw:
    """The object less the members of a set and everything under them. What is emptied is left as null."""
    return _remove(obj, fields, kind) or {} if fields else obj


def _remove(value: Any, fields: Fields, kind: FieldType) -> Any:
    if type(value) is dict and value and kind.map is not None:
        if kind.map.atomic:
            return None
        found: Raw = {}
        for key, inner in value.items():
            node = fields.get("f:" + key)
            inner_kind = kind.map.fields.get(key, kind.map.element)
            if node is None or inner_kind is None:
                found[key] = inner
            elif not is_member(node):
                found[key] = _remove(inner, node, inner_kind)
        return found or None
    if type(value) is list and value and kind.list is not None:
        if kind.list.atomic:
            return None
        items = []
        for inner in value:
            node = fields.get(element_key(inner, kind.list))
            if node is None:
                items.append(inner)
            elif not is_member(node):
                items.append(_remove(inner, node, kind.list.element))
        return items or None
    return value if type(value) is not dict and type(value) is not list else None


def with_structures(fields: Fields, kind: FieldType) -> Fields:
    """The set, and in it every named field of a structure that it has something under."""
    if not fields:
        return fields
    found: Fields = {}
    for key, node in fields.items():
        if not node:
            found[key] = node
            continue
        inner: FieldType | None = None
        named = False
        if key.startswith("f:") and kind.map is not None:
            named = key[2:] in kind.map.fields
            inner = kind.map.fields.get(key[2:], kind.map.element)
        elif key.startswith("k:") and kind.list is not None:
            inner = kind.list.element
        below = with_structures(node, inner) if inner is not None else node
        found[key] = {SELF: LEAF, **below} if named and SELF not in below else below
    return found


def pruned(merged: Raw, before: Fields, owners: list[tuple[Fields, FieldType]], kind: FieldType) -> Raw:
    """A merged object without what its applier owned ``before`` and nobody owns now.

    ``owners`` are the sets of all managers, the applier's new one among them, by the type of their version. Elements
    of lists and maps that nobody owns, or that the applier never owned, stay.

    Raises:
        BadElement: an element of a list has no key.
    """
    if not before:
        return merged
    last = with_structures(before, kind)
    found = without_fields(merged, last, kind)
    for fields, version in owners:
        present = with_structures(owned(merged, version), version)
        left = union(with_structures(owned(found, version), version), with_structures(fields, version))
        found = without_fields(merged, difference(present, left), version)
    present = with_structures(owned(merged, kind), kind)
    left = with_structures(owned(found, kind), kind)
    return without_fields(merged, intersection(difference(present, left), last), kind)
