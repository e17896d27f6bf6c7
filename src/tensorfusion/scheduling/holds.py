"""Who holds what: one device with its holders, one pod with its devices.

Apart from the columns because this is the truth that the columns are computed from, and it outlives them: a device that
is gone keeps its holders, and what they hold counts again when it returns. Amounts follow the device's capacity as last
seen: a share in percent, and a shared (whole) device, change with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.facts import DeviceFacts, Placement, PodFacts
from tensorfusion.scheduling.quota import Usage, compute_on, usage_of, usage_of_amounts, usage_of_each

SHARED: Final = Isolation.SHARED
"""It and ``PARTITIONED`` are compared with for every pod: looking a member up in its enum takes ten times as long."""
PARTITIONED: Final = Isolation.PARTITIONED
MODE_BIT: dict[Isolation, int] = {mode: 1 << place for place, mode in enumerate(Isolation)}


@dataclass(slots=True, eq=False)
class Device:
    """One device and what is held of it; ``facts`` is None while it is absent but pods hold shares of it."""

    name: str
    number: int
    """Its place in columns over all devices; another one's once this one is forgotten."""
    facts: DeviceFacts | None = None
    row: int = -1
    slot: int = -1
    compute: int = 0
    """Capacity in GFLOPS as last seen."""
    vram: int = 0
    """Capacity in bytes as last seen."""
    compute_held: int = 0
    vram_held: int = 0
    node_part: int = 0
    """What the device adds to the sum of its node's score."""
    holders: dict[str, GpuRequest] = field(default_factory=dict)
    """Request of each pod that holds a share, by uid."""
    modes: int = 0
    """Bits of the isolation modes in use."""
    promised: frozenset[str] = frozenset()
    """Holders, by uid, that are only nominated: the device is theirs once others have left it."""
    partitions: dict[str, Partition] = field(default_factory=dict)
    """The hardware partition of each pod that holds one, by uid."""
    layout: int = -1
    """The number of the device's layout in its pool; -1 where it cannot be cut."""

    @property
    def compute_free(self) -> int:
        return self.compute - self.compute_held

    @property
    def vram_free(self) -> int:
        return self.vram - self.vram_held

    @property
    def overfull(self) -> bool:
        """More is held than there is, by pods that have it or that it is promised to."""
        return self.compute_held > self.compute or self.vram_held > self.vram

    @property
    def overcommitted(self) -> bool:
        """Live pods hold more than there is."""
        if not self.promised:
            return self.overfull
        live = [self.amounts(request) for uid, request in self.holders.items() if uid not in self.promised]
        compute, vram = sum(amounts[0] for amounts in live), sum(amounts[1] for amounts in live)
        return compute > self.compute or vram > self.vram

    def amounts(self, request: GpuRequest) -> tuple[int, int]:
        """GFLOPS and bytes that a share of this request takes here; shared takes all there is."""
        if request.isolation is SHARED:
            return self.compute, self.vram
        return request.compute or compute_on(request, self.compute), request.vram

    def hold(self, uid: str, request: GpuRequest, partition: Partition | None = None) -> None:
        """Give the pod its share; in a partition it has the partition's size."""
        if partition is not None:
            request = partition.share(request)
            self.partitions[uid] = partition
        compute, vram = request.compute, request.vram
        if not compute or request.isolation is SHARED:
            compute, vram = self.amounts(request)
        self.compute_held += compute
        self.vram_held += vram
        self.holders[uid] = request
        self.modes |= MODE_BIT[request.isolation]

    def drop(self, uid: str) -> None:
        """Take the pod's share back."""
        self.partitions.pop(uid, None)
        if self.promised:
            self.promised -= {uid}
        request = self.holders.pop(uid)
        compute, vram = self.amounts(request)
        self.compute_held -= compute
        self.vram_held -= vram
        for other in self.holders.values():
            if other.isolation is request.isolation:
                return
        self.modes &= ~MODE_BIT[request.isolation]

    def resize(self, compute: int, vram: int) -> None:
        """A new capacity: every holder's amounts follow."""
        self.compute, self.vram = compute, vram
        held = [self.amounts(request) for request in self.holders.values()]
        self.compute_held = sum(amounts[0] for amounts in held)
        self.vram_held = sum(amounts[1] for amounts in held)


class Allocation(msgspec.Struct, eq=False):  # a quarter of what a dataclass costs to make: every charge makes one
    """One live pod: where it is, and whether the API server has confirmed it."""

    pod: PodFacts
    placement: Placement
    confirmed: bool
    devices: tuple[Device, ...] = ()
    nominated: bool = False
    """The pod waits for others to leave: it is charged beside them, so that nobody else takes what they leave."""
    awaits: frozenset[str] = frozenset()
    """Uids of those others; the same for all pods that wait together."""

    @property
    def shares(self) -> tuple[GpuRequest, ...]:
        """What the pod asks of each of its devices, in its partitions' sizes."""
        request = self.pod.request
        if request is None:
            return ()
        return shares_of(request, self.placement, len(self.devices))

    @property
    def usage(self) -> Usage:
        """What the pod counts for in its namespace's quota."""
        request = self.pod.request
        if request is None:
            return Usage()
        if not self.placement.partitions:
            if not (request.percent or request.percent_limit):  # then no capacity counts
                return usage_of_amounts(request, len(self.devices))
            return usage_of(request, self._capacities)
        return usage_of_each(self.shares, self._capacities)

    @property
    def _capacities(self) -> list[int]:
        """GFLOPS of each device as last seen; of one that nobody saw here, as the pod's Binding says."""
        written = self.placement.capacities
        if not written:
            return [device.compute for device in self.devices]
        return [device.compute or told for device, told in zip(self.devices, written, strict=True)]

    def amounts(self) -> Iterator[tuple[Device, int, int]]:
        """GFLOPS and bytes that the pod holds of each of its devices."""
        for device, share in zip(self.devices, self.shares, strict=True):
            yield device, *device.amounts(share)


def shares_of(request: GpuRequest, placement: Placement, count: int) -> tuple[GpuRequest, ...]:
    """What a pod asks of each of ``count`` devices, in the sizes of its partitions where it has some."""
    partitions = placement.partitions
    if not partitions:
        return (request,) * count
    return tuple(partitions[i].share(request) if i < len(partitions) else request for i in range(count))
