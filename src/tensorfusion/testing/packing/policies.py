"""The seam that a placement policy fills."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tensorfusion.testing.packing.world import Bools, Ints, Request, Rows, Spot, World, tightest


class Policy(Protocol):
    """One placement policy in one run. ``arrival`` numbers the arrivals of the run from 0.

    ``choose`` is asked once for each arrival and hands out nothing; what it answers is handed out before the next call.
    Ties are the policy's to break by a fixed order: the same calls have to give the same answers.
    """

    def choose(self, arrival: int, request: Request) -> Spot | None:
        """Where it goes; None turns it away."""
        ...

    def placed(self, arrival: int, request: Request, spot: Spot) -> None:
        """It was handed out; the world has changed already."""
        ...

    def left(self, arrival: int, request: Request, spot: Spot) -> None:
        """It has ended; the world has changed already."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What a policy may know when a run begins: the machines, the workload that history shows, and a seed."""

    world: World
    history: Sequence[Request]
    """The arrivals of the trace as it was recorded, before shuffling. A policy that learns online leaves it alone."""
    seed: int


Factory = Callable[[Setting], Policy]


class Unmoved:
    """The part of a policy that looks at the world alone and keeps no books of its own."""

    def placed(self, arrival: int, request: Request, spot: Spot) -> None:
        """Nothing to note."""

    def left(self, arrival: int, request: Request, spot: Spot) -> None:
        """Nothing to note."""


class ColumnPolicy(Unmoved):
    """A policy that scores machines by what is free on them: the most points win, then the lowest row.

    Points depend on CPU, devices and the size of the request alone, so they are kept for each size, and only rows that
    have changed since that size was last asked for are scored again.
    """

    def __init__(self, setting: Setting) -> None:
        self.world = setting.world
        self._kept: dict[tuple[int, ...], tuple[Ints, int]] = {}

    def points(self, request: Request, rows: Rows) -> Ints:
        """Points of these machines; those that cannot hold the request may have any. Shape (len(rows),)."""
        raise NotImplementedError

    def slots(self, request: Request, node: int) -> tuple[int, ...]:
        """Which devices of the chosen machine."""
        return tightest(self.world.devices[node].tolist(), request)

    def size(self, request: Request) -> tuple[int, ...]:
        """What points depend on, of a request."""
        return request.cpu, request.gpus, request.milli

    def candidates(self, request: Request) -> Bools:
        """The machines that may be chosen, all of which hold the request. Shape (N,)."""
        return self.world.fitting(request)

    def forget(self) -> None:
        """Points that are kept no longer hold: the policy has come to see things differently."""
        self._kept.clear()

    def choose(self, arrival: int, request: Request) -> Spot | None:
        fits = self.candidates(request)
        if not fits.any():
            return None
        node = int(np.where(fits, self._current(request), np.iinfo(np.int64).min).argmax())
        return Spot(node, self.slots(request, node) if request.gpus else ())

    def _current(self, request: Request) -> Ints:
        size, changed = self.size(request), self.world.changed
        kept = self._kept.get(size)
        if kept is None:
            points = self.points(request, np.arange(len(self.world)))
        else:
            points, read = kept
            if stale := set(changed[read:]):
                rows = np.array(sorted(stale), np.intp)
                points[rows] = self.points(request, rows)
        self._kept[size] = points, len(changed)
        return points
