"""What is free on every machine, as columns, and the one place where it changes.

Apart from the scheduler's own state because the trace knows only CPU, memory and thousandths of devices, and because a
policy that is tried out here must not need a pool, a quota or a watch.

Shapes: N machines, S slots (the most devices that any machine has). Units: ``cpu`` milli-CPU, ``memory`` MiB, devices
1/1000 of a device, all int64. A slot without a device is never free.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.errors import ConfigError
from tensorfusion.testing.traces import TraceNode, TracePod

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.intp]

WHOLE = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """What one arrival asks for: ``milli`` of each of ``gpus`` devices of one machine; ``models`` empty = any."""

    cpu: int
    memory: int
    gpus: int
    milli: int
    models: tuple[str, ...] = ()

    @property
    def demand(self) -> int:
        """Milli-GPU in all."""
        return self.gpus * self.milli


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a request goes: the machine's row and, ascending, slots of it."""

    node: int
    slots: tuple[int, ...] = ()


def request_of(pod: TracePod) -> Request:
    """What an arrival of a trace asks for."""
    return Request(pod.cpu, pod.memory, pod.gpus, pod.gpu_milli if pod.gpus else 0, pod.models)


def demand_of(history: Iterable[Request]) -> int:
    """Milli-GPU that all of them ask for.

    Raises:
        ConfigError: none: no stream of such arrivals would ever load a cluster.
    """
    demand = sum(one.demand for one in history)
    if not demand:
        raise ConfigError("the pod list: wanted arrivals that ask for GPUs (num_gpu above 0), found none")
    return demand


class World:
    """Machines and what is free on them. Only ``take`` and ``give`` change it; ``changed`` lists their rows."""

    def __init__(self, nodes: Sequence[TraceNode]) -> None:
        self.nodes = tuple(nodes)
        slots = max((node.gpus for node in nodes), default=0)
        self.cpu: Ints = np.array([node.cpu for node in nodes], np.int64)
        self.memory: Ints = np.array([node.memory for node in nodes], np.int64)
        counts = np.array([node.gpus for node in nodes], np.int64)
        present = np.arange(max(slots, 1)) < counts[:, None]
        self.devices: Ints = np.where(present, WHOLE, 0).astype(np.int64)
        """Free milli of each slot. Shape (N, S)."""
        self.cpu_capacity, self.memory_capacity = self.cpu.copy(), self.memory.copy()
        self.device_capacity = self.devices.copy()
        self.total = int(self.devices.sum())
        """Milli-GPU of all machines."""
        self.held = 0
        """Milli-GPU that is taken."""
        self.changed: list[int] = []
        """Rows in the order in which they changed, ever growing: who keeps scores remembers how far it has read."""
        self._accepting: dict[tuple[str, ...], Bools] = {}

    def __len__(self) -> int:
        return len(self.nodes)

    def fitting(self, request: Request) -> Bools:
        """The machines that can take the request now. Shape (N,)."""
        fits = (self.cpu >= request.cpu) & (self.memory >= request.memory)
        if request.gpus:
            fits &= np.count_nonzero(self.devices >= request.milli, axis=1) >= request.gpus
        return fits & self.accepting(request.models) if request.models else fits

    def accepting(self, models: tuple[str, ...]) -> Bools:
        """The machines whose devices are of these models. Shape (N,)."""
        found = self._accepting.get(models)
        if found is None:
            found = np.array([node.model in models for node in self.nodes], np.bool_)
            self._accepting[models] = found
        return found

    def take(self, request: Request, spot: Spot) -> None:
        """Hand it out.

        Raises:
            ValueError: the policy chose a place that does not hold the request: its bug, never the trace's.
        """
        wanted = list(spot.slots)
        fits = self.cpu[spot.node] >= request.cpu and self.memory[spot.node] >= request.memory
        if len(set(wanted)) != request.gpus or len(wanted) != request.gpus:
            fits = False
        if not fits or (self.devices[spot.node, wanted] < request.milli).any():
            raise ValueError(f"{spot} cannot hold {request}: {self.describe(spot.node)} is free")
        self._add(request, spot, -1)

    def give(self, request: Request, spot: Spot) -> None:
        """Take back what ``take`` handed out."""
        self._add(request, spot, 1)

    def describe(self, node: int) -> str:
        """What is free on a machine, in words for errors."""
        return f"cpu {self.cpu[node]}m, memory {self.memory[node]}Mi, devices {self.devices[node].tolist()}"

    def _add(self, request: Request, spot: Spot, sign: int) -> None:
        self.cpu[spot.node] += sign * request.cpu
        self.memory[spot.node] += sign * request.memory
        if spot.slots:
            self.devices[spot.node, list(spot.slots)] += sign * request.milli
        self.held -= sign * request.demand
        self.changed.append(spot.node)


def tightest(free: Iterable[int], request: Request) -> tuple[int, ...]:
    """The slots that hold the request with the least left over; equal ones in order of their slot.

    ``free`` is the milli of each slot; the machine is known to have enough of them.
    """
    fitting = sorted((left, slot) for slot, left in enumerate(free) if left >= request.milli)
    return tuple(sorted(slot for _, slot in fitting[: request.gpus]))


def choices(request: Request, devices: Ints) -> Ints:
    """What is left of machines' devices after each choice of devices for the request; negative where it does not fit.

    Shapes (R, S) -> (R, choices, S): every slot for one device, one choice - the tightest devices - for several.
    """
    return _several(request, devices) if request.gpus > 1 else _each(request, devices)


def _each(request: Request, devices: Ints) -> Ints:
    """What is left where each slot in turn takes the request. Shapes (R, S) -> (R, S, S)."""
    left = np.repeat(devices[:, None, :], devices.shape[1], axis=1)
    every = np.arange(devices.shape[1])
    left[:, every, every] -= request.milli
    return left


def _several(request: Request, devices: Ints) -> Ints:
    """What is left where the tightest slots take the request. Shapes (R, S) -> (R, 1, S); negative if too few fit."""
    order = np.where(devices >= request.milli, devices, np.iinfo(np.int64).max).argsort(axis=1, kind="stable")
    taken = np.zeros_like(devices)
    np.put_along_axis(taken, order[:, : request.gpus], request.milli, axis=1)
    return (devices - taken)[:, None, :]
