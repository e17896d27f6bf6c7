"""Where in an object a check stands, cheap to build on the way down and turned into text only when something is wrong.

A path is ``None`` at the top and ``(parent, step)`` below; a step is a field name, a list index, or ``Member`` for the
key of a free map (Kubernetes writes ``data[a b]`` for those, ``spec.name`` for fields).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


class Member(str):
    """The key of a free map, as a step of a path."""

    __slots__ = ()


Step: TypeAlias = str | int
Path: TypeAlias = tuple[Any, Step] | None  # Any: the parent, again a Path


def steps_of(path: Path) -> list[Step]:
    """The steps from the top."""
    steps: list[Step] = []
    while path is not None:
        path, step = path
        steps.append(step)
    steps.reverse()
    return steps


def path_of(steps: Sequence[Step]) -> Path:
    """The path that ``steps_of`` took apart."""
    path: Path = None
    for step in steps:
        path = (path, step)
    return path


def text_of(path: Path) -> str:
    """``spec.containers[0].resources.requests[cpu]``."""
    return "".join(
        f"[{step}]" if isinstance(step, int | Member) else f".{step}" for step in steps_of(path)
    ).removeprefix(".")


def plain_text_of(path: Path) -> str:
    """As ``text_of``, with keys of maps written like fields: how unknown fields are named."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps_of(path)).removeprefix(".")


def dotted(path: Path) -> str:
    """The path as Go's JSON decoder names it: fields only, no indexes and no keys of maps."""
    return ".".join(step for step in steps_of(path) if isinstance(step, str) and not isinstance(step, Member))


def value_at(obj: object, path: Path) -> object:
    """What stands at the path in another object; None when there is nothing."""
    value: Any = obj
    for step in steps_of(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken field, before it is put into the words of a Status."""

    path: Path
    message: str
    reason: str = "FieldValueInvalid"
    blocking: bool = False  # CEL rules are not asked while the object is broken in this way
    field: str | None = None  # when the text is not the path's
    stands: bool = True  # may be forgiven on an update that leaves the value as it was
