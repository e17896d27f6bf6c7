"""The local copy of one kind: objects by key, and by the values of indexes. No I/O, no waiting.

Read-only for everybody but its informer. The objects are frozen structs and shared with all readers; nothing is copied.
"""

from collections.abc import Callable, ItemsView, Iterable, Sequence, ValuesView
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tensorfusion.model.meta import Key, Object

T = TypeVar("T", bound=Object)

IndexFunction = Callable[[T], Iterable[str]]


@dataclass(slots=True)
class _Index(Generic[T]):
    values: IndexFunction[T]
    entries: dict[str, dict[Key, T]] = field(default_factory=dict)

    def replace(self, key: Key, old: T | None, new: T | None) -> None:
        fresh = set(self.values(new)) if new is not None else set()
        if old is not None:
            for value in set(self.values(old)) - fresh:
                self._unfile(value, key)
        if new is not None:
            for value in fresh:
                self.entries.setdefault(value, {})[key] = new

    def _unfile(self, value: str, key: Key) -> None:
        filed = self.entries.get(value)
        if filed is not None:
            filed.pop(key, None)
            if not filed:
                del self.entries[value]


class Cache(Generic[T]):
    """What an informer knows. Lookups cost a dict access."""

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}
        self._indexes: dict[str, _Index[T]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> T | None:
        return self._objects.get(key)

    def all(self) -> ValuesView[T]:
        """All objects, in no particular order."""
        return self._objects.values()

    def items(self) -> ItemsView[Key, T]:
        return self._objects.items()

    def by_index(self, name: str, value: str) -> Sequence[T]:
        """The objects that an index files under a value."""
        found = self._indexes[name].entries.get(value)
        return list(found.values()) if found else ()

    def values_of(self, name: str) -> Iterable[str]:
        """The values under which an index files anything."""
        return self._indexes[name].entries.keys()

    def add_index(self, name: str, values: IndexFunction[T]) -> None:
        """File objects under the values that a function gives. A name that exists keeps its first function."""
        if name in self._indexes:
            return
        index = self._indexes[name] = _Index(values)
        for key, found in self._objects.items():
            index.replace(key, None, found)

    def put(self, key: Key, new: T) -> T | None:
        """Store an object; the one that it replaces."""
        old = self._objects.get(key)
        self._objects[key] = new
        for index in self._indexes.values():
            index.replace(key, old, new)
        return old

    def remove(self, key: Key) -> T | None:
        """Take an object out; None where there is none."""
        old = self._objects.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index.replace(key, old, None)
        return old
