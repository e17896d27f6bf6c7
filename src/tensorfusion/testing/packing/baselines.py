"""The policies that others are measured by: Random, BestFit, and fragmentation gradient descent (FGD).

Source: Weng et al., USENIX ATC '23, sections 4 and 6.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tensorfusion.testing.packing.fragmentation import Workload
from tensorfusion.testing.packing.policies import ColumnPolicy, Setting, Unmoved
from tensorfusion.testing.packing.world import Ints, Request, Rows, Spot, choices, tightest

TYPICAL_PERCENT = 95
"""FGD's target workload: the most frequent sizes that make up this much of the arrivals."""
_STEPS = np.array([math.log(point / (100 - point)) for point in range(1, 100)])
"""Where 100 x sigmoid(x) reaches 1, 2, ... 99."""


class Random(Unmoved):
    """Any machine that fits, the emptiest devices of it; the seed decides."""

    def __init__(self, setting: Setting) -> None:
        self._world = setting.world
        self._dice = random.Random(setting.seed)

    def choose(self, arrival: int, request: Request) -> Spot | None:
        fitting = np.flatnonzero(self._world.fitting(request))
        if not len(fitting):
            return None
        node = int(fitting[self._dice.randrange(len(fitting))])
        emptiest = np.argsort(-self._world.devices[node], kind="stable")[: request.gpus]
        return Spot(node, tuple(sorted(emptiest.tolist())))


class BestFit(ColumnPolicy):
    """The machine with least left over: CPU and devices, each as a share of the largest machine's, equally weighed."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._most_cpu = max(1, int(self.world.cpu_capacity.max(initial=0)))
        self._most_milli = max(1, int(self.world.device_capacity.sum(axis=1).max(initial=0)))

    def points(self, request: Request, rows: Rows) -> Ints:
        cpu = self.world.cpu[rows] - request.cpu
        milli: Ints = self.world.devices[rows].sum(axis=1) - request.demand
        return -(cpu * self._most_milli + milli * self._most_cpu)


class ExactGradientDescent(ColumnPolicy):
    """The machine, and the device of it, where the fragments of the target workload grow least."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._workload = Workload(typical(setting.history))

    def points(self, request: Request, rows: Rows) -> Ints:
        cpu, devices = self.world.cpu[rows], self.world.devices[rows]
        before = self._workload.amount(cpu, devices)
        if not request.gpus:
            return before - self._workload.amount(cpu - request.cpu, devices)
        least: Ints = self._after(request, cpu, devices).min(axis=1)
        return before - least

    def slots(self, request: Request, node: int) -> tuple[int, ...]:
        devices = self.world.devices[[node]]
        if request.gpus > 1:
            return tightest(devices[0].tolist(), request)
        return (int(self._after(request, self.world.cpu[[node]], devices)[0].argmin()),)

    def _after(self, request: Request, cpu: Ints, devices: Ints) -> Ints:
        """The fragments that each choice of devices would leave; a choice that does not fit counts as very many.

        Shape (R, choices).
        """
        options = choices(request, devices)
        rows, each, slots = options.shape
        flat = options.reshape(rows * each, slots)
        found = self._workload.amount(np.repeat(cpu - request.cpu, each), flat)
        found[(flat < 0).any(axis=1)] = np.iinfo(np.int64).max // 2
        return found.reshape(rows, each)


class GradientDescent(ExactGradientDescent):
    """FGD as it was published: a machine's points are whole numbers 0..100 of a sigmoid, which makes many ties.

    Ties go to the first machine, and that is worth most of its advantage: see the guide.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        scale = 1000 * self._workload.weight
        self._reached = np.array([math.ceil(step * scale) for step in _STEPS], np.int64)

    def points(self, request: Request, rows: Rows) -> Ints:
        return np.searchsorted(self._reached, super().points(request, rows), side="right").astype(np.int64)


def typical(history: Sequence[Request]) -> list[Request]:
    """The requests of the most frequent sizes that together make up ``TYPICAL_PERCENT`` of the arrivals."""
    counts = Counter((one.cpu, one.gpus, one.milli) for one in history)
    kept, seen = set(), 0
    for size, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if seen * 100 >= TYPICAL_PERCENT * len(history):
            break
        kept.add(size)
        seen += count
    return [one for one in history if (one.cpu, one.gpus, one.milli) in kept]
