"""Write a JSON patch (RFC 6902) op by op, beside the object it applies to.

A generic diff of a whole pod costs milliseconds and says things nobody decided. Here each decision adds the one
operation it means, and an operation that would change nothing is not written: that is what makes admission idempotent.
The object itself is never touched.
"""

from collections.abc import Mapping, Sequence
from typing import Any

# Any: JSON of any shape.
Json = Any
Op = dict[str, Json]


def escape(token: str) -> str:
    """One reference token of a JSON pointer."""
    return token.replace("~", "~0").replace("/", "~1") if "/" in token or "~" in token else token


def contains(found: Json, wanted: Json) -> bool:
    """Whether ``found`` says at least what ``wanted`` says: the API server adds defaults to what we wrote."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            key in found and contains(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(contains(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


class Patch:
    """A patch in the making. ``ops`` is in the order in which the operations must run."""

    __slots__ = ("ops",)

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def set(self, path: str, found: Json, value: Json) -> None:
        """Set a field that holds ``found`` now (None where it is missing)."""
        if found != value:
            self.ops.append({"op": "add" if found is None else "replace", "path": path, "value": value})

    def remove(self, path: str) -> None:
        """Remove a field that is there."""
        self.ops.append({"op": "remove", "path": path})

    def merge(self, path: str, found: Mapping[str, Json] | None, values: Mapping[str, Json]) -> None:
        """Set entries of a map that may be missing as a whole."""
        if not found:
            if values:
                self.ops.append({"op": "add", "path": path, "value": dict(values)})
            return
        for key, value in values.items():
            if found.get(key) != value:
                op = "replace" if key in found else "add"
                self.ops.append({"op": op, "path": f"{path}/{escape(key)}", "value": value})

    def merge_named(
        self, path: str, found: Sequence[Mapping[str, Json]] | None, *, values: Sequence[Op], key: str = "name"
    ) -> None:
        """Put entries into a list that is a map by ``key``: append the missing ones, replace those that differ."""
        if not found:
            if values:
                self.ops.append({"op": "add", "path": path, "value": list(values)})
            return
        for value in values:
            position = next((place for place, entry in enumerate(found) if entry.get(key) == value[key]), None)
            if position is None:
                self.ops.append({"op": "add", "path": f"{path}/-", "value": value})
            elif not contains(found[position], value):
                self.ops.append({"op": "replace", "path": f"{path}/{position}", "value": value})
