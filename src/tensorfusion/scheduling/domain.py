"""The part of the fleet that this scheduler places on, where several divide it among themselves.

The columns hold the whole fleet, because rules between pods and the words for users look at all of it; a decision may
choose only nodes whose shard is this scheduler's own. Who may not be asked about belongs to whoever knows the Leases:
here is one column over the node rows, made again when that or the rows have changed.
"""

from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.fleet import Fleet

Bools: TypeAlias = NDArray[np.bool_]


class Domain:
    """``allows`` says whether a node may be placed on now; call ``changed`` when its answers may be others."""

    def __init__(self, allows: Callable[[str], bool]) -> None:
        self._allows = allows
        self._rows: Bools | None = None
        self._layout = -1
        self.has_all = True
        """No registered node is left out, as of the last look."""

    def changed(self) -> None:
        """Ask about every node again."""
        self._rows = None

    def rows(self, fleet: Fleet) -> Bools:
        """Which node rows may be chosen. Shape as the node columns, spare rows included."""
        nodes = fleet.nodes
        if self._rows is None or self._layout != nodes.layout or len(self._rows) != nodes.size:
            self._layout, self.has_all = nodes.layout, True
            self._rows = np.zeros(nodes.size, np.bool_)
            for record in nodes.records.values():
                allowed = self._rows[record.row] = self._allows(record.name)
                if not allowed and record.facts is not None:
                    self.has_all = False
        return self._rows

    def limits(self, fleet: Fleet, pod: PodFacts) -> bool:
        """Whether any node that the pod could be placed on is left out."""
        rows = self.rows(fleet)
        if self.has_all:
            return False
        if pod.request is None:
            return True
        pool = fleet.pools.get(pod.request.pool)
        return pool is not None and not rows.take(pool.node_row[: len(pool.node_names)], mode="clip").all()


class Narrowed(Domain):
    """For a few decisions: of another domain (None is the whole fleet) only these nodes, or all but these."""

    def __init__(self, outer: Domain | None, nodes: Collection[str], *, only: bool) -> None:
        super().__init__(lambda _: True)
        self._outer = outer
        self._nodes = nodes
        self._only = only

    def rows(self, fleet: Fleet) -> Bools:
        outer = np.ones(fleet.nodes.size, np.bool_) if self._outer is None else self._outer.rows(fleet)
        named = np.zeros(fleet.nodes.size, np.bool_)
        records = fleet.nodes.records
        named[[records[name].row for name in self._nodes if name in records]] = True
        found: Bools = outer & (named if self._only else ~named)
        self.has_all = False
        return found
