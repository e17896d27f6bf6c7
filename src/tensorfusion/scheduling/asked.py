"""What a pod asks for, whatever devices there are, and how much of one device that comes to.

Apart from the mix that is learned (``arrivals``) because a pool's devices may be unequal, and come and go: what arrives
is learned as it was asked for, and turned into thousandths of a *kind* of device when somebody looks ahead. Kinds are
told apart by capacity. The thousandths of a share are those of the resource that it takes most of.

Only ranking stands on these numbers: whether a share fits is decided by amounts, never by thousandths.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from tensorfusion.model.catalogue import model_matches
from tensorfusion.model.partitions import Profile
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.arrivals import WHOLE, Size
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.partitions import Layout, covering
from tensorfusion.scheduling.quota import compute_on

MIB = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Asked:
    """One pod's wishes. Units: milli-CPU, MiB rounded up; of each device GFLOPS or milli-percent, and bytes."""

    cpu: int
    memory: int
    count: int
    compute: int = 0
    percent: int = 0
    vram: int = 0
    isolation: str = ""
    """``shared`` for whole devices, ``partitioned``, or nothing where amounts are all that count."""
    partition: str = ""
    vendor: str = ""
    model: str = ""

    @property
    def request(self) -> GpuRequest:
        """The same as a request."""
        return GpuRequest(
            "",
            count=self.count,
            compute=self.compute,
            percent=self.percent,
            vram=self.vram,
            isolation=Isolation(self.isolation) if self.isolation else Isolation.SOFT,
            partition=self.partition,
            vendor=self.vendor,
            model=self.model,
        )


_LONGEST = 63
"""Letters that are kept of what a pod names: memory is bounded, whatever somebody writes into an annotation."""
_TOLD_APART = (Isolation.SHARED, Isolation.PARTITIONED)
MOST = 1 << 50
"""Of any amount that a pod asks for so much counts at most: far more than a node has, and columns can add it up."""
MOST_DEVICES = 1 << 16


def asked_of(pod: PodFacts, request: GpuRequest) -> Asked:
    """What the pod asks for, of each amount ``MOST`` at most; ``request`` is its own."""
    return Asked(
        cpu=min(pod.cpu, MOST),
        memory=min(-(-pod.memory // MIB), MOST),
        count=min(request.count, MOST_DEVICES),
        compute=min(request.compute, MOST),
        percent=0 if request.compute else min(request.percent, MOST),
        vram=min(request.vram, MOST),
        isolation=str(request.isolation) if request.isolation in _TOLD_APART else "",
        partition=request.partition[:_LONGEST],
        vendor=request.vendor[:_LONGEST],
        model=request.model[:_LONGEST],
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """Devices of one capacity, in GFLOPS and bytes. ``makes``: their vendors and models."""

    compute: int
    vram: int
    makes: frozenset[tuple[str, str]] = field(default=frozenset({("", "")}))
    profile: Profile | None = None
    """What they can be cut into."""

    def milli(self, asked: Asked) -> int | None:
        """Thousandths of one device that each share takes; None where no device of the kind can ever give it."""
        if not any(_is_wanted(asked, vendor, model) for vendor, model in self.makes):
            return None
        if asked.isolation == Isolation.SHARED:
            return WHOLE
        request = asked.request
        compute, vram = compute_on(request, self.compute), asked.vram
        if asked.isolation == Isolation.PARTITIONED:
            if self.profile is None:
                return None
            forms = covering(Layout(self.profile, self.compute, self.vram), request)
            if not forms:
                return None
            compute, vram = forms[0].compute_of(self.compute), forms[0].vram
        milli = max(part_of(compute, self.compute), part_of(vram, self.vram))
        return milli if milli <= WHOLE else None

    def sizes(self, weighted: Iterable[tuple[Asked, int]]) -> list[tuple[Size, int]]:
        """What of a mix can be asked of such devices, as sizes with their weights."""
        found = []
        for asked, weight in weighted:
            milli = self.milli(asked)
            if milli is not None:
                found.append((Size(asked.cpu, asked.memory, asked.count, milli), weight))
        return found


def part_of(amount: int, capacity: int) -> int:
    """Thousandths of the capacity, rounded up; more than all of it where there is not enough."""
    if amount > capacity:
        return WHOLE + 1
    return -(-WHOLE * amount // capacity) if capacity else 0


@lru_cache(maxsize=4096)
def _matches(wanted: str, model: str) -> bool:
    return model_matches(wanted, model)


def _is_wanted(asked: Asked, vendor: str, model: str) -> bool:
    return asked.vendor in ("", vendor) and (not asked.model or _matches(asked.model, model))
