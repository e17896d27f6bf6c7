"""Laying an applied configuration over a live object, field by field, as the schema says.

Lists merge in the configuration's order; what only the live list has stays where it is between its neighbours.

Source: structured-merge-diff typed (Merge), by behaviour.
"""

from collections.abc import Sequence
from typing import Any

from tensorfusion.embedded.fields.keys import element_key
from tensorfusion.embedded.fields.types import FieldType, ListType, MapType
from tensorfusion.model.meta import Raw

_MISSING: Any = object()


# Any in this module: JSON values.
def merged(live: Raw, config: Raw, kind: FieldType) -> Raw:
    """A new object; parts that only one side has are shared with it.

    Raises:
        BadElement: an element of a list has no key.
    """
    found: Raw = _merge(live, config, kind)
    return {} if found is _MISSING else found


def _merge(old: Any, new: Any, kind: FieldType) -> Any:
    value = old if new is _MISSING else new
    if kind.map is not None and (type(value) is dict or (value is None and type(old) is dict)):
        return _merge_maps(old, new, kind.map)
    if kind.list is not None and (type(value) is list or (value is None and type(old) is list)):
        return _merge_lists(old, new, kind.list)
    return value


def _merge_maps(old: Any, new: Any, kind: MapType) -> Any:
    left = old if type(old) is dict else {}
    right = new if type(new) is dict else {}
    if kind.atomic or not (left or right):
        return old if new is _MISSING else new
    found: Raw = {}
    for key in (*left, *(key for key in right if key not in left)):
        inner = kind.fields.get(key, kind.element)
        mine, theirs = left.get(key, _MISSING), right.get(key, _MISSING)
        value = _merge(mine, theirs, inner) if inner is not None else (mine if theirs is _MISSING else theirs)
        if value is not _MISSING:
            found[key] = value
    return found or _MISSING


def _merge_lists(old: Any, new: Any, kind: ListType) -> Any:
    left = old if type(old) is list else []
    right = new if type(new) is list else []
    if kind.atomic or not (left or right):
        return old if new is _MISSING else new
    return _Zipper(left, right, kind).run() or _MISSING


class _Zipper:
    """One merge of two keyed lists, walked side by side.

    ``shared`` are the keys of both, in the order of the configuration; a live element that comes before the next
    shared one waits until it is that one's turn.
    """

    def __init__(self, left: Sequence[Any], right: Sequence[Any], kind: ListType) -> None:
        self._kind = kind
        self._left, self._right = left, right
        self._left_keys = [element_key(item, kind) for item in left]
        self._right_keys = [element_key(item, kind) for item in right]
        self._before = self._known(self._left_keys, left)
        self._after = self._known(self._right_keys, right)
        self._shared = [key for key in self._right_keys if key in self._before]
        self._out: list[Any] = []
        self._done: set[str] = set()

    @staticmethod
    def _known(keys: Sequence[str], items: Sequence[Any]) -> dict[str, Any]:
        """Elements by key; several of one key cannot be merged with."""
        found: dict[str, Any] = {}
        for key, item in zip(keys, items, strict=True):
            found[key] = _MISSING if key in found else item
        return found

    def run(self) -> list[Any]:
        at, to = 0, 0
        while at < len(self._left) or to < len(self._right):
            key = self._left_keys[at] if at < len(self._left) else None
            if key is not None and to < len(self._right):
                if key == self._right_keys[to]:
                    self._take(key)
                    at, to = at + 1, to + 1
                    continue
                if key in self._after and self._shared and self._shared[0] != key:
                    at += 1  # shared, but not its turn
                    continue
            if key is not None:
                if key not in self._after:
                    self._keep(_merge(self._left[at], _MISSING, self._kind.element))
                    at += 1
                    continue
                if key in self._done:
                    at += 1
            if to < len(self._right):
                self._take(self._right_keys[to])
                to += 1
        return self._out

    def _take(self, key: str) -> None:
        """The configuration's next element, laid over the live one of its key."""
        self._done.add(key)
        if self._shared and self._shared[0] == key:
            del self._shared[0]
        self._keep(_merge(self._before.get(key, _MISSING), self._after[key], self._kind.element))

    def _keep(self, value: Any) -> None:
        if value is not _MISSING:
            self._out.append(value)
