"""Put the reconcilers of clusters, connections and kinds that are not served yet together.

Apart from ``install`` because none of them takes part in the road of a pod.
"""

from collections.abc import Callable
from typing import Protocol

from tensorfusion.model import resources as r
from tensorfusion.model.cluster import TensorFusionCluster
from tensorfusion.model.connection import TensorFusionConnection
from tensorfusion.model.crd import KINDS
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.workload import TensorFusionWorkload
from tensorfusion.operator.cluster import ClusterReconciler, cluster_of
from tensorfusion.operator.connection import ConnectionReconciler
from tensorfusion.operator.leadership import Asked
from tensorfusion.operator.not_served import NotServedReconciler
from tensorfusion.operator.rollup import RollUp
from tensorfusion.operator.workers import Workers
from tensorfusion.policy.not_served import NOT_SERVED
from tensorfusion.runtime.controller import Reconciler
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter

_COALESCE = 0.5


class Add(Protocol):
    """How a reconciler becomes a controller that works only while this process leads."""

    def __call__(self, name: str, reconciler: Reconciler, *, after: float = 0.0) -> Asked: ...


class Platform:
    """Subscribes its reconcilers; ``start_over`` asks for every key."""

    def __init__(self, manager: Manager, writer: StatusWriter, *, rollup: RollUp, workers: Workers, add: Add) -> None:
        clock = manager.clock
        self._manager = manager
        self._clusters = ClusterReconciler(manager, rollup, clock=clock)
        recorder = EventRecorder(manager.client, component="tensorfusion-operator", clock=clock)
        manager.add_task("connection-events", recorder.run)
        self._connections = ConnectionReconciler(workers, manager, writer, recorder=recorder, clock=clock)
        self._ask_cluster = add("cluster", self._clusters, after=_COALESCE)
        self._ask_connection = add("connection", self._connections)
        self._all: list[tuple[Asked, Callable[[], list[Key]]]] = [
            (self._ask_cluster, lambda: [one.key for one in self._clusters.clusters.all()]),
            (self._ask_connection, lambda: [one.key for one in self._connections.connections.all()]),
        ]
        workers.on_change(self._on_workers)
        manager.informer(r.TENSOR_FUSION_CLUSTERS, TensorFusionCluster).subscribe(
            lambda change: self._ask_cluster.add_now(change.key)
        )
        manager.informer(r.GPU_POOLS, GPUPool).subscribe(self._on_pool)
        manager.informer(r.TENSOR_FUSION_CONNECTIONS, TensorFusionConnection).subscribe(
            lambda change: self._ask_connection.add(change.key)
        )
        manager.informer(r.TENSOR_FUSION_WORKLOADS, TensorFusionWorkload).subscribe(
            lambda change: self._on_workers(change.key)
        )
        for kind in NOT_SERVED:
            self._add_not_served(kind, rollup, add)

    def start_over(self) -> None:
        """Ask for everything."""
        for asked, all_keys in self._all:
            for key in all_keys():
                asked.add(key)

    def _add_not_served(self, kind: str, rollup: RollUp, add: Add) -> None:
        reconciler = NotServedReconciler(KINDS[kind].resource, self._manager, rollup, clock=self._manager.clock)
        asked = add(f"not-served-{kind}", reconciler)
        reconciler.informer.subscribe(lambda change: asked.add(change.key))
        self._all.append((asked, lambda: [one.key for one in reconciler.informer.cache.all()]))

    def _on_workers(self, workload: Key) -> None:
        self._connections.ask_about(workload, self._ask_connection.add)

    def _on_pool(self, change: Change[GPUPool]) -> None:
        """Sums of a cluster may wait; a pool more or less, or another spec, may not."""
        old, new = change.old, change.new
        for name in {cluster_of(pool) for pool in (old, new) if pool is not None} - {""}:
            if old is not None and new is not None and _same_wishes(old, new):
                self._ask_cluster.add(Key("", name))
            else:
                self._ask_cluster.add_now(Key("", name))


def _same_wishes(old: GPUPool, new: GPUPool) -> bool:
    return (
        old.spec == new.spec
        and old.metadata.labels == new.metadata.labels
        and old.metadata.annotations == new.metadata.annotations
        and old.metadata.deleting == new.metadata.deleting
    )
