"""Who holds what: pods charged to devices, nodes and quotas, each exactly once, and the log that can undo it.

Every charge and every release goes through two functions here, so that devices, node resources, worker counts and quota
usage can never disagree. While a checkpoint is open each of them is written down and ``rollback`` plays the log
backwards: that is how a gang or a preemption is tried out.

Life of a pod: ``nominate`` keeps what others are about to leave, ``assume`` holds in memory what a decision chose,
``confirm`` follows the API server's word, ``forget`` undoes an assumption, ``release`` ends a pod that finished or is
gone. ``confirm`` of an unknown pod is recovery: truth
is charged even where it overfills a device.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tensorfusion.errors import TensorFusionError
from tensorfusion.model.gang import Gang
from tensorfusion.model.request import GpuRequest, larger
from tensorfusion.scheduling.exchanges import exchanges
from tensorfusion.scheduling.facts import Off, Placement, PodFacts
from tensorfusion.scheduling.fleet import Fleet
from tensorfusion.scheduling.holds import PARTITIONED, SHARED, Allocation, Device, shares_of
from tensorfusion.scheduling.nodes import NodeRecord
from tensorfusion.scheduling.partitions import Layout, fits, held_sorted
from tensorfusion.scheduling.quota import QuotaBook, compute_on
from tensorfusion.units import humanize_bytes, humanize_gflops


class NotHoldable(TensorFusionError):
    """A placement that the ledger refuses to assume: decide again."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log. ``depth`` counts the open checkpoints."""

    position: int
    depth: int


class Ledger:
    """Allocations by pod uid."""

    def __init__(self, fleet: Fleet, quotas: QuotaBook) -> None:
        self._fleet = fleet
        self._quotas = quotas
        self.allocations: dict[str, Allocation] = {}
        self.nominated: dict[str, Allocation] = {}
        """Those of them that wait for others to leave."""
        self.touched: dict[str, None] = {}
        """Pods charged or released since somebody last took note and emptied it."""
        self.eased = 0
        """How often a placed pod lost protection from eviction: others may be allowed to preempt it now."""
        self.awaited: set[str] = set()
        """Pods whose end somebody waits for, and (``departed``) how often one of them ended."""
        self.departed = 0
        self._undo: list[Callable[[], None]] = []
        self._open = 0
        self._undoing = False
        fleet.neighbours.placed = self._placed
        quotas.cohorts.exchanges = lambda gone: exchanges(self.nominated.values(), self.allocations, gone)
        self._settle_later: list[Allocation] = []
        """Released while a checkpoint was open: what nobody refers to any more may be referred to again by undoing."""

    def assume(self, pod: PodFacts, placement: Placement) -> None:
        """Hold a decision's choice until the API server confirms it.

        Raises:
            NotHoldable: the pod is charged already, or the placement does not fit.
            QuotaExceeded: the namespace has no room for it.
        """
        if pod.uid in self.allocations:
            raise NotHoldable(f"pod {pod.namespace}/{pod.name} is already placed on {self._where(pod.uid)}")
        devices = self._require_room(pod, placement)
        self._charge(Allocation(pod, placement, confirmed=False), devices)

    def nominate(self, pod: PodFacts, placement: Placement, awaits: frozenset[str] = frozenset()) -> None:
        """Charge a pod beside those (``awaits``) that are about to leave its place: more may be held than there is.

        Raises:
            NotHoldable: the pod is charged already.
        """
        if pod.uid in self.allocations:
            raise NotHoldable(f"pod {pod.namespace}/{pod.name} is already placed on {self._where(pod.uid)}")
        self._charge(Allocation(pod, placement, confirmed=False, nominated=True, awaits=awaits))

    def confirm(self, pod: PodFacts, placement: Placement) -> bool:
        """Take the API server's word for where a pod is; answers whether that was news to the ledger."""
        known = self.allocations.get(pod.uid)
        if known is None:
            self._charge(Allocation(pod, placement, confirmed=True))
            return True
        if known.placement == placement and _same_charge(known.pod, pod) and not known.nominated:
            if not known.confirmed:
                known.confirmed = True
                self._log(lambda: setattr(known, "confirmed", False))
            if _standing(known.pod) != _standing(pod):
                self._restate(known, pod)
            return False
        if known.placement == placement:
            self._replace(known, pod, confirmed=True)
        else:
            self._release(known)
            self._charge(Allocation(pod, placement, confirmed=True))
        return True

    def resize(self, uid: str, request: GpuRequest) -> None:
        """Hold the larger of what a pod has and what it is to have; ``confirm`` of either version settles it.

        Raises:
            NotHoldable: the pod holds nothing, or a device has no room for what is more.
            QuotaExceeded: the namespace has no room for what is more.
        """
        self.require_growth(uid, request)
        known = self.allocations[uid]
        if known.pod.request is not None:
            wide = larger(known.pod.request, request)
            self._replace(known, replace(known.pod, request=wide), confirmed=known.confirmed)

    def require_growth(self, uid: str, request: GpuRequest) -> None:
        """Refuse other amounts for a pod where one of its devices or its namespace has no room for them.

        Raises:
            NotHoldable, QuotaExceeded: as ``resize``.
        """
        known = self.allocations.get(uid)
        before = known.pod.request if known is not None else None
        if known is None or before is None or known.nominated:
            raise NotHoldable(f"pod {uid} holds no share that could be changed")
        for device in known.devices:
            if device.facts is None:
                raise NotHoldable(f"device {device.name} does not answer: its shares stay as they are")
            compute, vram = _growth(device, before, request)
            free = device.compute_free, device.vram_free
            if before.isolation is SHARED:
                free = device.compute, device.vram
            if 0 < compute > free[0] or 0 < vram > free[1]:
                raise NotHoldable(
                    f"device {device.name}: scaling quota exceeded: wanted {humanize_gflops(max(0, compute))} TFLOPS "
                    f"and {humanize_bytes(max(0, vram))} more, left are {humanize_gflops(max(0, free[0]))} TFLOPS and "
                    f"{humanize_bytes(max(0, free[1]))}"
                )
        capacities = [device.compute for device in known.devices]
        self._quotas.check_change(known.pod.namespace, before, request, capacities)

    def forget(self, uid: str) -> Allocation | None:
        """Undo an assumption; a confirmed pod is left alone. Answers what was given back."""
        known = self.allocations.get(uid)
        if known is None or known.confirmed:
            return None
        self._release(known)
        return known

    def release(self, uid: str) -> Allocation | None:
        """The pod finished or is gone. Answers what was given back; None if it held nothing (any more)."""
        known = self.allocations.get(uid)
        if known is not None:
            self._release(known)
        return known

    def checkpoint(self) -> Mark:
        """Start writing a log. End it with ``rollback`` or ``keep``, innermost first."""
        self._open += 1
        return Mark(len(self._undo), self._open)

    def rollback(self, mark: Mark) -> None:
        """Undo everything since the mark.

        Raises:
            ValueError: the mark was ended before, or an inner one is still open.
        """
        self._require_innermost(mark)
        self._undoing = True
        while len(self._undo) > mark.position:
            self._undo.pop()()
        self._undoing = False
        self._close()

    def keep(self, mark: Mark) -> None:
        """Accept everything since the mark; an outer checkpoint can still undo it.

        Raises:
            ValueError: the mark was ended before, or an inner one is still open.
        """
        self._require_innermost(mark)
        self._close()

    def _require_innermost(self, mark: Mark) -> None:
        if not self._open or mark.depth != self._open or mark.position > len(self._undo):
            raise ValueError(f"checkpoint {mark.depth} is not the innermost open one ({self._open})")

    def _close(self) -> None:
        self._open -= 1
        if not self._open:
            self._undo.clear()
            for allocation in self._settle_later:
                self._settle(allocation)
            self._settle_later.clear()

    def _charge(self, allocation: Allocation, devices: list[Device] | None = None) -> None:
        """``devices`` are those of the placement, each once, where somebody has looked them up already."""
        pod, placement = allocation.pod, allocation.placement
        fleet = self._fleet
        record = fleet.nodes.record(placement.node)
        if pod.rules is not None or fleet.neighbours.active:
            fleet.neighbours.charge(record.row, pod)
        self.allocations[pod.uid] = allocation
        self.touched[pod.uid] = None
        if allocation.nominated:
            self.nominated[pod.uid] = allocation
        if pod.request is not None:
            names = placement.devices
            if devices is None:
                devices = [fleet.device(name) for name in dict.fromkeys(names)]
            allocation.devices = tuple(devices)
            uid, request = pod.uid, pod.request
            if allocation.nominated:
                for device in devices:
                    device.promised |= {uid}
            if placement.partitions:
                partitions = dict(zip(names, placement.partitions, strict=False))
                for device in devices:
                    fleet.hold(device, uid, request, partitions.get(device.name))
            else:
                for device in devices:
                    fleet.hold(device, uid, request)
            self._quotas.add(pod.namespace, allocation.usage)
            self._note_exchange(allocation)
        fleet.nodes.charge(record, pod)
        if self._open:
            self._log(lambda: self._release(allocation))

    def _release(self, allocation: Allocation) -> None:
        pod, placement = allocation.pod, allocation.placement
        del self.allocations[pod.uid]
        self.touched[pod.uid] = None
        if allocation.nominated:
            del self.nominated[pod.uid]
        fleet = self._fleet
        if pod.request is not None:
            self._quotas.add(pod.namespace, allocation.usage, -1)
            self._note_exchange(allocation)
            for device in allocation.devices:
                fleet.drop(device, pod.uid)
        record = fleet.nodes.records[placement.node]
        fleet.nodes.charge(record, pod, -1)
        if pod.rules is not None or fleet.neighbours.active:
            fleet.neighbours.charge(record.row, pod, -1)
        if self._open:
            self._settle_later.append(allocation)
            self._log(lambda: self._charge(allocation))
        else:
            self.departed += pod.uid in self.awaited
            self._settle(allocation)

    def is_exchanged(self, allocation: Allocation) -> bool:
        """Whether the pod waits for others to leave, or others for it."""
        uid = allocation.pod.uid
        return bool(allocation.awaits) or any(uid in one.awaits for one in self.nominated.values())

    def _note_exchange(self, allocation: Allocation) -> None:
        """What counts twice may be something else with the pod than without it."""
        cohorts = self._quotas.cohorts
        if cohorts.active and self.is_exchanged(allocation):
            cohorts.outdate_exchanges()

    def _replace(self, known: Allocation, pod: PodFacts, *, confirmed: bool) -> None:
        """Charge another version of a pod where it is. What only it refers to is not forgotten in between."""
        mark = self.checkpoint()
        self._release(known)
        self._charge(Allocation(pod, known.placement, confirmed))
        self.keep(mark)

    def _restate(self, known: Allocation, pod: PodFacts) -> None:
        """Take over what does not count for any amount, but for whether and before whom the pod may have to go."""
        before = known.pod
        self.eased += pod.protected_until < before.protected_until
        known.pod = pod
        self.touched[pod.uid] = None
        self._log(lambda: self._restate(known, before))

    def _settle(self, allocation: Allocation) -> None:
        """Forget absent devices and nodes that only this pod referred to."""
        for device in allocation.devices:
            self._fleet.forget_unheld(device)
        node = self._fleet.nodes.records.get(allocation.placement.node)
        if node is not None:
            self._fleet.nodes.forget_unneeded(node)
        if allocation.pod.uid not in self.allocations:
            self._fleet.neighbours.forget(allocation.pod.uid)

    def _placed(self) -> Iterator[tuple[PodFacts, int]]:
        """Every charged pod and the row of its node."""
        records = self._fleet.nodes.records
        for allocation in self.allocations.values():
            yield allocation.pod, records[allocation.placement.node].row

    def _log(self, step: Callable[[], None]) -> None:
        if self._open and not self._undoing:
            self._undo.append(step)

    def _where(self, uid: str) -> str:
        placement = self.allocations[uid].placement
        return f"{placement.node} {', '.join(placement.devices)}".rstrip()

    def _require_room(self, pod: PodFacts, placement: Placement) -> list[Device]:
        """Refuse what a decision on these columns would not have chosen; answers the placement's devices.

        Raises:
            NotHoldable: a device or the node lacks room.
            QuotaExceeded: the namespace has no room.
        """
        fleet, request = self._fleet, pod.request
        node = fleet.nodes.records.get(placement.node)
        if node is None or node.facts is None:
            raise NotHoldable(f"node {placement.node} is not registered")
        # what is not asked for is not checked: a node that truth has overfilled still takes pods that need none of it
        facts = node.facts
        enough = not 0 < pod.cpu > facts.cpu - node.cpu and not 0 < pod.memory > facts.memory - node.memory
        if not enough or facts.pods - node.pods < 1:
            raise NotHoldable(f"node {placement.node} has no room for pod {pod.namespace}/{pod.name}")
        if pod.extended or pod.rules is not None:
            self._require_rest(pod, node)
        if request is None:
            return []
        names = placement.devices
        if len(names) != request.count or (len(names) > 1 and len(set(names)) != len(names)):
            wanted = f"{request.count} different devices"
            raise NotHoldable(f"pod {pod.namespace}/{pod.name}: {wanted} asked for, found {list(names)}")
        if request.isolation is PARTITIONED:
            self._require_partitions(pod, placement)
        if placement.partitions:
            shares = shares_of(request, placement, len(names))
            devices = [
                self._require_share(pod, share, name, node=placement.node)
                for share, name in zip(shares, names, strict=True)
            ]
        else:
            devices = [self._require_share(pod, request, name, node=placement.node) for name in names]
        most = fleet.pools[request.pool].facts.max_workers_per_node
        if 0 < most <= node.workers:
            raise NotHoldable(f"node {node.name} reached max workers per node {most}")
        if self._quotas.ceiling(pod.namespace) is not None:
            capacities = [device.compute for device in devices]
            if placement.partitions:
                shares = shares_of(request, placement, len(names))
                self._quotas.check_each(pod.namespace, shares, capacities)
            else:
                self._quotas.check(pod.namespace, request, capacities)
        return devices

    def _require_rest(self, pod: PodFacts, node: NodeRecord) -> None:
        """Refuse a node that lacks other named resources, or a host port.

        Raises:
            NotHoldable: so it does.
        """
        for name, amount in pod.extended.items():
            if node.extended_free(name) < amount:
                raise NotHoldable(f"node {node.name} has less than {amount} {name} left")
        if pod.rules is not None and pod.rules.ports and Off.PORTS not in pod.off:
            port = self._fleet.neighbours.ports.taken(node.row, pod.rules.ports)
            if port is not None:
                raise NotHoldable(f"node {node.name} has a pod with host port {port} already")

    def _require_partitions(self, pod: PodFacts, placement: Placement) -> None:
        """Refuse a partition whose place is taken.

        Raises:
            NotHoldable: a device cannot be cut that way, or not any more.
        """
        if len(placement.partitions) != len(placement.devices):
            raise NotHoldable(f"pod {pod.namespace}/{pod.name}: a partition of each device wanted")
        for name, partition in zip(placement.devices, placement.partitions, strict=True):
            device = self._fleet.devices.get(name)
            facts = device.facts if device is not None else None
            if device is None or facts is None or facts.profile is None:
                raise NotHoldable(f"device {name} cannot be cut into partitions")
            held = held_sorted(list(device.partitions.values()))
            if not fits(Layout(facts.profile, facts.compute, facts.vram, held), partition):
                raise NotHoldable(f"device {name} has no place for partition {partition.form} of pod {pod.name}")

    def _require_share(self, pod: PodFacts, request: GpuRequest, name: str, *, node: str) -> Device:
        """Refuse a device that lacks room; answers the device.

        Raises:
            NotHoldable: another node or pool has the device, or it has no room.
        """
        device = self._fleet.devices.get(name)
        facts = device.facts if device is not None else None
        if device is None or facts is None or facts.node != node or facts.pool != request.pool:
            raise NotHoldable(f"device {name} is not on node {node} in pool {request.pool}")
        compute, vram = request.compute, request.vram
        if not compute or request.isolation is SHARED:
            compute, vram = device.amounts(request)
        if device.compute - device.compute_held < compute or device.vram - device.vram_held < vram:
            raise NotHoldable(f"device {name} has no room for pod {pod.namespace}/{pod.name}")
        return device


def _growth(device: Device, before: GpuRequest, after: GpuRequest) -> tuple[int, int]:
    """GFLOPS and bytes that the share would take more of the device; of a shared (whole) one, all that is asked."""
    if before.isolation is SHARED:
        return compute_on(after, device.compute), after.vram
    (old_compute, old_vram), (compute, vram) = device.amounts(before), device.amounts(after)
    return compute - old_compute, vram - old_vram


def _same_charge(one: PodFacts, other: PodFacts) -> bool:
    """Whether both versions of a pod count for the same."""
    return (one.request, one.native, one.cpu, one.memory, one.extended, one.rules, one.labels) == (
        other.request,
        other.native,
        other.cpu,
        other.memory,
        other.extended,
        other.rules,
        other.labels,
    )


def _standing(pod: PodFacts) -> tuple[int, int, Gang | None]:
    """What decides whether a placed pod may have to go, beside what it holds."""
    return pod.protected_until, pod.rank, pod.gang
