"""The plain scheduler's decision in a pool that looks ahead: every device of every node looked at, one after the other.

Apart from the reference scheduler because it ranks places and not nodes, and it has nodes that it keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts
from tensorfusion.scheduling.fragmentation import LookAhead
from tensorfusion.testing.reference_foresight import (
    MIB,
    Kind,
    Node,
    Outlook,
    PlainMix,
    amounts_of,
    free_milli,
    is_much,
    kind_of,
    milli_of,
    milli_of_kind,
    outlook_of,
)


class Books(Protocol):
    """What is there, and who holds what."""

    nodes: dict[str, NodeFacts]
    on_node: dict[str, dict[str, PodFacts]]
    on_device: dict[str, dict[str, GpuRequest]]

    def held(self, device: str) -> tuple[int, int]: ...


@dataclass
class Place:
    """The best that a node has of one sort: its points, those without reluctance, and the devices that have them."""

    node: str
    points: int
    worth: int
    devices: list[DeviceFacts]


class PlainForesight:
    """One pool as of now. ``everyone``: its devices by node, in the order that breaks ties."""

    def __init__(
        self, books: Books, mix: PlainMix, parameters: LookAhead, everyone: dict[str, list[DeviceFacts]]
    ) -> None:
        self._books, self._set = books, parameters
        self._everyone = {
            node: sorted(devices, key=lambda one: (one.index, one.name)) for node, devices in everyone.items()
        }
        self._capacity = {node: (one[0].compute, one[0].vram) for node, one in self._everyone.items()}
        self._outlooks: dict[tuple[int, int], Outlook] = {}
        self._kinds: dict[tuple[int, int], Kind] = {}
        self._open: set[str] = set()
        """Nodes that take the pods that may come."""
        for capacity in set(self._capacity.values()):
            nodes = [self._everyone[node] for node, found in self._capacity.items() if found == capacity]
            kind = self._kinds[capacity] = kind_of([device for devices in nodes for device in devices], capacity)
            names = [node for node, found in self._capacity.items() if found == capacity]
            self._open |= {node for node in names if self._takes(node, names)}
            usable = [sum(map(_usable, self._everyone[node])) if node in self._open else 0 for node in names]
            self._outlooks[capacity] = outlook_of(mix, parameters, kind, usable)

    def _outlook(self, node: str) -> Outlook:
        return self._outlooks[self._capacity[node]]

    def _free(self, node: str, without: PodFacts | None = None) -> Node:
        """What is free of a node, and once the pod has its CPU and memory."""
        facts, pods = self._books.nodes.get(node), self._books.on_node.get(node, {}).values()
        cpu = max(0, (facts.cpu if facts else 0) - sum(pod.cpu for pod in pods))
        memory = (facts.memory if facts else 0) - sum(pod.memory for pod in pods)
        if without is not None:
            cpu, memory = cpu - without.cpu, memory - without.memory
        return cpu, max(0, memory) // MIB, tuple(self.free_of(device) for device in self._everyone[node])

    def free_of(self, device: DeviceFacts, more: tuple[int, int] = (0, 0)) -> int:
        if not _usable(device):
            return 0
        compute, vram = self._books.held(device.name)
        return free_milli(device, device.compute - compute - more[0], device.vram - vram - more[1])

    def _takes(self, node: str, alike: Sequence[str]) -> bool:
        """Whether pods may go there that tolerate what more than half of those tolerate who go to the nodes like it."""
        facts = self._books.nodes.get(node)
        others = [other for other in map(self._books.nodes.get, alike) if other and _may_take(other)]
        if not facts or not _may_take(facts):
            return False
        return all(2 * sum(taint in _taints(other) for other in others) > len(others) for taint in _taints(facts))

    def _installed(self, node: str) -> bool:
        """Whether the node is a whole one when nothing runs on it."""
        if node not in self._open:
            return False
        facts = self._books.nodes.get(node)
        devices = tuple(1000 if _usable(device) else 0 for device in self._everyone[node])
        return self._outlook(node).is_whole((facts.cpu, facts.memory // MIB, devices) if facts else (0, 0, devices))

    def _reluctance(self, node: str) -> int:
        """Milli-GPU by its place among the whole nodes of its kind; those that more of the jobs fit on come later."""
        alike = [one for one in self._everyone if self._capacity[one] == self._capacity[node] and self._installed(one)]
        alike.sort(key=self._taken)
        return self._set.rank * alike.index(node) // len(alike) if node in alike else 0

    def _taken(self, node: str) -> int:
        """What the whole-node jobs weigh that the empty node could take."""
        facts = self._books.nodes.get(node)
        cpu, memory = (facts.cpu, facts.memory // MIB) if facts else (0, 0)
        jobs = self._outlook(node).jobs.items()
        return sum(weight for size, weight in jobs if size[0] <= cpu and size[1] <= memory)

    def _wants_whole(self, node: str, pod: PodFacts) -> bool:
        gpus, milli = self._outlook(node).gpus, milli_of_kind(pod, self._kinds[self._capacity[node]])
        return pod.request is not None and pod.request.count == gpus and is_much(gpus, milli or 0)

    def kept(self, pod: PodFacts) -> set[str]:
        """The nodes that are kept from the pod for whole-node jobs."""
        found: set[str] = set()
        for capacity, outlook in self._outlooks.items():
            alike = [node for node in self._everyone if self._capacity[node] == capacity]
            free = {node for node in alike if self._installed(node) and outlook.is_whole(self._free(node))}
            running = sum(self._jobs(node, outlook.gpus) for node in alike if node in self._open)
            if 0 < len(free) <= outlook.expected - running and not self._wants_whole(alike[0], pod):
                found |= free
        return found

    def _jobs(self, node: str, gpus: int) -> int:
        taken = 0
        for device in self._everyone[node]:
            for request in self._books.on_device.get(device.name, {}).values():
                milli = milli_of(device, *amounts_of(device, request, None))
                taken += request.count == gpus and is_much(gpus, milli)
        return taken // gpus if gpus else 0

    def places(
        self,
        pod: PodFacts,
        request: GpuRequest,
        node: str,
        *,
        fitting: Sequence[tuple[DeviceFacts, Partition | None]],
        beside: int,
    ) -> tuple[Place | None, Place | None]:
        """The best hole and the best untouched place of a node. ``beside`` are points of other sources."""
        in_order = sorted(fitting, key=lambda one: (one[0].index, one[0].name))
        choices = [[one] for one in in_order]
        if request.count > 1:
            choices = [sorted(in_order, key=lambda one: self.free_of(one[0]))[: request.count]]
        holes: list[tuple[int, int, DeviceFacts]] = []
        untouched: list[tuple[int, int, DeviceFacts]] = []
        for choice in choices:
            gain, free = self._gain(pod, request, node, choice), self.free_of(choice[0][0])
            used = request.count == 1 and free < 1000
            (holes if used else untouched).append((gain, -free, choice[0][0]))
        less = 0 if self._wants_whole(node, pod) else self._reluctance(node)
        return self._best(node, holes, beside, 0), self._best(node, untouched, beside, less)

    def _gain(
        self,
        pod: PodFacts,
        request: GpuRequest,
        node: str,
        choice: Sequence[tuple[DeviceFacts, Partition | None]],
    ) -> int:
        """What is handed out, less what the node loses of its worth, over all streams."""
        outlook = self._outlook(node)
        cpu, memory, devices = self._free(node, pod)
        left, given = list(devices), 0
        for device, partition in choice:
            amounts = amounts_of(device, request, partition)
            left[self._everyone[node].index(device)] = self.free_of(device, amounts)
            given += milli_of(device, *amounts)
        return outlook.worth((cpu, memory, tuple(left))) - outlook.worth(self._free(node)) + self._set.streams * given

    def _best(self, node: str, found: list[tuple[int, int, DeviceFacts]], beside: int, less: int) -> Place | None:
        """The choices that win most, of those the ones with least left; points in 64ths, as preferences count."""
        if not found:
            return None
        gain, left, _ = max(found, key=lambda one: one[:2])
        alike = [device for *rank, device in found if rank == [gain, left]]
        unit = self._set.streams * self._set.grain
        worth = (2 * gain + unit) // (2 * unit)
        points = (2 * (gain - self._set.streams * less) + unit) // (2 * unit)
        return Place(node, 64 * points + beside, 64 * worth + beside, alike)


def in_order(holes: Sequence[Place], untouched: Sequence[Place]) -> list[Place]:
    """The places, the one to take first; each node once. Both in the order that breaks ties."""
    hole = max(holes, key=lambda place: place.points, default=None)
    other = max(untouched, key=lambda place: place.points, default=None)
    fills = hole is not None and (other is None or hole.points >= other.worth)
    first, second = (holes, untouched) if fills else (untouched, holes)
    found = sorted(first, key=lambda place: -place.points)
    known = {place.node for place in found}
    return found + sorted((place for place in second if place.node not in known), key=lambda place: -place.points)


def _usable(device: DeviceFacts) -> bool:
    return device.phase == "Running" and device.used_by in ("", "tensor-fusion")


def _may_take(node: NodeFacts) -> bool:
    return node.ready and not node.unschedulable


def _taints(node: NodeFacts) -> set[tuple[str, str, str]]:
    hard = ("NoSchedule", "NoExecute")
    return {(taint.key, taint.value, taint.effect) for taint in node.taints if taint.effect in hard}
