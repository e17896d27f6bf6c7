"""Fragmentation-aware placement on a trace: the pieces of ``tensorfusion.scheduling``, put together for the simulator.

It starts knowing nothing of the workload and learns it from the arrivals; it never looks at the history of its setting.
"""

from collections import Counter

import numpy as np

from tensorfusion.scheduling.arrivals import ArrivalMix, Mix, Size
from tensorfusion.scheduling.fragmentation import LookAhead, Outlook, draw, points
from tensorfusion.scheduling.whole_nodes import ranks, whole_nodes
from tensorfusion.testing.packing.policies import ColumnPolicy, Setting
from tensorfusion.testing.packing.world import WHOLE, Bools, Ints, Request, Rows, Spot, choices

_NEVER = np.iinfo(np.int64).min // 4


class FragmentationAware(ColumnPolicy):
    """The machine, and the devices of it, where what is free loses least of its worth to what will come."""

    def __init__(self, setting: Setting, parameters: LookAhead | None = None) -> None:
        super().__init__(setting)
        self._set = parameters or LookAhead()
        self._learned = ArrivalMix(classes=self._set.classes, most_percent=self._set.most_percent)
        self._running: Counter[int] = Counter()
        """Pods of whole devices that run now, by how many."""
        self._look_ahead(Mix())

    def choose(self, arrival: int, request: Request) -> Spot | None:
        self._learned.add(Size(request.cpu, request.memory, request.gpus, request.milli))
        if self._learned.count >= self._due:
            self._look_ahead(self._learned.mix())
        return super().choose(arrival, request)

    def placed(self, arrival: int, request: Request, spot: Spot) -> None:
        if request.milli == WHOLE:
            self._running[request.gpus] += 1

    def left(self, arrival: int, request: Request, spot: Spot) -> None:
        if request.milli == WHOLE:
            self._running[request.gpus] -= 1

    def size(self, request: Request) -> tuple[int, ...]:
        return *super().size(request), request.memory

    def candidates(self, request: Request) -> Bools:
        fits = self.world.fitting(request)
        if self._wants_whole(request) or not (held := self._whole.held(self._running[self._whole.gpus])):
            return fits
        free = self._whole.free(self.world.cpu, self.world.memory, self.world.devices)
        free &= self._installed
        return fits & ~free if np.count_nonzero(free) <= held else fits

    def points(self, request: Request, rows: Rows) -> Ints:
        found = np.full(len(rows), _NEVER, np.int64)
        fits = self.world.fitting(request)[rows]
        if fits.any():
            found[fits] = self._after(request, rows[fits]).max(axis=1)
        return found

    def slots(self, request: Request, node: int) -> tuple[int, ...]:
        if request.gpus > 1:
            return super().slots(request, node)
        return (int(self._after(request, np.array([node]))[0].argmax()),)

    def _after(self, request: Request, rows: Rows) -> Ints:
        """The points of each choice of devices. Shape (R, choices)."""
        world = self.world
        cpu, memory, devices = world.cpu[rows], world.memory[rows], world.devices[rows]
        left = choices(request, devices) if request.gpus else devices[:, None, :]
        possible = (left >= 0).all(axis=2)
        if request.gpus == 1:
            possible &= ~_again(devices)
        row, choice = np.nonzero(possible)
        before = self._outlook.total(np.column_stack([cpu, memory, devices]))
        after = np.column_stack([cpu[row] - request.cpu, memory[row] - request.memory, left[row, choice]])
        gain = self._outlook.total(after) - before[row] + self._outlook.streams * request.demand
        if not self._wants_whole(request):
            gain -= self._outlook.streams * self._ranks[rows][row]
        found = np.full(left.shape[:2], _NEVER, np.int64)
        found[row, choice] = points(gain, streams=self._outlook.streams, grain=self._set.grain)
        return found

    def _wants_whole(self, request: Request) -> bool:
        return request.gpus == self._whole.gpus and request.milli == WHOLE

    def _look_ahead(self, mix: Mix) -> None:
        world, count = self.world, self._learned.count
        self._outlook = Outlook(draw(mix, streams=self._set.streams, length=self._set.length), limit=self._set.states)
        self._whole = whole_nodes(mix, world.device_capacity)
        self._installed = self._whole.free(world.cpu_capacity, world.memory_capacity, world.device_capacity)
        self._ranks = ranks(self._installed, most=self._set.rank)
        self._due = max(count + 1, count * self._set.growth_percent // 100)
        self.forget()


def _again(devices: Ints) -> Bools:
    """Slots with as much free as an earlier one of their machine: the same choice. Shapes (R, S) -> (R, S)."""
    same = devices[:, :, None] == devices[:, None, :]
    earlier = np.tri(devices.shape[1], k=-1, dtype=np.bool_)
    found: Bools = (same & earlier).any(axis=2)
    return found
