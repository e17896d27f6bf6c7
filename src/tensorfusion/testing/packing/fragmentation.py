"""How much of what is free on a machine a workload cannot use, in exact integers.

For one task m and machine n the fragment F_n(m) is all that is free on n where m does not fit at all, or asks for no
device; otherwise what is free on the devices that are too full for m. F_n(M) is the mean over a workload M. Here the
sum over the workload stands for the mean - it ranks alike and stays a whole number.

Source: Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent",
USENIX ATC '23, section 3.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from tensorfusion.testing.packing.world import Ints, Request


class Workload:
    """A distribution of requests, ready to measure fragments with. Memory and models are left out, as in the paper."""

    def __init__(self, requests: Iterable[Request]) -> None:
        counts = Counter((one.gpus, one.milli, one.cpu) for one in requests)
        kinds = sorted({(gpus, milli) for gpus, milli, _ in counts if gpus})
        self.weight = sum(counts.values())
        """How many requests the workload has: ``amount`` is that many times the mean."""
        self._gpus = np.array([gpus for gpus, _ in kinds], np.int64)
        self._milli = np.array([milli for _, milli in kinds], np.int64)
        self._steps = np.array(sorted({cpu for gpus, _, cpu in counts if gpus}), np.int64)
        at = {cpu: row + 1 for row, cpu in enumerate(self._steps.tolist())}
        table = np.zeros((len(self._steps) + 1, len(kinds)), np.int64)
        for (gpus, milli, cpu), count in counts.items():
            if gpus:
                table[at[cpu], kinds.index((gpus, milli))] += count
        self._able: Ints = table.cumsum(axis=0)
        """Requests of each kind that ask for no more CPU than a step. Shape (steps + 1, kinds)."""

    def amount(self, cpu: Ints, devices: Ints) -> Ints:
        """The fragments of machines with this much free, summed over the workload. Shapes (R,), (R, S) -> (R,)."""
        fits = devices[:, :, None] >= self._milli
        usable = np.einsum("rs,rsk->rk", devices, fits)
        usable[np.count_nonzero(fits, axis=1) < self._gpus] = 0
        able = self._able[np.searchsorted(self._steps, cpu, side="right")]
        lost: Ints = devices.sum(axis=1) * self.weight - np.einsum("rk,rk->r", able, usable)
        return lost
