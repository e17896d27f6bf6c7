"""What a node's points are made of, part by part: for records, explanations and simulations.

Apart from the cycle because nearly every score has one part, the placement mode's, and then nothing is written down.
Amounts are in units of preference (64 to a point), so that they add up to the ranking key.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol, TypeAlias

from tensorfusion.scheduling.codes import Ints, Rows
from tensorfusion.scheduling.shapes import PREFERENCE


class ScorePart(StrEnum):
    """Where points come from. Values are those of the wire."""

    PLACEMENT = "placement"
    """How full the node's devices are, or what the place is worth; of a pod without shares, how full the node is."""
    PREFERENCES = "nodePreferences"
    """Preferred node affinity that matches, less a little for soft taints."""
    SPREAD = "topologySpread"
    NEIGHBOURS = "podAffinity"
    RESOURCES = "nodeResources"
    TOPOLOGY = "topology"
    """How near the node's devices are to each other, for a pod of several."""
    WHOLE_NODES = "wholeNodes"
    """Reluctance to open one of the last whole nodes, in mode FragmentationAware."""


Parts: TypeAlias = tuple[tuple[ScorePart, int], ...]
"""The parts that are not zero, the placement always first."""


class Extra(Protocol):
    """The rules between pods and nodes, as far as they add points."""

    def parts(self, row: int) -> Iterable[tuple[ScorePart, int]]:
        """What they add on a node row."""


def parts_of(base: int, node_row: int, preference: Ints | None, extra: Extra | None) -> Parts:
    """The parts of one node; ``base`` are the points of the placement mode."""
    found = {ScorePart.PLACEMENT: base * PREFERENCE}
    if preference is not None:
        found[ScorePart.PREFERENCES] = int(preference[node_row])
    for part, points in extra.parts(node_row) if extra is not None else ():
        found[part] = found.get(part, 0) + points
    return tuple((part, points) for part, points in found.items() if points or part is ScorePart.PLACEMENT)


def parts_of_rows(
    rows: Iterable[int],
    base: Callable[[int], int],
    at: Rows | None,
    preference: Ints | None,
    extra: Extra | None,
    *,
    own: Callable[[int], Parts] | None = None,
) -> tuple[Parts, ...]:
    """The parts of some rows; ``at`` is the node row of each of them, None where they are the same.

    ``own`` are further parts of a row that follow from its devices.
    """
    found = []
    for row in rows:
        parts = parts_of(base(row), row if at is None else int(at[row]), preference, extra)
        found.append(parts if own is None else (*parts, *own(row)))
    return tuple(found)


def in_points(parts: Parts) -> dict[str, float]:
    """The parts for readers, in points."""
    return {str(part): round(amount / PREFERENCE, 2) for part, amount in parts}
