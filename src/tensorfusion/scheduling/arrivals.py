"""What a cluster's own arrivals look like, learned as they come, in bounded memory and with no tenant in charge of it.

A policy that looks ahead needs to know what will be asked for. Nobody tells it: every arrival counts, also one that is
turned away - else a policy would learn only what it already serves well. Counts are kept by exact size; grids of sizes
were left out, since whether two pods make up one device is decided by exact sizes.

Three bounds hold whatever arrives. *Memory*: at most ``classes`` sizes are known; when one more comes, an eighth of
them is forgotten at once, the rarest of the tenants that have most, so a tenant with no more than seven eighths of
``classes`` / tenants sizes never loses any. *Weight*: with T tenants none counts for more than the larger of
``most_percent`` and 100 / T percent of the mix, however many pods it sends. *Demand*: where demand counts and not
arrivals, neither its whole-node jobs nor all its others count for more than that of the demand, however large they are
(``fair_mix``). A tenant of whom nothing comes is less and less of one: the part of the others grows, and none of them
has a say in how fast. Tenants are namespaces; one that can make many namespaces has to be kept from it elsewhere.
"""

import heapq
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

_SCALE = 1 << 20
"""Units of weight of one arrival that counts in full."""
WHOLE = 1000
"""Thousandths of a device that are all of it."""
ARRIVAL = 1 << 10
"""What one arrival counts for at first: it can be halved ten times before it is forgotten."""
IDLE = 9
"""Halvings after which a tenant is forgotten of whom nothing comes."""
_TENANT = 1 << IDLE
"""Units of one tenant of whom something came lately."""
_IN_FULL = _SCALE * ARRIVAL
"""The largest weight of a fair mix is no less: whole numbers of its size give nobody more than its part by rounding."""
_LIGHT_PERCENT = 25
_PARTS = 8
"""One of so many sizes is forgotten when there are too many."""


class _Ordered(Hashable, Protocol):
    def __lt__(self, other: Any, /) -> bool:  # dataclasses compare with their own kind alone
        ...


_Size = TypeVar("_Size", bound=_Ordered)


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """What one pod asks for: milli-CPU, MiB, and ``milli`` thousandths of each of ``gpus`` devices of one node."""

    cpu: int
    memory: int
    gpus: int
    milli: int

    @property
    def demand(self) -> int:
        """Milli-GPU in all."""
        return self.gpus * self.milli

    def is_whole(self, gpus: int) -> bool:
        """Whether it needs a node of so many devices for itself."""
        return self.gpus == gpus and needs_all(gpus, self.milli)

    def takes(self, gpus: int) -> int:
        """Milli-GPU in all beside jobs that need nodes of so many devices: each of these counts for the node."""
        return gpus * WHOLE if self.is_whole(gpus) else self.demand


def needs_all(gpus: int, milli: int) -> bool:
    """Whether who asks for so much of each of ``gpus`` devices needs a node with as many for itself.

    More than half of each of several is enough, for no two of them share a node; of a single device only all of it is,
    else shares of more than half would be no shares any more.
    """
    return milli > (WHOLE // 2 if gpus > 1 else WHOLE - 1)


@dataclass(frozen=True, slots=True)
class Part(Generic[_Size]):
    """What one tenant asks for: sizes, each once, and what each weighs."""

    weights: Sequence[tuple[_Size, int]]
    idle: int = 0
    """How often all was halved since something came of it: it is half a tenant after the first time, and so on."""


Weighted: TypeAlias = Sequence[Part[Size]]
"""By tenant."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Which sizes arrive how often: an immutable copy of what has been learned. Ascending by size; weights above 0."""

    sizes: Sequence[Size] = ()
    weights: Sequence[int] = ()

    def whole(self, gpus: int) -> list[tuple[Size, int]]:
        """The jobs that need a node of so many devices for themselves, with their weights."""
        pairs = zip(self.sizes, self.weights, strict=True)
        return [(size, weight) for size, weight in pairs if size.is_whole(gpus)]

    def whole_share(self, gpus: int) -> tuple[int, int]:
        """The part of the demand for devices that comes from jobs of nodes with so many, as a fraction."""
        demand = sum(size.takes(gpus) * weight for size, weight in zip(self.sizes, self.weights, strict=True))
        return sum(size.takes(gpus) * weight for size, weight in self.whole(gpus)), max(1, demand)

    def light(self, gpus: int) -> tuple[int, int]:
        """CPU and memory that the lighter jobs of nodes with so many devices need: the lower quartiles; 0 without any.

        Not the least: that would be the choice of any single pod.
        """
        jobs = self.whole(gpus)
        return (
            _quartile([(size.cpu, weight) for size, weight in jobs]),
            _quartile([(size.memory, weight) for size, weight in jobs]),
        )


class Arrivals(Generic[_Size]):
    """Counts of anything that has a size, and the bounds on them. See the module."""

    def __init__(self, *, classes: int, most_percent: int) -> None:
        self._classes, self._most_percent = classes, most_percent
        self._tenants: dict[str, _Tenant[_Size]] = {}
        self._known = 0
        self.count = 0
        """Arrivals so far, those that were forgotten in part counted by what is left of them."""

    def add(self, size: _Size, tenant: str = "") -> None:
        """One has arrived."""
        self.count += 1
        self._put(tenant, size, ARRIVAL).idle = 0

    def weights(self) -> list[Part[_Size]]:
        """What has been learned so far, by tenant in the order of names; sizes ascending."""
        totals = [(its.total, its.idle) for its in self._tenants.values()]
        level = _SCALE * _level(totals, self._most_percent, tenants=[idle for _, idle in totals])
        found = []
        for _, its in sorted(self._tenants.items()):
            counts = min(its.total * _SCALE, level >> its.idle)
            weights = [(size, max(1, count * counts // its.total)) for size, count in sorted(its.counts.items())]
            found.append(Part(weights, its.idle))
        return found

    def halve(self) -> None:
        """What has arrived so far counts for half from here on; what counts for next to nothing is forgotten.

        So is a tenant of whom nothing came for ``IDLE`` times: its part of the mix would be the same to the last.
        """
        self.count //= 2
        before, self._tenants, self._known = self._tenants, {}, 0
        for name, its in before.items():
            for size, count in its.counts.items():
                if count > 1 and its.idle + 1 < IDLE:
                    self._put(name, size, count // 2).idle = its.idle + 1

    def total(self, tenant: str) -> int:
        """What all arrivals of a tenant count for, of which ``ARRIVAL`` are one arrival."""
        return self._tenants[tenant].total if tenant in self._tenants else 0

    def halve_tenant(self, tenant: str) -> None:
        """What has arrived of a tenant counts for half from here on; others' arrivals do not change."""
        its = self._tenants.pop(tenant)
        self._known -= len(its.counts)
        for size, count in its.counts.items():
            if count > 1:
                self._put(tenant, size, count // 2).idle = its.idle
        self.count = max(0, self.count - (its.total - self.total(tenant)) // ARRIVAL)

    @property
    def idle(self) -> dict[str, int]:
        """By tenant how often all was halved since something came of it; those of whom something did are left out."""
        return {name: its.idle for name, its in self._tenants.items() if its.idle}

    def counts(self) -> dict[str, dict[_Size, int]]:
        """By tenant and size, in units of which ``ARRIVAL`` are one arrival: all there is to know, for ``restore``."""
        return {name: dict(its.counts) for name, its in self._tenants.items()}

    def restore(
        self, counts: Mapping[str, Mapping[_Size, int]], *, count: int, idle: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Know what was known elsewhere, and nothing else. Counts are above 0; the bounds hold here, too."""
        self._tenants, self._known, self.count = {}, 0, count
        for tenant, sizes in counts.items():
            for size, amount in sizes.items():
                self._put(tenant, size, amount).idle = idle.get(tenant, 0)

    def _put(self, tenant: str, size: _Size, amount: int) -> "_Tenant[_Size]":
        its = self._tenants.get(tenant)
        if its is None or size not in its.counts:
            if self._known >= self._classes:
                self._forget_some()
            its = self._tenants.setdefault(tenant, _Tenant())  # looked up again: it may have lost its only size
            self._known += 1
        its.counts[size] = its.counts.get(size, 0) + amount
        its.total += amount
        return its

    def _forget_some(self) -> None:
        """An eighth of all sizes at once, since to look for the rarest costs more than to forget them."""
        most = [(-len(its.counts), its.total, name) for name, its in self._tenants.items()]
        heapq.heapify(most)
        losses: Counter[str] = Counter()
        for _ in range(max(1, self._classes // _PARTS)):
            number, total, name = most[0]
            heapq.heapreplace(most, (number + 1, total, name))
            losses[name] += 1
        for name, number in losses.items():
            its = self._tenants[name]
            for size in sorted(its.counts, key=its.counts.__getitem__)[:number]:  # of equal ones the longest known
                its.total -= its.counts.pop(size)
            self._known -= number
            if not its.counts:
                del self._tenants[name]


class ArrivalMix(Arrivals[Size]):
    """Arrivals whose sizes are those of the devices at hand."""

    def mix(self) -> Mix:
        """What has been learned so far."""
        return mix_of(pair for its in self.weights() for pair in its.weights)


def mix_of(weighted: Iterable[tuple[Size, int]]) -> Mix:
    """The mix of these sizes; equal ones are added up."""
    weights: dict[Size, int] = {}
    for size, weight in weighted:
        weights[size] = weights.get(size, 0) + weight
    found = sorted(weights.items())
    return Mix([size for size, _ in found], [weight for _, weight in found])


def fair_mix(tenants: Weighted, *, gpus: int, most_percent: int) -> Mix:
    """The mix of what these tenants ask for, by which devices are shared out to jobs of nodes with ``gpus`` of them.

    A quarter of the arrivals can be nearly all of the demand. So of no tenant such jobs count for more of the demand
    than its part, nor do all its others, which would leave them none. Both are apart since one bound for both would
    make four tenants alike, also one that asks for little. Of one tenant it is the mix of its arrivals.
    """
    parts: list[tuple[list[tuple[Size, int]], int]] = []
    for its in tenants:
        asking = [(size, weight) for size, weight in its.weights if size.demand]
        parts.append(([one for one in asking if one[0].is_whole(gpus)], its.idle))
        parts.append(([one for one in asking if not one[0].is_whole(gpus)], its.idle))
    demands = [sum(size.takes(gpus) * weight for size, weight in part) for part, _ in parts]
    asked = [(demand, idle) for demand, (_, idle) in zip(demands, parts, strict=True) if demand]
    known = [its.idle for its, *both in zip(tenants, demands[::2], demands[1::2], strict=True) if any(both)]
    level = _level(asked, most_percent, tenants=known)
    counted = [
        (size, weight * min(demand, level >> idle), demand)
        for (part, idle), demand in zip(parts, demands, strict=True)
        for size, weight in part
    ]
    finer = max(1, _IN_FULL // max((1, *(weight // demand for _, weight, demand in counted))))
    return mix_of((size, max(1, weight * finer // demand)) for size, weight, demand in counted)


@dataclass(slots=True)
class _Tenant(Generic[_Size]):
    counts: dict[_Size, int] = field(default_factory=dict)
    total: int = 0
    idle: int = 0
    """How often all was halved since something came."""


def _level(totals: Iterable[tuple[int, int]], most_percent: int, *, tenants: Sequence[int]) -> int:
    """How much of one total counts, so that none that is more exceeds a tenant's part.

    With each total comes how long its tenant has been idle, and ``tenants`` are these of all of them: who was idle for
    n times is a tenant to the 2^-n part, and so much of the level counts of it. With totals above the level L, of
    tenants that are m in all, and the others adding up to R, L is the part p of R + m L.
    """
    present = sum(_TENANT >> idle for idle in tenants)
    part, whole = most_percent, 100
    if part * present < whole * _TENANT:
        part, whole = _TENANT, present  # fewer tenants than parts: all alike
    below = sorted((total << idle, total, _TENANT >> idle) for total, idle in totals)  # the highest for its part last
    rest, above = sum(total for _, total, _ in below), 0
    while below:
        level = part * rest * _TENANT // (whole * _TENANT - part * above)
        highest, total, presence = below.pop()
        if highest <= level:
            return level
        rest, above = rest - total, above + presence
    return 0  # nobody has arrived


def _quartile(weighted: list[tuple[int, int]]) -> int:
    seen, weight = 0, sum(each for _, each in weighted)
    for value, each in sorted(weighted):
        seen += each
        if seen * 100 >= _LIGHT_PERCENT * weight:
            return value
    return 0
