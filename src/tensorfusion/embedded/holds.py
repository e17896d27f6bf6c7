"""What writes under way were given and no other may have: from when a write is ready for the store until it is over.

By the uid of the object that is written and a number, as one object may be written several times before the first of
them is durable.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_Given = TypeVar("_Given")


class Holds(Generic[_Given]):
    """What is held, by one owner: everything here is called by the one who gives out."""

    def __init__(self) -> None:
        self._held: dict[str, dict[int, _Given]] = {}
        self._number = 0

    def add(self, uid: str, given: _Given) -> Callable[[], None]:
        """Hold it for a write of this object; answers what to call when the write is over."""
        self._number += 1
        number = self._number
        self._held.setdefault(uid, {})[number] = given
        return lambda: self._end(uid, number)

    def of_others(self, uid: str) -> Iterator[_Given]:
        """What is held for any other object."""
        return (given for other, holds in self._held.items() if other != uid for given in holds.values())

    def stored(self, uid: str, is_in: Callable[[_Given], bool]) -> None:
        """A version of the object is durable that has what ``is_in`` says; what later writes were given stays held."""
        for number, given in list(self._held.get(uid, {}).items()):
            if is_in(given):
                self._end(uid, number)

    def drop(self, uid: str) -> None:
        """The object is gone."""
        self._held.pop(uid, None)

    def _end(self, uid: str, number: int) -> None:
        holds = self._held.get(uid, {})
        holds.pop(number, None)
        if not holds:
            self._held.pop(uid, None)
