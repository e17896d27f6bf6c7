"""Fragmentation-aware placement on a trace: the pieces of ``tensorfusion.scheduling``, put together for the simulator.

It starts knowing nothing of the workload and learns it from the arrivals; it never looks at the history of its setting.
"""

from collections import Counter
from functools import partial

import numpy as np

from tensorfusion.scheduling.arrivals import ArrivalMix, Size, Weighted, mix_of, needs_all
from tensorfusion.scheduling.fragmentation import NEVER, LookAhead, Outlook, draw, pick
from tensorfusion.scheduling.whole_nodes import ranks, whole_nodes
from tensorfusion.testing.packing.policies import Kept, Setting
from tensorfusion.testing.packing.world import WHOLE, Bools, Ints, Request, Rows, Spot, choices, tightest

_BESIDE = 2
"""Columns of a state before its devices."""
_BEFORE, _FREE = "before", "free"
"""Keys of columns that do not depend on the request."""


class FragmentationAware:
    """The machine, and the devices of it, where what is free loses least of its worth to what will come."""

    def __init__(self, setting: Setting, parameters: LookAhead | None = None) -> None:
        self._world = setting.world
        self._kept = Kept(setting.world)
        self._set = parameters or LookAhead()
        self._learned = ArrivalMix(classes=self._set.classes, most_percent=self._set.most_percent)
        self._running: Counter[int] = Counter()
        """Pods of whole devices that run now, by how many."""
        self._look_ahead([])

    def choose(self, arrival: int, request: Request) -> Spot | None:
        self._learned.add(Size(request.cpu, request.memory, request.gpus, request.milli))
        if self._learned.count >= self._due:
            self._look_ahead(self._learned.weights())
        size = request.cpu, request.memory, request.gpus, request.milli
        gains = self._kept.current(size, partial(self._gains, request))
        allowed = self.allowed(request, (gains[:, 0] > NEVER) | (gains[:, 1] > NEVER))
        if not allowed.any():
            return None
        cost = np.zeros_like(self._ranks) if self._wants_whole(request) else self._ranks
        node, hole = self.pick(gains, cost, allowed)
        return Spot(node, self._slots(request, node, hole=hole))

    def allowed(self, request: Request, fits: Bools) -> Bools:
        """The machines that may be chosen: those of the wanted models among which it fits, but for those that are held.

        Shapes (N,).
        """
        if request.models:
            fits = fits & self._world.accepting(request.models)
        if self._wants_whole(request) or not (held := self._whole.held(self._running[self._whole.gpus])):
            return fits
        free = self._kept.current(_FREE, self._free)
        return fits & (free == 0) if np.count_nonzero(free) <= held else fits

    def pick(self, gains: Ints, cost: Ints, allowed: Bools) -> tuple[int, bool]:
        """The machine, and whether one of its devices in use is meant; as ``scheduling.fragmentation.pick``."""
        return pick(gains, cost, allowed, streams=self._outlook.streams, grain=self._set.grain)

    def placed(self, arrival: int, request: Request, spot: Spot) -> None:
        if needs_all(request.gpus, request.milli):
            self._running[request.gpus] += 1

    def left(self, arrival: int, request: Request, spot: Spot) -> None:
        if needs_all(request.gpus, request.milli):
            self._running[request.gpus] -= 1

    def _slots(self, request: Request, node: int, *, hole: bool) -> tuple[int, ...]:
        devices = self._world.devices[node]
        if request.gpus != 1:
            return tightest(devices.tolist(), request)
        if not hole:
            return (devices.tolist().index(WHOLE),)
        _, level, gain = self._each(request, np.array([node]))
        used = level < WHOLE
        return (int(np.flatnonzero(devices == level[used][gain[used].argmax()])[0]),)

    def _free(self, rows: Rows) -> Ints:
        """1 for whole machines of which all is free. Shape (R,)."""
        world = self._world
        free = self._whole.free(world.cpu[rows], world.memory[rows], world.devices[rows])
        return (free & self._installed[rows]).astype(np.int64)

    def _states(self, rows: Rows) -> Ints:
        """What is free there, devices ascending."""
        world = self._world
        return np.column_stack([world.cpu[rows], world.memory[rows], np.sort(world.devices[rows], axis=1)])

    def _gains(self, request: Request, rows: Rows) -> Ints:
        """What a placement wins in all streams: on devices in use, and on an untouched one or several. Shape (R, 2)."""
        found = np.full((len(rows), 2), NEVER, np.int64)
        if request.gpus == 1:
            row, level, gain = self._each(request, rows)
            np.maximum.at(found, (row, (level == WHOLE).astype(np.intp)), gain)
            return found
        states = self._states(rows)
        if request.gpus > states.shape[1] - _BESIDE:
            return found  # no machine has as many
        if request.gpus:
            states[:, _BESIDE:] = choices(request, states[:, _BESIDE:])[:, 0]
        states[:, :_BESIDE] -= (request.cpu, request.memory)
        fits = np.flatnonzero((states >= 0).all(axis=1))
        found[fits, 1] = self._gain(request, rows[fits], states[fits])
        return found

    def _each(self, request: Request, rows: Rows) -> tuple[Rows, Ints, Ints]:
        """Every different choice of one device: its row of ``rows``, what was free on it, and what it wins."""
        states = self._states(rows)
        devices = states[:, _BESIDE:]
        possible = devices >= request.milli
        possible[:, 1:] &= devices[:, 1:] != devices[:, :-1]
        possible &= ((states[:, 0] >= request.cpu) & (states[:, 1] >= request.memory))[:, None]
        row, slot = np.nonzero(possible)
        after, number = states[row], np.arange(len(row))
        after[:, :_BESIDE] -= (request.cpu, request.memory)
        after[number, slot + _BESIDE] -= request.milli
        return row, devices[row, slot], self._gain(request, rows[row], after)

    def _gain(self, request: Request, rows: Rows, after: Ints) -> Ints:
        before = self._kept.current(_BEFORE, lambda changed: self._outlook.total(self._states(changed)))
        return self._outlook.total(after) - before[rows] + self._outlook.streams * request.demand

    def _wants_whole(self, request: Request) -> bool:
        return self._whole.wants(request.gpus, request.milli)

    def _look_ahead(self, tenants: Weighted) -> None:
        world, count = self._world, self._learned.count
        mix = mix_of(pair for its in tenants for pair in its.weights)
        self._outlook = Outlook(draw(mix, streams=self._set.streams, length=self._set.length), limit=self._set.states)
        self._whole = whole_nodes(tenants, world.device_capacity, most_percent=self._set.most_percent)
        self._installed = self._whole.free(world.cpu_capacity, world.memory_capacity, world.device_capacity)
        takes = self._whole.takes(world.cpu_capacity, world.memory_capacity)
        self._ranks = ranks(self._installed, takes, most=self._set.rank)
        self._due = max(count + 1, count * self._set.growth_percent // 100)
        self._kept.forget()
