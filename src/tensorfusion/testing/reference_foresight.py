"""Fragmentation-aware placement written down plainly: what a place is worth, and which nodes are kept.

Beside the reference scheduler, and like it without any code of ``tensorfusion.scheduling`` but the fact types and the
parameters. It remembers every arrival, and plays every stream through one pod at a time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import DeviceFacts, PodFacts
from tensorfusion.scheduling.fragmentation import LookAhead
from tensorfusion.testing.reference_rules import covering, device_problem

MIB = 1 << 20
_WORD = 1 << 64
_SHARES = 1 << 30
"""What one arrival weighs in the mix where it counts in full."""
Size: TypeAlias = tuple[int, int, int, int]
"""Milli-CPU, MiB, devices, and thousandths of each of them."""
Node: TypeAlias = tuple[int, int, tuple[int, ...]]
"""Free milli-CPU, free MiB, free thousandths of each device."""


@dataclass
class Kind:
    """Devices of one capacity: what all of them are like, and who makes them."""

    example: DeviceFacts
    makes: set[tuple[str, str]]


def kind_of(devices: Sequence[DeviceFacts], capacity: tuple[int, int]) -> Kind:
    """The kind with this capacity; ``devices`` are all of its nodes, some of which may have another one."""
    in_order = sorted(devices, key=lambda device: (device.vendor, device.model, repr(device.profile)))
    profile = next((device.profile for device in in_order if device.profile is not None), None)
    example = DeviceFacts("", "", "", compute=capacity[0], vram=capacity[1], profile=profile)
    return Kind(example, {(device.vendor, device.model) for device in devices})


@dataclass
class Outlook:
    """What is expected of one kind of device: the streams, and what a whole node is."""

    streams: list[list[Size]]
    gpus: int
    light: tuple[int, int]
    """CPU and memory that the lighter whole-node jobs need."""
    expected: int
    """Whole-node jobs that would run if all devices of the kind were full of this mix."""
    jobs: dict[Size, int]
    """The whole-node jobs, and what they weigh."""
    known: dict[Node, int] = field(default_factory=dict)

    def worth(self, node: Node) -> int:
        """Milli-GPU that the streams fill of the node, all of them added up."""
        node = node[0], node[1], tuple(sorted(node[2]))
        if node not in self.known:
            self.known[node] = sum(_played(stream, node) for stream in self.streams)
        return self.known[node]

    def is_whole(self, node: Node) -> bool:
        whole = sum(milli == 1000 for milli in node[2]) == self.gpus
        return whole and node[0] >= self.light[0] and node[1] >= self.light[1]


def _played(stream: list[Size], node: Node) -> int:
    cpu, memory, devices = node[0], node[1], sorted(node[2])
    placed = 0
    for size in stream:
        roomy = [slot for slot, free in enumerate(devices) if free >= size[3]]
        if size[0] <= cpu and size[1] <= memory and len(roomy) >= size[2]:
            for slot in roomy[: size[2]]:
                devices[slot] -= size[3]
            cpu, memory = cpu - size[0], memory - size[1]
            devices.sort()
            placed += size[2] * size[3]
    return placed


class PlainMix:
    """The arrivals of one pool, and those of them that decisions go by."""

    def __init__(self, parameters: LookAhead) -> None:
        self._set = parameters
        self._arrivals: list[tuple[str, PodFacts]] = []
        self._taken = 0

    def add(self, pod: PodFacts) -> None:
        self._arrivals.append((pod.namespace, pod))
        if len(self._arrivals) >= max(self._taken + 1, self._taken * self._set.growth_percent // 100):
            self._taken = len(self._arrivals)

    def weights(self, kind: Kind) -> dict[str, Counter[Size]]:
        """By namespace the sizes that such devices can be asked for, and what they weigh."""
        totals = Counter(namespace for namespace, _ in self._arrivals[: self._taken])
        counts = Counter((namespace, _wish(pod)) for namespace, pod in self._arrivals[: self._taken])
        of = {_wish(pod): pod for _, pod in self._arrivals[: self._taken]}
        bound = self._bound(sorted(1024 * total for total in totals.values()), len(totals))
        weights: dict[str, Counter[Size]] = {}
        for (namespace, wish), count in counts.items():
            pod = of[wish]
            milli = milli_of_kind(pod, kind)
            if milli is not None and pod.request is not None:
                size = (pod.cpu, -(-pod.memory // MIB), pod.request.count, milli)
                total = 1024 * totals[namespace]
                weights.setdefault(namespace, Counter())[size] += max(
                    1, 1024 * count * min(total, bound) * (1 << 20) // total
                )
        return weights

    def by_demand(self, weights: dict[str, Counter[Size]], gpus: int) -> Counter[Size]:
        """What the sizes weigh where neither the whole-node jobs of a namespace nor its others exceed its part."""
        parts = []
        for its in weights.values():
            whole = Counter({size: weight for size, weight in its.items() if _is_whole(size, gpus)})
            parts += [whole, its - whole]
        namespaces = sum(_demand(its, gpus) > 0 for its in weights.values())
        demands = [_demand(part, gpus) for part in parts]
        bound = self._bound(sorted(filter(None, demands)), namespaces)
        found: Counter[Size] = Counter()
        for part, demand in zip(parts, demands, strict=True):
            for size, weight in part.items():
                found[size] += max(1, weight * min(demand, bound) // demand) if size[3] else 0
        return found

    def _bound(self, totals: list[int], tenants: int) -> int:
        """How much of one total counts, so that none weighs more than a tenant's part."""
        part, parts = (self._set.most_percent, 100) if self._set.most_percent * tenants >= 100 else (1, tenants)
        for bounded in range(len(totals)):
            others = totals[: len(totals) - bounded]
            bound = part * sum(others) // (parts - part * bounded)
            if others[-1] <= bound:
                return bound
        return 0


def outlook_of(mix: PlainMix, parameters: LookAhead, kind: Kind, nodes: Sequence[int]) -> Outlook:
    """What is expected of the nodes of one kind, which have so many devices that can be had."""
    by_namespace = mix.weights(kind)
    sizes = set(nodes) - {0}
    asked_whole = {size[2] for its in by_namespace.values() for size in its if _is_whole(size, size[2])}
    gpus = max(sizes & asked_whole, default=max(sizes, default=0))
    weights = mix.by_demand(by_namespace, gpus)
    jobs = {size: weight for size, weight in weights.items() if _is_whole(size, gpus)}
    demand, share = _demand(weights, gpus), _demand(jobs, gpus)
    devices = 1000 * sum(nodes)
    return Outlook(
        _streams(sum(by_namespace.values(), Counter()), parameters),
        gpus,
        (_lighter([(size[0], w) for size, w in jobs.items()]), _lighter([(size[1], w) for size, w in jobs.items()])),
        share * devices // (max(1, demand) * gpus * 1000) if gpus else 0,
        jobs,
    )


def is_much(gpus: int, milli: int) -> bool:
    """Whether two such jobs do not fit on the devices of one; of a single device, whether it is all of it."""
    return milli > 500 if gpus > 1 else milli >= 1000


def _is_whole(size: Size, gpus: int) -> bool:
    return size[2] == gpus and is_much(gpus, size[3])


def _demand(weights: Mapping[Size, int], gpus: int) -> int:
    """Thousandths of devices; a job that leaves no room for another one like it counts for the whole node."""
    return sum((1000 * gpus if _is_whole(size, gpus) else size[2] * size[3]) * w for size, w in weights.items())


def _lighter(weighted: list[tuple[int, int]]) -> int:
    """The lower quartile."""
    seen, total = 0, sum(weight for _, weight in weighted)
    for value, weight in sorted(weighted):
        seen += weight
        if 4 * seen >= total:
            return value
    return 0


def _streams(weights: Counter[Size], parameters: LookAhead) -> list[list[Size]]:
    sizes = [(size, weight) for size, weight in sorted(weights.items()) if size[2] * size[3]]
    total = sum(weight for _, weight in sizes)
    streams: list[list[Size]] = []
    number = 0
    for _ in range(parameters.streams):
        stream: list[Size] = []
        for _ in range(parameters.length if sizes else 0):
            number = (number + 0x9E3779B97F4A7C15) % _WORD
            mark, passed = _scattered(number) * total // _WORD, 0
            for size, weight in sizes:
                passed += weight
                if mark < passed:
                    stream.append(size)
                    break
        streams.append(stream)
    return streams


def _scattered(number: int) -> int:
    """SplitMix64."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % _WORD
    number = (number ^ number >> 27) * 0x94D049BB133111EB % _WORD
    return number ^ number >> 31


def _wish(pod: PodFacts) -> tuple[object, ...]:
    request = pod.request or GpuRequest("")
    percent = 0 if request.compute else request.percent
    isolation = request.isolation if request.isolation in ("shared", "partitioned") else ""
    amounts = (request.count, request.compute, percent, request.vram)
    return (pod.cpu, -(-pod.memory // MIB), *amounts, isolation, request.partition, request.vendor, request.model)


def milli_of_kind(pod: PodFacts, kind: Kind) -> int | None:
    """Thousandths of one device of a kind; None where none of them can ever give that much to such a pod."""
    request, first = pod.request, kind.example
    if request is None:
        return None
    wishes = GpuRequest("", vendor=request.vendor, model=request.model, isolation=request.isolation)
    if all(device_problem(replace(first, vendor=vendor, model=model), wishes) for vendor, model in kind.makes):
        return None
    if request.isolation == "partitioned":
        forms = covering(first, request)
        return milli_of(first, forms[0].compute_of(first.compute), forms[0].vram) if forms else None
    if request.isolation == "shared":
        return 1000
    found = milli_of(first, request.compute or first.compute * request.percent // 100_000, request.vram)
    return found if found <= 1000 else None


def milli_of(device: DeviceFacts, compute: int, vram: int) -> int:
    """Thousandths of a device that such a share takes, of whichever it takes more of; rounded up."""
    parts = []
    for amount, capacity in ((compute, device.compute), (vram, device.vram)):
        parts.append(1001 if amount > capacity else -(-1000 * amount // capacity) if capacity else 0)
    return max(parts)


def free_milli(device: DeviceFacts, compute: int, vram: int) -> int:
    """Thousandths of a device that are free where so much is, of whichever less is; rounded down."""
    parts = [1000]
    for free, capacity in ((compute, device.compute), (vram, device.vram)):
        if capacity:
            parts.append(1000 * max(0, min(free, capacity)) // capacity)
    return min(parts)


def amounts_of(device: DeviceFacts, request: GpuRequest, partition: Partition | None) -> tuple[int, int]:
    """GFLOPS and bytes that a share takes of a device."""
    if request.isolation == "shared":
        return device.compute, device.vram
    if partition is not None:
        return partition.compute, partition.vram
    return request.compute or device.compute * request.percent // 100_000, request.vram
