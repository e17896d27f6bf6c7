"""Whether an update touched what is wrong with a custom object: what it left as it was may stay wrong.

Values are matched by their names in maps and by their keys in lists of the type map; items of any other list have no
predecessors, so that a change of one touches all of them.

Source: Kubernetes, "Validation ratcheting"; apiserver pkg/cel/common/equality.go.
"""

from collections.abc import Sequence
from typing import Any

from tensorfusion.embedded.schema.path import Problem, Step, steps_of
from tensorfusion.embedded.schema.words import REQUIRED
from tensorfusion.model.meta import Raw


def touched(schema: Raw, obj: Raw, old: Raw, problem: Problem) -> bool:
    """Whether the update touched the place of a problem; of a field that is missing, the structure that lacks it."""
    path = problem.path[0] if problem.path is not None and problem.reason == REQUIRED else problem.path
    if path is None:
        return True
    before, after = _pair(schema, steps_of(path), old, obj)
    if after is None and before is None and problem.blocking:
        return True  # a null that was applied where there was nothing
    return bool(after != before) or (type(after) is bool) is not (type(before) is bool)  # in Python, true is 1


# Any: JSON.
def _pair(schema: Raw, steps: Sequence[Step], before: Any, after: Any) -> tuple[Any, Any]:
    """The values at a place before and after, or what around it has no parts that could be matched."""
    for step in steps:
        if isinstance(step, int):
            if not isinstance(before, list) or not isinstance(after, list):
                return before, after
            if schema.get("x-kubernetes-list-type") != "map":
                return before, after
            keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys") or ()
            after = after[step]
            before = next((item for item in before if _alike(item, after, keys)), None)
            schema = schema.get("items") or {}
        else:
            before, after = (one.get(step) if isinstance(one, dict) else None for one in (before, after))
            inner = (schema.get("properties") or {}).get(step)
            if inner is None and isinstance(schema.get("additionalProperties"), dict):
                inner = schema["additionalProperties"]
            schema = inner or {}
    return before, after


def _alike(one: Any, other: Any, keys: Sequence[str]) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    return all(one.get(key) == other.get(key) for key in keys)
