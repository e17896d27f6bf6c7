"""One node as it would be without some of its pods: plain sums beside the books, which stay as they are.

Apart from the search because it states the live filters of a decision a second time, for one node in plain numbers: a
search tries a few pods on a few nodes some hundred times, and a decision looks at the whole fleet each time. Nobody
goes on the word of this module alone: a plan is proven by a real decision afterwards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.codes import FITS
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.holds import MODE_BIT, Allocation, Device
from tensorfusion.scheduling.nodes import NodeRecord
from tensorfusion.scheduling.partitions import Layout, cut, held_sorted
from tensorfusion.scheduling.quota import Usage, compute_on
from tensorfusion.scheduling.shapes import ALLOWED
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.topology import near_enough
from tensorfusion.scheduling.wiring import Wired

_BY_AMOUNTS = (Isolation.SOFT, Isolation.HARD)
"""Modes whose shares fit wherever enough is left, on a device whose mode is fixed."""


@dataclass(slots=True, eq=False)
class _Card:
    """A device that the pod may have a share of, and what is left of it."""

    device: Device
    dynamic: bool
    compute: int
    vram: int
    need: int
    """GFLOPS that one share takes of it."""
    holders: dict[str, GpuRequest] | None
    """Who has a share of it; None where only amounts decide."""
    takes: bool = False


class Place:
    """A node that is asked whether a pod fits while others ``go`` and come ``back``."""

    def __init__(self, state: State, pod: PodFacts, record: NodeRecord) -> None:
        self._state = state
        self._pod = pod
        self._record = record
        nodes = state.fleet.nodes
        self._allowed = bool(nodes.shapes.of(pod, nodes.with_facts, nodes.size).codes[record.row] == ALLOWED)
        self._cpu, self._memory, self._pods = record.cpu_free, record.memory_free, record.pods_free
        self._workers, self._native = record.workers, record.native
        self._extended = {name: record.extended_free(name) for name in pod.extended}
        self._most = 0
        self._cards: dict[str, _Card] = {}
        self._takers = 0
        """Devices that could take a share now."""
        self._shares: dict[str, tuple[tuple[_Card, int, int], ...]] = {}
        """By uid what each pod that was counted holds of these devices."""
        self._wired: Wired | None = None
        self._released: dict[str, Usage] = {}
        """What namespaces hold less, as far as it counts for the pod's quota."""
        self._gone: set[str] = set()
        """Uids of those that go while they wait for others to leave, or others for them."""
        self._has_ceiling = state.quotas.ceiling(pod.namespace) is not None
        if pod.request is not None:
            self._lay_out(pod.request)
        self._roomy = self._node_has_room()
        """Though nobody has left yet, so that only the devices and the quota are in question."""

    def _lay_out(self, request: GpuRequest) -> None:
        pool = self._state.fleet.pools.get(request.pool)
        row = pool.row_of(self._record.name) if pool is not None else None
        if pool is None or row is None:
            return
        self._most = pool.facts.max_workers_per_node
        pool.follow_wirings()
        self._wired = pool.wired(row)
        by_amounts = request.isolation in _BY_AMOUNTS and not _asks_nothing(request)
        codes = pool.static(request).of(row)
        dynamic = pool.dynamic[:, row].tolist() if pool.dynamic_devices else [False] * len(codes)
        for device in pool.devices[row]:
            if codes[device.slot] == FITS:
                mixed = dynamic[device.slot] or not by_amounts
                card = _Card(
                    device,
                    dynamic[device.slot],
                    device.compute - device.compute_held,
                    device.vram - device.vram_held,
                    request.compute or compute_on(request, device.compute),
                    dict(device.holders) if mixed else None,
                )
                card.takes = _takes(card, request)
                self._takers += card.takes
                self._cards[device.name] = card

    def go(self, allocations: Iterable[Allocation]) -> None:
        """These pods leave."""
        for one in allocations:
            self._count(one, 1)

    def back(self, allocations: Iterable[Allocation]) -> None:
        """These pods stay after all."""
        for one in allocations:
            self._count(one, -1)

    def _count(self, one: Allocation, sign: int) -> None:
        pod, request = one.pod, self._pod.request
        if self._has_ceiling and (
            pod.namespace == self._pod.namespace or self._state.quotas.counts_with(pod.namespace, self._pod.namespace)
        ):
            self._released.setdefault(pod.namespace, Usage()).add(one.usage, sign)
            if self._state.nominated and self._state.is_exchanged(one):
                (self._gone.add if sign > 0 else self._gone.discard)(pod.uid)
        if one.placement.node != self._record.name:  # a member of a gang on another node
            return
        if not self._roomy:
            self._count_on_node(pod, sign)
        if pod.request is None or request is None:
            return
        shares = self._shares.get(pod.uid)
        if shares is None:
            shares = self._shares[pod.uid] = self._shares_of(one)
        least = request.vram
        for card, compute, vram in shares:
            card.compute += sign * compute
            card.vram += sign * vram
            if card.holders is None:
                takes = card.compute >= card.need and card.vram >= least
            else:
                if sign > 0:
                    del card.holders[pod.uid]
                else:
                    card.holders[pod.uid] = card.device.holders[pod.uid]
                takes = _takes(card, request)
            if takes is not card.takes:
                card.takes = takes
                self._takers += 1 if takes else -1

    def _count_on_node(self, pod: PodFacts, sign: int) -> None:
        self._cpu += sign * pod.cpu
        self._memory += sign * pod.memory
        self._pods += sign
        self._native -= sign * pod.native
        for name in self._extended:
            self._extended[name] += sign * pod.extended.get(name, 0)
        if pod.request is not None:
            self._workers -= sign

    def concerns(self, allocations: Iterable[Allocation]) -> bool:
        """Whether it can matter that some of these, who are gone, come back: else the pod fits with or without them."""
        if self._has_ceiling or not self._roomy:
            return True
        return any(card.takes for one in allocations for card, _, _ in self._shares.get(one.pod.uid, ()))

    def _shares_of(self, one: Allocation) -> tuple[tuple[_Card, int, int], ...]:
        cards, uid = self._cards, one.pod.uid
        return tuple(
            [
                (card, *device.amounts(device.holders[uid]))
                for device in one.devices
                if (card := cards.get(device.name)) is not None
            ]
        )

    def fits(self) -> bool:
        """Whether the pod could be placed here now, as far as the node and the namespace's quota go."""
        return (
            self._allowed
            and self._devices_have_room()
            and (self._roomy or self._node_has_room())
            and self._quota_has_room()
        )

    def _node_has_room(self) -> bool:
        pod = self._pod
        if (pod.cpu and pod.cpu > self._cpu) or (pod.memory and pod.memory > self._memory) or self._pods < 1:
            return False
        if pod.extended and any(amount > self._extended[name] for name, amount in pod.extended.items() if amount):
            return False
        if pod.request is None:
            return not (pod.native and self._workers)
        return not (0 < self._most <= self._workers) and self._native <= self._record.foreign

    def _devices_have_room(self) -> bool:
        request = self._pod.request
        if request is None:
            return True
        if self._takers < request.count:
            return False
        if self._pod.topology is None:
            return True
        return near_enough(self._pod, self._wired, [card.device.slot for card in self._cards.values() if card.takes])

    def _quota_has_room(self) -> bool:
        request = self._pod.request
        if request is None or not self._has_ceiling:
            return True
        capacities = None
        if request.percent or request.percent_limit:  # counted by the devices: those of which it is the least
            capacities = sorted(card.device.compute for card in self._cards.values() if card.takes)[: request.count]
        try:
            quotas = self._state.quotas
            quotas.check(self._pod.namespace, request, capacities, released=self._released, gone=self._gone)
        except QuotaExceeded:
            return False
        return True


def _asks_nothing(request: GpuRequest) -> bool:
    return not (request.compute or request.percent or request.vram)


def _takes(card: _Card, request: GpuRequest) -> bool:
    """Whether the device can hold one share now: the live filters of a decision, for one device."""
    holders = card.holders
    if holders is not None:
        if request.isolation is Isolation.SHARED:
            return not holders
        if request.isolation is Isolation.PARTITIONED:
            return _takes_partition(card, holders, request)
        modes = 0
        for holder in holders.values():
            modes |= MODE_BIT[holder.isolation]
        if card.dynamic and modes & ~MODE_BIT[request.isolation]:
            return False
        if _asks_nothing(request) and modes & MODE_BIT[Isolation.SHARED]:
            return False
    return card.compute >= card.need and card.vram >= request.vram


def _takes_partition(card: _Card, holders: Mapping[str, GpuRequest], request: GpuRequest) -> bool:
    facts = card.device.facts
    if facts is None or facts.profile is None:
        return False
    if card.dynamic and any(holder.isolation is not Isolation.PARTITIONED for holder in holders.values()):
        return False
    held = [partition for uid, partition in card.device.partitions.items() if uid in holders]
    found = cut(Layout(facts.profile, facts.compute, facts.vram, held_sorted(held)), request)
    part = found.partition
    return found.covered and part is not None and card.compute >= part.compute and card.vram >= part.vram
