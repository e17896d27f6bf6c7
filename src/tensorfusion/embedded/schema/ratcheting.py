"""Whether an update touched what is wrong with a custom object: what it left as it was may stay wrong.

Values are matched by their names in maps and by their keys in lists of the type map; items of any other list have no
predecessors, so that a change of one touches all of them.

Source: Kubernetes, "Validation ratcheting"; apiserver pkg/cel/common/equality.go.
"""

from collections.abc import Hashable, Sequence
from typing import Any

from tensorfusion.embedded.schema.path import Problem, Step, steps_of
from tensorfusion.embedded.schema.words import REQUIRED
from tensorfusion.model.meta import Raw


class Update:
    """A custom object before and after. What is compared once is not compared again for the next problem."""

    def __init__(self, schema: Raw, obj: Raw, old: Raw) -> None:
        self._schema = schema
        self._obj = obj
        self._old = old
        self._by_keys: dict[tuple[int, tuple[str, ...]], dict[Hashable, Any]] = {}  # by the list, as all of these
        self._differ: dict[tuple[int, int], bool] = {}

    def touches(self, problem: Problem) -> bool:
        """Whether it touched the place of a problem; of a field that is missing, the structure that lacks it."""
        path = problem.path[0] if problem.path is not None and problem.reason == REQUIRED else problem.path
        if path is None:
            return True
        before, after = self._pair(steps_of(path))
        if after is None and before is None and problem.blocking:
            return True  # a null that was applied where there was nothing
        if (type(after) is bool) is not (type(before) is bool):
            return True  # in Python, true is 1
        if not isinstance(after, list | dict):
            return bool(after != before)
        both = id(before), id(after)
        if both not in self._differ:
            self._differ[both] = bool(after != before)
        return self._differ[both]

    # Any: JSON.
    def _pair(self, steps: Sequence[Step]) -> tuple[Any, Any]:
        """The values at a place before and after, or what around it has no parts that could be matched."""
        schema = self._schema
        before: Any = self._old
        after: Any = self._obj
        for step in steps:
            if isinstance(step, int):
                if not isinstance(before, list) or not isinstance(after, list):
                    return before, after
                if schema.get("x-kubernetes-list-type") != "map":
                    return before, after
                keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
                after = after[step]
                before = self._predecessor(before, after, keys)
                schema = schema.get("items") or {}
            else:
                before, after = (one.get(step) if isinstance(one, dict) else None for one in (before, after))
                inner = (schema.get("properties") or {}).get(step)
                if inner is None and isinstance(schema.get("additionalProperties"), dict):
                    inner = schema["additionalProperties"]
                schema = inner or {}
        return before, after

    def _predecessor(self, before: list[Any], item: Any, keys: tuple[str, ...]) -> Any:
        if not isinstance(item, dict):
            return None
        found = self._by_keys.get((id(before), keys))
        if found is None:
            found = self._by_keys[id(before), keys] = {}
            for one in before:
                if isinstance(one, dict):
                    found.setdefault(_key_of(one, keys), one)
        return found.get(_key_of(item, keys))


def _key_of(item: Raw, keys: Sequence[str]) -> Hashable:
    return tuple(_frozen(item.get(key)) for key in keys)


def _frozen(value: Any) -> Hashable:  # Any: JSON
    """Equal to another one if the values are. Keys are plain values, but what is wrong may hold anything there."""
    if isinstance(value, list):
        return ("list", *map(_frozen, value))
    if isinstance(value, dict):
        return "map", frozenset((key, _frozen(inner)) for key, inner in value.items())
    return value  # type: ignore[no-any-return]
