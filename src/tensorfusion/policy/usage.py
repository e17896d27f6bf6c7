"""Who holds what, by device and by namespace, kept exact while pods come and go.

Every change costs as much as the pod's own devices, never a scan of all pods: a share remembers what it was charged,
and exactly that is taken back. A percentage is a part of the device it lies on, so a device that changes its capacity
re-charges its own shares and nobody else's. The scheduler keeps its own ledger for decisions; this one serves status,
and counts a share with the same functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.policy.capacity import Amount
from tensorfusion.scheduling.quota import Usage, compute_on, limit_on


@dataclass(frozen=True, slots=True)
class Share:
    """What one live pod holds: the same request on each of its devices."""

    uid: str
    namespace: str
    name: str
    workload: str
    request: GpuRequest
    devices: tuple[str, ...]
    partitions: tuple[Partition, ...] = ()
    """Its hardware partitions in the order of its devices; empty unless it is partitioned."""
    since: str = ""
    """When the pod was made, RFC 3339."""
    capacities: tuple[int, ...] = ()
    """GFLOPS of its devices when it got them, in their order; empty where nobody wrote that down."""

    def on(self, device: str) -> GpuRequest:
        """What it asks of one of its devices, in its partition's size."""
        partition = self.partition(device)
        return self.request if partition is None else partition.share(self.request)

    def capacity(self, device: str) -> int:
        """GFLOPS of one of its devices when it got it; 0 where nobody wrote that down."""
        return self.capacities[self.devices.index(device)] if self.capacities else 0

    def partition(self, device: str) -> Partition | None:
        """Its partition of one of its devices."""
        return self.partitions[self.devices.index(device)] if self.partitions else None


@dataclass(frozen=True, slots=True)
class Charge:
    """What one share takes of one device. ``held`` is what nobody else can have; ``requests`` is what was asked."""

    held: Amount
    requests: Amount
    limits: Amount


@dataclass(slots=True)
class DeviceUsage:
    """One device: its capacity (unknown is zero) and the shares on it by pod uid."""

    capacity: Amount = field(default_factory=Amount)
    charges: dict[str, tuple[Share, Charge]] = field(default_factory=dict)
    held_compute: int = 0
    held_vram: int = 0
    limit_compute: int = 0
    limit_vram: int = 0

    @property
    def available(self) -> Amount:
        """What no share holds; never below zero, also where shares outlive a shrunken device."""
        return Amount(max(0, self.capacity.compute - self.held_compute), max(0, self.capacity.vram - self.held_vram))

    @property
    def limits(self) -> Amount:
        return Amount(self.limit_compute, self.limit_vram)


def charge_of(request: GpuRequest, capacity: Amount) -> Charge:
    """What one share of a request takes of a device. Percentages round down; ``shared`` takes the whole device."""
    requests = Amount(compute_on(request, capacity.compute), request.vram)
    return Charge(
        held=capacity if request.isolation is Isolation.SHARED else requests,
        requests=requests,
        limits=Amount(limit_on(request, capacity.compute), request.vram_limit),
    )


class UsageBook:
    """The book. One writer; reads are cheap and always consistent."""

    def __init__(self) -> None:
        self._devices: dict[str, DeviceUsage] = {}
        self._namespaces: dict[str, Usage] = {}
        self._shares: dict[str, Share] = {}

    def share(self, uid: str) -> Share | None:
        return self._shares.get(uid)

    def device(self, name: str) -> DeviceUsage:
        """The usage of a device; an empty one for a device that nobody has heard of."""
        return self._devices.get(name) or DeviceUsage()

    def namespace(self, name: str) -> Usage:
        return self._namespaces.get(name) or Usage()

    @property
    def shares(self) -> Mapping[str, Share]:
        return self._shares

    def set_device(self, name: str, capacity: Amount) -> bool:
        """Tell the capacity of a device. True when something changed."""
        usage = self._devices.setdefault(name, DeviceUsage())
        if usage.capacity == capacity:
            return False
        shares = [share for share, _ in usage.charges.values()]
        for share in shares:
            self._take_back(share, name)
        usage.capacity = capacity
        for share in shares:
            self._charge(share, name)
        return True

    def remove_device(self, name: str) -> None:
        """Forget a device's capacity; shares on it stay on the book until their pods go."""
        self.set_device(name, Amount())
        self._drop_empty(name)

    def set_share(self, share: Share) -> frozenset[str]:
        """Book what a pod holds, replacing what it held before. Returns the devices whose usage changed."""
        before = self._shares.get(share.uid)
        if before == share:
            return frozenset()
        touched = self.drop_share(share.uid)
        self._shares[share.uid] = share
        for name in share.devices:
            self._charge(share, name)
        self._namespaces.setdefault(share.namespace, Usage()).workers += 1
        return touched.union(share.devices)

    def drop_share(self, uid: str) -> frozenset[str]:
        """Release what a pod holds; nothing if it holds nothing. Returns the devices whose usage changed."""
        share = self._shares.pop(uid, None)
        if share is None:
            return frozenset()
        for name in share.devices:
            self._take_back(share, name)
            self._drop_empty(name)
        namespace = self._namespaces[share.namespace]
        namespace.workers -= 1
        if not namespace.workers:
            del self._namespaces[share.namespace]
        return frozenset(share.devices)

    def _charge(self, share: Share, name: str) -> None:
        usage = self._devices.setdefault(name, DeviceUsage())
        capacity = usage.capacity
        if not capacity.compute:  # the device is gone, and a share in percent counts for what it was
            capacity = Amount(share.capacity(name), capacity.vram)
        charge = charge_of(share.on(name), capacity)
        usage.charges[share.uid] = (share, charge)
        self._add(share, usage, charge, sign=1)

    def _take_back(self, share: Share, name: str) -> None:
        usage = self._devices[name]
        _, charge = usage.charges.pop(share.uid)
        self._add(share, usage, charge, sign=-1)

    def _add(self, share: Share, usage: DeviceUsage, charge: Charge, *, sign: int) -> None:
        usage.held_compute += sign * charge.held.compute
        usage.held_vram += sign * charge.held.vram
        usage.limit_compute += sign * charge.limits.compute
        usage.limit_vram += sign * charge.limits.vram
        namespace = self._namespaces.setdefault(share.namespace, Usage())
        namespace.compute += sign * charge.requests.compute
        namespace.vram += sign * charge.requests.vram
        namespace.compute_limit += sign * charge.limits.compute
        namespace.vram_limit += sign * charge.limits.vram
        namespace.devices += sign

    def _drop_empty(self, name: str) -> None:
        usage = self._devices.get(name)
        if usage is not None and not usage.charges and usage.capacity == Amount():
            del self._devices[name]
