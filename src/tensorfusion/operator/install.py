"""Put the reconcilers together: which change asks for which key, and how soon.

Objects and their pools are acted on at once; status sums wait a moment, so that a burst of pods becomes one write.
"""

from collections.abc import Iterable
from typing import TypeVar

from tensorfusion.model import resources as r
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_node import GPUNode
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Object
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.workload import TensorFusionWorkload
from tensorfusion.operator.canary import ALL, CanaryReconciler
from tensorfusion.operator.cohort import CohortReconciler
from tensorfusion.operator.default_pool import THE_KEY, DefaultPoolReconciler
from tensorfusion.operator.fleet import Fleet, node_of, pool_of
from tensorfusion.operator.gpu import GpuReconciler
from tensorfusion.operator.leadership import Asked, IsLeader, LeaderOnly, Leadership
from tensorfusion.operator.node import NodeReconciler, NodeStatusReconciler
from tensorfusion.operator.platform import Platform
from tensorfusion.operator.pool import PoolReconciler
from tensorfusion.operator.quota import QuotaReconciler
from tensorfusion.operator.rollup import RollUp
from tensorfusion.operator.used_by_taint import UsedByTaint
from tensorfusion.operator.worker_pods import WorkerPods, WorkerRelease
from tensorfusion.operator.workers import Workers
from tensorfusion.operator.workload import WorkloadReconciler
from tensorfusion.runtime.cache import Cache
from tensorfusion.runtime.controller import Controller, Reconciler
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter

T = TypeVar("T", bound=Object)

_COALESCE = 0.5
_COHORTS = 1.0
"""Seconds for sums over many namespaces."""
_NODE_WORKERS = 16


class Operator:
    """The reconcilers of one process, registered with its manager."""

    def __init__(self, manager: Manager, writer: StatusWriter, *, is_leader: IsLeader, progressive: bool) -> None:
        clock = manager.clock
        self._manager = manager
        self._leadership = Leadership(is_leader, clock=clock)
        self.fleet = Fleet(manager)
        self._workers = Workers()
        rollup = RollUp(writer, clock=clock)
        quotas = QuotaReconciler(self.fleet, manager, rollup, clock=clock)
        cohorts = CohortReconciler(self.fleet, manager, rollup, quotas=quotas.quotas, clock=clock)
        worker_pods, release = WorkerPods(manager, clock=clock), WorkerRelease(manager)
        workloads = WorkloadReconciler(
            self.fleet, self._workers, manager, worker_pods=worker_pods, rollup=rollup, clock=clock
        )
        default_pool = DefaultPoolReconciler(self.fleet, manager.client)
        nodes = NodeReconciler(self.fleet, manager.client)
        self._default_pool = self._add("default-pool", default_pool)
        self._nodes = self._add("gpunode", nodes, workers=_NODE_WORKERS)
        self._pools = self._add("gpupool", PoolReconciler(self.fleet, manager.client, rollup), after=_COALESCE)
        self._quotas = self._add("quota", quotas, after=_COALESCE)
        self._cohorts = self._add("cohort", cohorts, after=_COHORTS)
        self._gpus = self._add("gpu", GpuReconciler(self.fleet, rollup), after=_COALESCE)
        self._node_status = self._add("gpunode-status", NodeStatusReconciler(self.fleet, rollup), after=_COALESCE)
        self._workloads = self._add("workload", workloads, after=_COALESCE)
        self._released = self._add("worker-release", release)
        cohorts.asking(self._cohorts.add)
        worker_pods.asking(self._workloads.add)
        release.asking(self._released.add)
        self._release_source = release
        taints = UsedByTaint(self.fleet, manager.client)
        self._taints = self._add("used-by-taint", taints, after=_COALESCE) if progressive else None
        canaries = CanaryReconciler(manager.client, clock=clock)
        self._canaries = self._add("canary", canaries, after=_COALESCE)
        canaries.asking(self._canaries.add)
        manager.informer(r.PODS, Pod).subscribe(canaries.on_pod)
        self._quota_source, self._workload_source, self._cohort_source = quotas, workloads, cohorts
        self._platform = Platform(manager, writer, rollup=rollup, workers=self._workers, add=self._add)
        self._subscribe()
        self._leadership.on_gain(self._start_over)
        manager.add_task("operator-leadership", self._leadership.run)

    def _add(self, name: str, reconciler: Reconciler, *, workers: int = 1, after: float = 0.0) -> Asked:
        leader_only = LeaderOnly(self._leadership, reconciler)
        controller = Controller(name, leader_only, workers=workers, clock=self._manager.clock)
        self._manager.add_controller(controller)
        return Asked(self._leadership, controller.queue, after=after)

    def _subscribe(self) -> None:
        manager = self._manager
        self.fleet.on_device(lambda name: self._gpus.add(Key("", name)))
        self.fleet.on_node(self._node_changed)
        self.fleet.on_namespace(self._namespace_changed)
        self._workers.on_change(self._workloads.add)
        manager.informer(r.PODS, Pod).subscribe(self._workers.apply)
        manager.informer(r.NODES, Node).subscribe(self._on_node)
        manager.informer(r.GPUS, GPU).subscribe(self._on_gpu)
        manager.informer(r.GPU_NODES, GPUNode).subscribe(self._on_gpu_node)
        manager.informer(r.GPU_POOLS, GPUPool).subscribe(self._on_pool)
        manager.informer(r.GPU_RESOURCE_QUOTAS, GPUResourceQuota).subscribe(lambda change: self._quotas.add(change.key))
        manager.informer(r.TENSOR_FUSION_WORKLOADS, TensorFusionWorkload).subscribe(
            lambda change: self._workloads.add(change.key)
        )

    def _node_changed(self, name: str) -> None:
        """A node's sums changed: its own status, its pool's, and whether it may now move."""
        self._node_status.add(Key("", name))
        if self._taints is not None:
            self._taints.add(Key("", name))
        gpu_node = self.fleet.gpu_nodes.get(Key("", name))
        if gpu_node is None:
            return
        pool = pool_of(gpu_node)
        self._pools.add(Key("", pool))
        if not self.fleet.holds_shares(name):
            self._nodes.add(Key("", name))

    def _namespace_changed(self, name: str) -> None:
        """What a namespace holds is another sum: its quotas', and that of the cohorts it is in."""
        self._quota_source.ask_about(name, self._quotas.add)
        self._cohort_source.namespace_changed(name)

    def _on_node(self, change: Change[Node]) -> None:
        old, new = change.old, change.new
        if (
            old is None
            or new is None
            or old.metadata.labels != new.metadata.labels
            or old.spec.unschedulable != new.spec.unschedulable
            or old.metadata.deleting != new.metadata.deleting
        ):
            self._nodes.add(change.key)
        if self._taints is not None and (old is None or new is None or old.spec.taints != new.spec.taints):
            self._taints.add(change.key)

    def _on_gpu(self, change: Change[GPU]) -> None:
        """A new device may need the label of its pool."""
        old, new = change.old, change.new
        if new is not None and (old is None or old.metadata.labels != new.metadata.labels):
            self._nodes.add(Key("", node_of(new)))

    def _on_gpu_node(self, change: Change[GPUNode]) -> None:
        old, new = change.old, change.new
        pools = {pool_of(gpu_node) for gpu_node in (old, new) if gpu_node is not None}
        for pool in pools:
            self._pool_changed(Key("", pool))
        if (
            old is None
            or new is None
            or old.metadata.owner_references != new.metadata.owner_references
            or old.metadata.labels != new.metadata.labels
            or old.metadata.deleting != new.metadata.deleting
        ):
            self._nodes.add(change.key)
            self._default_pool.add(THE_KEY)

    def _on_pool(self, change: Change[GPUPool]) -> None:
        """Another selector, or a pool more or less, may move any node; a status moves none."""
        self._pool_changed(change.key)
        old, new = change.old, change.new
        if (
            old is None
            or new is None
            or old.spec.node_manager_config != new.spec.node_manager_config
            or old.metadata.deleting != new.metadata.deleting
            or old.metadata.annotations != new.metadata.annotations
        ):
            self._default_pool.add(THE_KEY)
            _ask(self._nodes, _keys(self.fleet.nodes))

    def _pool_changed(self, key: Key) -> None:
        """Its sums may wait; a pool that is to go is not kept longer than its nodes."""
        pool = self.fleet.pools.get(key)
        if pool is not None and pool.metadata.deleting:
            self._pools.add_now(key)
        else:
            self._pools.add(key)

    def _start_over(self) -> None:
        """Leadership was won: everything may be out of date."""
        self._platform.start_over()
        self._default_pool.add(THE_KEY)
        self._canaries.add(ALL)
        if self._taints is not None:
            _ask(self._taints, _keys(self.fleet.nodes))
        _ask(self._released, self._release_source.held())
        _ask(self._nodes, _keys(self.fleet.nodes))
        _ask(self._nodes, _keys(self.fleet.gpu_nodes))
        _ask(self._pools, _keys(self.fleet.pools))
        _ask(self._node_status, _keys(self.fleet.gpu_nodes))
        _ask(self._gpus, _keys(self.fleet.gpus))
        _ask(self._quotas, _keys(self._quota_source.quotas))
        _ask(self._cohorts, _keys(self._cohort_source.cohorts))
        _ask(self._workloads, self._workers.workloads())
        _ask(self._workloads, _keys(self._workload_source.workloads))


def install(
    manager: Manager, *, is_leader: IsLeader, writer: StatusWriter | None = None, progressive: bool = False
) -> Operator:
    """Register every reconciler with a manager. Without a writer one is made and run as a task of the manager.

    All of them keep their books always, and write only while ``is_leader`` says so. ``progressive``: the cluster also
    has pods of a vendor's own device plugin.
    """
    if writer is None:
        writer = StatusWriter(manager.client, clock=manager.clock)
        manager.add_task("operator-writer", writer.run)
    return Operator(manager, writer, is_leader=is_leader, progressive=progressive)


def _keys(cache: Cache[T]) -> list[Key]:
    return [found.key for found in cache.all()]


def _ask(queue: Asked, names: Iterable[Key]) -> None:
    for name in names:
        queue.add(name)
