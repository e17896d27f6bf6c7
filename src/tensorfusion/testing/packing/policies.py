"""The seam that a placement policy fills."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tensorfusion.testing.packing.world import Ints, Request, Rows, Spot, World, tightest


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


class Kept:
    """Columns over machines that are computed once for each key, and again only where a machine has changed since."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._columns: dict[Hashable, tuple[Ints, int]] = {}

    def current(self, key: Hashable, compute: Callable[[Rows], Ints]) -> Ints:
        """The column of this key as of now; ``compute`` gives it for some rows. Read it, don't keep it. Shape (N, ...).

        ``compute`` may look at nothing that changes but the machines, until ``forget`` is called.
        """
        changed = self._world.changed
        kept = self._columns.get(key)
        if kept is None:
            column = compute(np.arange(len(self._world)))
        else:
            column, read = kept
            if stale := set(changed[read:]):
                rows = np.array(sorted(stale), np.intp)
                column[rows] = compute(rows)
        self._columns[key] = column, len(changed)
        return column

    def forget(self) -> None:
        """What is kept no longer holds: the policy has come to see things differently."""
        self._columns.clear()


class ColumnPolicy(Unmoved, ABC):
    """A policy that scores machines by what is free on them: the most points win, then the lowest row.

    Points depend on CPU, devices and the size of the request alone, so they are kept for each size.
    """

    def __init__(self, setting: Setting) -> None:
        self.world = setting.world
        self._kept = Kept(setting.world)

    @abstractmethod
    def points(self, request: Request, rows: Rows) -> Ints:
        """Points of these machines; those that cannot hold the request may have any. Shape (len(rows),)."""

    def slots(self, request: Request, node: int) -> tuple[int, ...]:
        """Which devices of the chosen machine."""
        return tightest(self.world.devices[node].tolist(), request)

    def choose(self, arrival: int, request: Request) -> Spot | None:
        fits = self.world.fitting(request)
        if not fits.any():
            return None
        size = request.cpu, request.gpus, request.milli
        points = self._kept.current(size, lambda rows: self.points(request, rows))
        node = int(np.where(fits, points, np.iinfo(np.int64).min).argmax())
        return Spot(node, self.slots(request, node) if request.gpus else ())
