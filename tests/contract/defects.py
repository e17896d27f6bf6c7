"""Deliberate defects of the embedded server, one switch each: the suite has to see every one of them.

A defect replaces one part of the server that runs in this process. What a module imported from another by name is
replaced where it is used.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tensorfusion.embedded import deletion, operations, routes, strategies
from tensorfusion.embedded.statuses import not_found

Replacement = Callable[..., Any]
Spot = tuple[Any, str, Replacement]
"""A module or class, the name of its part, and what is to stand there instead."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, and the numbers of the behaviours of which at least one must fail for it."""

    name: str
    seen_by: tuple[int, ...]
    spots: tuple[Spot, ...]

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Inside of this context, every embedded server of this process has the defect."""
        with ExitStack() as stack:
            for owner, name, replacement in self.spots:
                stack.enter_context(mock.patch.object(owner, name, replacement))
            yield


def defect(name: str, *spots: Spot, seen_by: tuple[int, ...]) -> Defect:
    return Defect(name, seen_by, spots)


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _before(original: Replacement, change: Callable[[Any], None]) -> Replacement:
    """``original``, with its first argument changed before."""

    def replaced(first: Any, *rest: Any, **named: Any) -> Any:
        change(first)
        return original(first, *rest, **named)

    return replaced


DEFECTS = (
    defect(
        "a delete ignores its preconditions",
        (deletion, "_check_preconditions", _nothing),
        seen_by=(140, 141),
    ),
    defect(
        "the generation is not raised by changes of the spec",
        (strategies, "_spec_of", lambda *_: {}),
        seen_by=(120, 130),
    ),
    defect(
        "an update with an old version overwrites what others wrote",
        (operations.Operations, "_check_identity", _nothing),
        seen_by=(110,),
    ),
    defect(
        "finalizers do not hold an object",
        (deletion, "is_finished", lambda *_: True),
        seen_by=(150,),
    ),
    defect(
        "the propagation policy is forgotten",
        (deletion, "_set_finalizers", _nothing),
        seen_by=(155, 156),
    ),
    defect(
        "a collection is deleted whatever its selectors say",
        (routes, "keep_of", _nothing),
        seen_by=(170, 171),
    ),
    defect(
        "generated names are the prefix alone",
        (operations, "generate_name", lambda prefix: prefix),
        seen_by=(105,),
    ),
    defect(
        "a taken name is said to be missing",
        (operations, "already_exists", not_found),
        seen_by=(101,),
    ),
    defect(
        "new objects keep what only the server may say",
        (strategies, "_SYSTEM_FIELDS", ()),
        (operations, "wipe_managed", _nothing),
        seen_by=(103,),
    ),
    defect(
        "finalizers can be added to an object that is being deleted",
        (operations, "_check_finalizers", _nothing),
        seen_by=(152,),
    ),
    defect(
        "a pod gets no grace period",
        (deletion, "_grace", lambda *_: 0),
        seen_by=(160,),
    ),
)
