"""What a cluster's own arrivals look like, learned as they come, in bounded memory and with no tenant in charge of it.

A policy that looks ahead needs to know what will be asked for. Nobody tells it: every arrival counts, also one that is
turned away - else a policy would learn only what it already serves well. Counts are kept by exact size; grids of sizes
were left out, since whether two pods make up one device is decided by exact sizes.

Two bounds hold whatever arrives. *Memory*: at most ``classes`` sizes are known; when one more comes, the tenant that
has most of them loses its rarest, so a tenant with no more than ``classes`` / tenants sizes never loses any. *Weight*:
with T tenants none counts for more than the larger of ``most_percent`` and 100 / T percent of the mix, however many
pods it sends. Tenants are namespaces; one that can make many namespaces has to be kept from it elsewhere.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

_SCALE = 1 << 20
"""Units of weight of one arrival that counts in full."""
WHOLE = 1000
"""Thousandths of a device that are all of it."""
ARRIVAL = 1 << 10
"""What one arrival counts for at first: it can be halved ten times before it is forgotten."""
IDLE = 3
"""Halvings after which a tenant is forgotten of whom nothing comes."""
_LIGHT_PERCENT = 25


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


@dataclass(frozen=True, slots=True)
class Mix:
    """Which sizes arrive how often: an immutable copy of what has been learned. Ascending by size; weights above 0."""

    sizes: Sequence[Size] = ()
    weights: Sequence[int] = ()

    def whole(self, gpus: int) -> list[tuple[Size, int]]:
        """The jobs that want this many whole devices, with their weights."""
        pairs = zip(self.sizes, self.weights, strict=True)
        return [(size, weight) for size, weight in pairs if size.gpus == gpus and size.milli == WHOLE]

    def whole_share(self, gpus: int) -> tuple[int, int]:
        """The part of the demand for devices that comes from jobs of this many whole ones, as a fraction."""
        demand = sum(size.demand * weight for size, weight in zip(self.sizes, self.weights, strict=True))
        return sum(size.demand * weight for size, weight in self.whole(gpus)), max(1, demand)

    def light(self, gpus: int) -> tuple[int, int]:
        """CPU and memory that the lighter jobs of this many whole devices need: each the lower quartile; 0 without any.

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

    def weights(self) -> list[tuple[_Size, int]]:
        """What has been learned so far: sizes, ascending, and how much each weighs in the mix."""
        weights: dict[_Size, int] = {}
        level = _level(sorted(its.total for its in self._tenants.values()), self._most_percent)
        for its in self._tenants.values():
            for size, count in its.counts.items():
                weights[size] = weights.get(size, 0) + max(1, count * min(its.total, level) * _SCALE // its.total)
        return sorted(weights.items())

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
            if self._known == self._classes:
                self._forget_one()
            its = self._tenants.setdefault(tenant, _Tenant())  # looked up again: it may have lost its only size
            self._known += 1
        its.counts[size] = its.counts.get(size, 0) + amount
        its.total += amount
        return its

    def _forget_one(self) -> None:
        name, its = min(self._tenants.items(), key=lambda item: (-len(item[1].counts), item[1].total, item[0]))
        rarest = min(its.counts, key=lambda size: (its.counts[size], size))
        its.total -= its.counts.pop(rarest)
        self._known -= 1
        if not its.counts:
            del self._tenants[name]


class ArrivalMix(Arrivals[Size]):
    """Arrivals whose sizes are those of the devices at hand."""

    def mix(self) -> Mix:
        """What has been learned so far."""
        return mix_of(self.weights())


def mix_of(weighted: Iterable[tuple[Size, int]]) -> Mix:
    """The mix of these sizes; equal ones are added up."""
    weights: dict[Size, int] = {}
    for size, weight in weighted:
        weights[size] = weights.get(size, 0) + weight
    found = sorted(weights.items())
    return Mix([size for size, _ in found], [weight for _, weight in found])


@dataclass(slots=True)
class _Tenant(Generic[_Size]):
    counts: dict[_Size, int] = field(default_factory=dict)
    total: int = 0
    idle: int = 0
    """How often all was halved since something came."""


def _level(totals: Sequence[int], most_percent: int) -> int:
    """The arrivals of one tenant that count: so many that none who has more exceeds its part. ``totals`` ascending.

    With m tenants above the level L, and the others' arrivals adding up to R, L is the part p of R + m L.
    """
    part, whole = most_percent, 100
    if part * len(totals) < whole:
        part, whole = 1, len(totals)  # fewer tenants than parts: all alike
    for above in range(len(totals)):
        below = totals[: len(totals) - above]
        level = part * sum(below) // (whole - part * above)
        if below[-1] <= level:
            return level
    return 0  # nobody has arrived


def _quartile(weighted: list[tuple[int, int]]) -> int:
    seen, weight = 0, sum(each for _, each in weighted)
    for value, each in sorted(weighted):
        seen += each
        if seen * 100 >= _LIGHT_PERCENT * weight:
            return value
    return 0
