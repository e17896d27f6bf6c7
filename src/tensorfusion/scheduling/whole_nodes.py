"""Keep whole nodes for jobs that need one: by order, so that few are opened, and by a hold, so that some stay closed.

Looking ahead alone serves small pods so well that under churn hardly a node is ever empty again, and jobs that want all
devices of one are turned away. Two remedies: small pods prefer the first of the whole nodes to the last, and those that
the largest jobs fit on are the last (``ranks``); and they open none of the last ones at all while fewer whole-node jobs
run than the mix would keep running (``held``).

Shapes: N nodes. Devices are in thousandths, shape (N, S).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.arrivals import WHOLE, Size, Weighted, fair_mix, needs_all

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WholeNodes:
    """What a whole node is to this mix: ``gpus`` devices, and room for the lighter jobs that want them all."""

    gpus: int
    cpu: int
    memory: int
    running: int
    """Whole-node jobs that would run if the cluster were full of this mix."""
    jobs: Sequence[tuple[Size, int]] = ()
    """The whole-node jobs of the mix, with their weights."""

    def wants(self, gpus: int, milli: int) -> bool:
        """Whether who asks for so much of each of so many devices needs a whole node."""
        return gpus == self.gpus and needs_all(gpus, milli)

    def free(self, cpu: Ints, memory: Ints, devices: Ints) -> Bools:
        """The nodes whose free part (or, asked about capacity, which at all) holds such a job. Shape (N,)."""
        whole: Bools = np.count_nonzero(devices == WHOLE, axis=1) == self.gpus
        return whole & (cpu >= self.cpu) & (memory >= self.memory)

    def takes(self, cpu: Ints, memory: Ints) -> Ints:
        """The weight of the whole-node jobs that nodes of this capacity could take. Shape (N,)."""
        shapes, which = np.unique(np.column_stack([cpu, memory]), axis=0, return_inverse=True)
        found = np.zeros(len(shapes), np.int64)
        for size, weight in self.jobs:
            found[(shapes[:, 0] >= size.cpu) & (shapes[:, 1] >= size.memory)] += weight
        return found[which.reshape(-1)]

    def is_free(self, cpu: int, memory: int, devices: Sequence[int]) -> bool:
        """The same of one node."""
        return devices.count(WHOLE) == self.gpus and cpu >= self.cpu and memory >= self.memory

    def held(self, running: int) -> int:
        """How many whole nodes to keep while so many whole-node jobs run."""
        return max(0, self.running - running)


def whole_nodes(tenants: Weighted, devices: Ints, *, most_percent: int) -> WholeNodes:
    """Whole nodes have the most devices that any node has and any job of the mix needs for itself.

    The mix is told by tenant, for which ``most_percent`` stands as in ``fair_mix``. ``devices`` are as installed;
    without such a job, whole nodes are those with most devices, and none is held.
    """
    asked = {size.gpus for its in tenants for size, _ in its.weights if size.is_whole(size.gpus)}
    sizes = set(np.count_nonzero(devices, axis=1).tolist()) - {0}
    gpus = max(sizes & asked, default=max(sizes, default=0))
    mix = fair_mix(tenants, gpus=gpus, most_percent=most_percent)
    share, demand = mix.whole_share(gpus)
    running = share * int(devices.sum()) // (demand * gpus * WHOLE) if gpus else 0
    return WholeNodes(gpus, *mix.light(gpus), running, mix.whole(gpus))


def ranks(whole: Bools, takes: Ints, *, most: int) -> Ints:
    """Reluctance to open a node, in milli-GPU: from 0 for the first whole node towards ``most`` for the last.

    Those come later that can take more of the whole-node jobs, so that the few that hold the largest stay closed for
    longest; equal ones are in their order. Shapes (N,), (N,) -> (N,); 0 for other nodes.
    """
    found = np.zeros(len(whole), np.int64)
    rows = np.flatnonzero(whole)
    rows = rows[takes[rows].argsort(kind="stable")]
    found[rows] = most * np.arange(len(rows)) // max(1, len(rows))
    return found
