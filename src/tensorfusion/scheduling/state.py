"""The one owner of everything a decision looks at: fleet columns, ledger and quota usage.

A thin face: facts go in (``upsert_*``), decisions are held (``assume``) and settled (``confirm``, ``forget``,
``release``), and every method that may let a waiting pod fit answers with the changes that say so. Nothing here awaits,
and one task at a time calls it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import TypeVar

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.asked import asked_of
from tensorfusion.scheduling.classes import Classes
from tensorfusion.scheduling.domain import Domain
from tensorfusion.scheduling.facts import (
    CohortFacts,
    DeviceFacts,
    NodeFacts,
    Placement,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.scheduling.fleet import Fleet
from tensorfusion.scheduling.foresight import looks_ahead
from tensorfusion.scheduling.hints import Change, ChangeKind
from tensorfusion.scheduling.holds import Allocation, Device
from tensorfusion.scheduling.ledger import Ledger, Mark
from tensorfusion.scheduling.nodes import NodeRecord
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.profile import Profiles
from tensorfusion.scheduling.quota import QuotaBook, Usage
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.residents import Residents
from tensorfusion.scheduling.shapes import ALLOWED

_Found = TypeVar("_Found")


class State:
    """Fleet, ledger and quotas. The same ordered calls give the same state and the same decisions, byte for byte."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.quotas = QuotaBook()
        self.classes = Classes()
        self.profiles = Profiles()
        """How the pods of each scheduler name are placed."""
        self._ledger = Ledger(self.fleet, self.quotas)
        self.domain: Domain | None = None
        """The part of the fleet that decisions may choose from; None is all of it."""
        self.holding = True
        """Whole nodes are kept for those who want them; off only to ask what would be without that."""
        self.residents = Residents(self.fleet, self._ledger)
        """Who could leave where, as columns; behind until somebody asks."""

    def upsert_node(self, facts: NodeFacts) -> tuple[Change, ...]:
        if not self.fleet.nodes.upsert(facts):
            return ()
        record = self.fleet.nodes.records[facts.name]
        self.fleet.neighbours.domains.set(record.row, facts)
        return (self._node_change(record),)

    def remove_node(self, name: str) -> tuple[Change, ...]:
        """The node is gone; its pods stay charged until they are released, and count again when it returns."""
        record = self.fleet.nodes.records.get(name)
        if self.fleet.nodes.remove(name) and record is not None:
            self.fleet.neighbours.domains.set(record.row, None)
        return ()

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> tuple[Change, ...]:
        """A namespace came, changed its labels or (None) went: rules may select pods by it."""
        return (Change(ChangeKind.NEIGHBOUR),) if self.fleet.neighbours.set_namespace(name, labels) else ()

    def leaving(self, uid: str) -> tuple[Change, ...]:
        """The placed pod is being deleted: it holds what it holds, but a topology spread counts it no more."""
        allocation = self._ledger.allocations.get(uid)
        if allocation is None:
            return ()
        row = self.fleet.nodes.records[allocation.placement.node].row
        self.fleet.neighbours.leave(row, allocation.pod)
        self.residents.note_ending(uid)
        return self.neighbour_change()

    def upsert_device(self, facts: DeviceFacts) -> tuple[Change, ...]:
        """A device appeared, returned (what pods hold of it counts again) or changed."""
        known = self.fleet.devices.get(facts.name)
        if known is not None and known.facts == facts:
            return ()
        holders = [self._ledger.allocations[uid] for uid in known.holders] if known is not None else []
        for allocation in holders:  # a share in percent follows the capacity, and so does what it counts for
            self.quotas.add(allocation.pod.namespace, allocation.usage, -1)
        device = self.fleet.upsert_device(facts)
        for allocation in holders:
            self._ledger.touched[allocation.pod.uid] = None
            self.quotas.add(allocation.pod.namespace, allocation.usage)
        if holders and self._ledger.nominated:
            self.quotas.cohorts.outdate_exchanges()
        counted = {one.pod.namespace for one in holders if self.quotas.ceiling(one.pod.namespace) is not None}
        usages = tuple([self._usage_change(namespace) for namespace in sorted(counted)])
        return (_device_change(device, facts), *usages)

    def remove_device(self, name: str) -> tuple[Change, ...]:
        """The device is gone; its holders stay charged until they are released."""
        known = self.fleet.devices.get(name)
        pool = known.facts.pool if known is not None and known.facts is not None else ""
        self.fleet.remove_device(name)
        return self.hold_change(pool)

    def upsert_pool(self, facts: PoolFacts) -> tuple[Change, ...]:
        return (Change(ChangeKind.POOL, facts.name),) if self.fleet.upsert_pool(facts) else ()

    def remove_pool(self, name: str) -> tuple[Change, ...]:
        """The pool's policy is gone; devices that still name it are placed under the default policy."""
        self.fleet.remove_pool(name)
        return ()

    def set_quota(self, facts: QuotaFacts) -> tuple[Change, ...]:
        version = self.quotas.cohorts.version
        changed = self.quotas.set(facts)
        return (*((Change(ChangeKind.QUOTA, facts.namespace),) if changed else ()), *self._cohort_change(version))

    def remove_quota(self, namespace: str) -> tuple[Change, ...]:
        version = self.quotas.cohorts.version
        changed = self.quotas.remove(namespace)
        return (*((Change(ChangeKind.QUOTA, namespace),) if changed else ()), *self._cohort_change(version))

    def set_cohort(self, facts: CohortFacts) -> tuple[Change, ...]:
        """How namespaces share what they may hold."""
        version = self.quotas.cohorts.version
        self.quotas.cohorts.set_cohort(facts)
        return self._cohort_change(version)

    def remove_cohort(self, name: str) -> tuple[Change, ...]:
        """Where quotas name the cohort, it goes on with the defaults."""
        version = self.quotas.cohorts.version
        self.quotas.cohorts.remove_cohort(name)
        return self._cohort_change(version)

    def _cohort_change(self, version: int) -> tuple[Change, ...]:
        return (Change(ChangeKind.COHORT),) if self.quotas.cohorts.version != version else ()

    def _usage_change(self, namespace: str) -> Change:
        cohorts = self.quotas.cohorts
        return Change(ChangeKind.USAGE, namespace, cohorts.tree_of(namespace) if cohorts.active else "")

    def arrive(self, pod: PodFacts, *, created: int = 0) -> tuple[Change, ...] | None:
        """The pool that a pod asks for learns from it; to be called for each pod until it answers other than None.

        None where there is no such pool, and where the pod's own namespace or its own rules keep it from all nodes:
        what could not run on an empty pool must not have a say in what is kept ready. ``created`` is in Unix seconds, 0
        where nobody knows.
        """
        request = pod.request
        pool = self.fleet.pools.get(request.pool) if request is not None else None
        if request is None or pool is None or not self._could_run(pod, request, pool):
            return None
        before = pool.learned.version
        pool.learned.add(asked_of(pod, request), pod.namespace, created=created)
        return self.hold_change(request.pool) if pool.learned.version != before else ()

    def assume(self, pod: PodFacts, placement: Placement) -> tuple[Change, ...]:
        """Hold what a decision chose until the API server confirms it.

        Raises:
            NotHoldable: the pod is charged already, or the placement does not fit.
            QuotaExceeded: the namespace has no room for it.
        """
        self._ledger.assume(pod, placement)
        return self.placed(pod)

    def nominate(self, pod: PodFacts, placement: Placement, awaits: frozenset[str] = frozenset()) -> None:
        """Keep for a pod what others are about to leave: charged beside them. ``release`` ends it, and so does binding.

        ``awaits`` are the uids of those others: in what cohorts share the pod counts only beyond what they still hold.

        Raises:
            NotHoldable: the pod is charged already.
        """
        self._ledger.nominate(pod, placement, awaits)

    def confirm(self, pod: PodFacts, placement: Placement) -> tuple[Change, ...]:
        """The API server says where a pod is: charged as said, even over capacity, and never twice."""
        before = self._ledger.allocations.get(pod.uid)
        news = self._ledger.confirm(pod, placement)
        if not news:
            return ()
        return (*(self._freed(before) if before is not None else ()), *self.placed(pod))

    def resize(self, uid: str, request: GpuRequest) -> None:
        """Hold the larger of what a bound pod has and what it is to have, until ``confirm`` says which it is.

        Raises:
            NotHoldable: a device has no room for what is more.
            QuotaExceeded: the namespace has no room for what is more.
        """
        self._ledger.resize(uid, request)

    def require_growth(self, uid: str, request: GpuRequest) -> None:
        """The checks of ``resize`` alone: changes nothing.

        Raises:
            NotHoldable, QuotaExceeded: as ``resize``.
        """
        self._ledger.require_growth(uid, request)

    def forget(self, uid: str) -> tuple[Change, ...]:
        """Undo an assumption that the API server did not accept; a confirmed pod is left alone."""
        return self._freed(self._ledger.forget(uid))

    def release(self, uid: str) -> tuple[Change, ...]:
        """The pod finished or is gone; nothing happens the second time."""
        return self._freed(self._ledger.release(uid))

    def without(self, pods: Iterable[Allocation]) -> None:
        """Within a statement these pods are gone: as ``release``, without saying whom that may help."""
        for one in pods:
            self._ledger.release(one.pod.uid)

    @contextmanager
    def within(self, domain: Domain | None) -> Iterator[None]:
        """Decisions in between choose from this part of the fleet."""
        before, self.domain = self.domain, domain
        try:
            yield
        finally:
            self.domain = before

    def kept_as_now(self, pool: str) -> AbstractContextManager[None]:
        """Whole nodes of the pool that are kept now stay so in between, and no others are."""
        columns = self.fleet.pools.get(pool)
        if columns is None or not looks_ahead(columns):
            return nullcontext()
        return self.classes.foresights.of(columns).frozen()

    def keeps_whole_nodes(self, pool: str) -> bool:
        """Whether free whole nodes of the pool are kept for those who want them whole."""
        columns = self.fleet.pools.get(pool)
        if columns is None or not looks_ahead(columns):
            return False
        return any(hold.closed for hold in self.classes.foresights.of(columns).holds)

    @contextmanager
    def without_holds(self) -> Iterator[None]:
        """Decisions in between may take whole nodes that are kept for jobs that want them."""
        before, self.holding = self.holding, False
        try:
            yield
        finally:
            self.holding = before

    def promised(self, decide: Callable[[], _Found]) -> _Found:
        """What is decided for pods whose place is promised: what is kept for whole-node jobs is no obstacle to them.

        Raises:
            NotFit: as ``decide`` does, which leaves no trace then.
        """
        try:
            return decide()
        except NotFit as failure:
            if NodeReason.KEPT_WHOLE not in failure.reasons:
                raise
        with self.without_holds():
            return decide()

    def everywhere(self) -> AbstractContextManager[None]:
        """Questions in between are about the whole fleet, whoever places on it."""
        return self.within(None)

    def checkpoint(self) -> Mark:
        """Start a log of assume, confirm, forget and release; end it with ``rollback`` or ``keep``."""
        return self._ledger.checkpoint()

    def rollback(self, mark: Mark) -> None:
        """Undo every charge and release since the mark. Facts of the fleet are not undone."""
        self._ledger.rollback(mark)

    def keep(self, mark: Mark) -> None:
        """Accept everything since the mark."""
        self._ledger.keep(mark)

    @property
    def allocations(self) -> Mapping[str, Allocation]:
        """Live pods by uid, in the order in which they were charged."""
        return MappingProxyType(self._ledger.allocations)

    @property
    def nominated(self) -> Mapping[str, Allocation]:
        """Pods that wait for others to leave their place, by uid; they are among ``allocations``."""
        return MappingProxyType(self._ledger.nominated)

    def is_exchanged(self, allocation: Allocation) -> bool:
        """Whether the pod waits for others to leave, or others for it."""
        return self._ledger.is_exchanged(allocation)

    @property
    def eased(self) -> int:
        """Grows whenever a placed pod lost protection from eviction."""
        return self._ledger.eased

    @property
    def awaited(self) -> set[str]:
        """Uids of pods whose end somebody waits for: theirs to fill."""
        return self._ledger.awaited

    @property
    def departed(self) -> int:
        """Grows whenever one of ``awaited`` is released for good."""
        return self._ledger.departed

    def devices(self) -> Iterator[Device]:
        """The devices that are there, in the order in which they became known."""
        return (device for device in self.fleet.devices.values() if device.facts is not None)

    def nodes(self) -> Iterator[NodeRecord]:
        """The registered nodes in row order, which is the order that breaks ties."""
        return (record for record in self.fleet.nodes.rows if record is not None and record.facts is not None)

    def capacities(self, devices: Iterable[str]) -> list[int]:
        """GFLOPS of devices by name, as last seen; 0 of unknown ones."""
        known = self.fleet.devices
        return [known[name].compute if name in known else 0 for name in devices]

    def usage(self, namespace: str) -> Usage:
        """What the namespace's pods hold, assumed ones included."""
        return self.quotas.usage(namespace)

    def overcommitted(self) -> tuple[Device, ...]:
        """Devices of which live pods hold more than there is: found on recovery or after a capacity change."""
        return tuple(self.fleet.devices[name] for name in sorted(self.fleet.overcommitted))

    def _freed(self, allocation: Allocation | None) -> tuple[Change, ...]:
        """What a release may help: the pod's devices, its node, its namespace."""
        if allocation is None:
            return ()
        changes = [_device_change(device, device.facts) for device in allocation.devices if device.facts is not None]
        node = self.fleet.nodes.records.get(allocation.placement.node)
        if node is not None and node.facts is not None:
            changes.append(self._node_change(node))
        namespace = allocation.pod.namespace
        if allocation.pod.request is not None and self.quotas.ceiling(namespace) is not None:
            changes.append(self._usage_change(namespace))
        return tuple(changes)

    def placed(self, pod: PodFacts) -> tuple[Change, ...]:
        """Whom it may help that the pod has a place."""
        changes = self.neighbour_change() if self.fleet.neighbours.active else ()
        request = pod.request
        pool = self.fleet.pools.get(request.pool) if request is not None else None
        if request is None or pool is None or not looks_ahead(pool):
            return changes
        whole = self.classes.foresights.knows_whole_job(pool, asked_of(pod, request))
        return (*changes, Change(ChangeKind.HOLD, request.pool)) if whole else changes

    def _could_run(self, pod: PodFacts, request: GpuRequest, pool: PoolColumns) -> bool:
        if pod.uid in self._ledger.allocations:
            return True
        try:
            self.quotas.check(pod.namespace, request)
        except QuotaExceeded:
            return False
        if not pod.node_selector and pod.affinity is None:
            return True
        nodes = self.fleet.nodes
        allowed = nodes.shapes.of(pod, nodes.with_facts, nodes.size).codes == ALLOWED
        return bool(allowed.take(pool.node_row, mode="clip")[pool.present.any(axis=0)].any())

    def age(self, pool: str, now: int) -> tuple[Change, ...]:
        """It is that late, in Unix seconds: what the pool has learned grows old."""
        columns = self.fleet.pools.get(pool)
        if columns is None:
            return ()
        before = columns.learned.version
        columns.learned.age(now)
        return self.hold_change(pool) if columns.learned.version != before else ()

    def hold_change(self, pool: str) -> tuple[Change, ...]:
        """Fewer whole nodes of the pool may be kept free."""
        columns = self.fleet.pools.get(pool)
        return (Change(ChangeKind.HOLD, pool),) if columns is not None and looks_ahead(columns) else ()

    def eased_holds(self) -> tuple[Change, ...]:
        """Pools that keep a node no more which they kept when this was asked last, for whatever reason.

        To be asked between decisions, and in no statement: what is kept follows from more than a list could name.
        """
        ahead = [pool for pool in self.fleet.pools.values() if looks_ahead(pool)]
        return tuple([Change(ChangeKind.HOLD, pool.name) for pool in ahead if self.classes.foresights.of(pool).eased()])

    def neighbour_change(self) -> tuple[Change, ...]:
        """A placed pod can be the neighbour that another waits for."""
        return (Change(ChangeKind.NEIGHBOUR),) if self.fleet.neighbours.active else ()

    def _node_change(self, record: NodeRecord) -> Change:
        return Change(ChangeKind.NODE, node=record.facts, cpu_free=record.cpu_free, memory_free=record.memory_free)


def _device_change(device: Device, facts: DeviceFacts) -> Change:
    return Change(
        ChangeKind.DEVICE,
        device=facts,
        compute_free=device.compute_free,
        vram_free=device.vram_free,
        held=bool(device.holders),
    )
