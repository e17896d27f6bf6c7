"""The operator's view of the fleet: who holds what, summed up by node, without ever scanning all pods.

Pods and devices come in as changes. Each change re-counts what it touches (``policy.usage``), forgets the sums of its
node, and names the objects whose status is now out of date. Sums are made again when somebody asks for them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.annotations import gpu_capacities, gpu_ids, request_of
from tensorfusion.model.common import UsedBy
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.gpu import GPU, GpuPhase
from tensorfusion.model.gpu_node import GPUNode, NodePhase
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.partitions import partitions_of
from tensorfusion.policy.capacity import Amount, DeviceFigures, Figures, HostMemory, node_figures
from tensorfusion.policy.membership import NodeView, has_gpu_label
from tensorfusion.policy.resolve import capacity_of
from tensorfusion.policy.usage import DeviceUsage, Share, UsageBook
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduling.quota import Usage
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.units import Rounding, to_bytes

_NODE = "operator/node"
_POOL = "operator/pool"

log = get_logger(__name__)

Touched = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NodeSummary:
    """The sums of one node and its phase."""

    figures: Figures
    phase: NodePhase


def node_of(gpu: GPU) -> str:
    """The machine that a device is in; ``""`` where the device does not say."""
    return gpu.status.node_selector.get(keys.HOSTNAME_LABEL) or gpu.metadata.labels.get(keys.MANAGED_BY, "")


def pool_of(gpu_node: GPUNode) -> str:
    """The pool that a node belongs to: its owner."""
    owner = gpu_node.metadata.controller
    return owner.name if owner is not None and owner.kind == r.GPU_POOLS.kind else ""


def share_of(pod: Pod) -> Share | None:
    """What a pod holds: something from the moment it is bound until it ends."""
    meta = pod.metadata
    if not pod.spec.node_name or pod.finished or keys.GPU_IDS not in meta.annotations:
        return None
    try:
        request = request_of(meta.annotations, meta.labels)
        devices = gpu_ids(meta.annotations)
        partitions = partitions_of(meta.annotations, devices)
        capacities = gpu_capacities(meta.annotations, len(devices))
    except InvalidRequest as error:
        log.warning("a bound pod's annotations cannot be read", pod=pod.key, error=error)
        return None
    if request is None or not devices:
        return None
    workload = meta.labels.get(keys.WORKLOAD, meta.name)
    since = meta.creation_timestamp or ""
    return Share(meta.uid, meta.namespace, meta.name, workload, request, devices, partitions, since, capacities)


class Fleet:
    """Feeds on informers. ``on_*`` handlers hear the names of what is out of date: devices, nodes, namespaces."""

    def __init__(self, manager: Manager) -> None:
        self.nodes = manager.informer(r.NODES, Node).cache
        gpus = manager.informer(r.GPUS, GPU)
        gpus.add_index(_NODE, lambda gpu: (node_of(gpu),))
        self.gpus = gpus.cache
        gpu_nodes = manager.informer(r.GPU_NODES, GPUNode)
        gpu_nodes.add_index(_POOL, lambda gpu_node: (pool_of(gpu_node),))
        self.gpu_nodes = gpu_nodes.cache
        self.pools = manager.informer(r.GPU_POOLS, GPUPool).cache
        self._book = UsageBook()
        self._summaries: dict[str, NodeSummary] = {}
        self._device_handlers: list[Touched] = []
        self._node_handlers: list[Touched] = []
        self._namespace_handlers: list[Touched] = []
        manager.informer(r.PODS, Pod).subscribe(self._on_pod)
        gpus.subscribe(self._on_gpu)
        gpu_nodes.subscribe(lambda change: self._forget(change.key.name))
        manager.informer(r.NODES, Node).subscribe(self._on_node)
        manager.informer(r.GPU_POOLS, GPUPool).subscribe(self._on_pool)

    def on_device(self, handler: Touched) -> None:
        self._device_handlers.append(handler)

    def on_node(self, handler: Touched) -> None:
        self._node_handlers.append(handler)

    def on_namespace(self, handler: Touched) -> None:
        self._namespace_handlers.append(handler)

    def usage(self, device: str) -> DeviceUsage:
        """Who holds what of a device."""
        return self._book.device(device)

    def namespace(self, name: str) -> Usage:
        """What a namespace holds."""
        return self._book.namespace(name)

    def devices_of(self, node: str) -> list[GPU]:
        """The devices of a node, by index."""
        return sorted(self.gpus.by_index(_NODE, node), key=lambda gpu: (gpu.status.index, gpu.metadata.name))

    def nodes_in(self, pool: str) -> list[GPUNode]:
        """The nodes of a pool."""
        return list(self.gpu_nodes.by_index(_POOL, pool))

    def holds_shares(self, node: str) -> bool:
        """Whether any live pod holds a share on the node."""
        return any(self._book.device(gpu.metadata.name).charges for gpu in self.gpus.by_index(_NODE, node))

    def view(self, node: Node) -> NodeView:
        """What a node's membership depends on."""
        name = node.metadata.name
        gpu_node = self.gpu_nodes.get(Key("", name))
        return NodeView(
            name=name,
            labels=node.metadata.labels,
            has_gpus=has_gpu_label(node.metadata.labels) or bool(self.gpus.by_index(_NODE, name)),
            cordoned=node.spec.unschedulable,
            current=pool_of(gpu_node) if gpu_node is not None else "",
            holds_shares=gpu_node is not None and self.holds_shares(name),
        )

    def summary(self, node: str) -> NodeSummary:
        """The sums of a node, from what is known now."""
        known = self._summaries.get(node)
        if known is None:
            known = self._summaries[node] = self._sum(node)
        return known

    def host_memory(self, node: str) -> HostMemory:
        """What VRAM could be expanded onto: the node's memory and its disk."""
        machine = self.nodes.get(Key("", node))
        if machine is None:
            return HostMemory()
        capacity = machine.status.capacity
        return HostMemory(ram=_bytes(capacity.get("memory", 0)), disk=_bytes(capacity.get("ephemeral-storage", 0)))

    def _sum(self, node: str) -> NodeSummary:
        gpus = self.gpus.by_index(_NODE, node)
        pods: set[str] = set()
        devices = []
        for gpu in gpus:
            usage = self._book.device(gpu.metadata.name)
            pods.update(usage.charges)
            devices.append(
                DeviceFigures(
                    capacity=usage.capacity,
                    available=usage.available,
                    limits=usage.limits,
                    managed=gpu.status.used_by in ("", UsedBy.TENSOR_FUSION),
                    missing=keys.GPU_MISSING_SINCE in gpu.metadata.annotations,
                )
            )
        gpu_node = self.gpu_nodes.get(Key("", node))
        pool = self.pools.get(Key("", pool_of(gpu_node))) if gpu_node is not None else None
        config = pool.spec.capacity_config if pool is not None else None
        figures = node_figures(
            devices,
            pods=len(pods),
            ratios=config.oversubscription if config is not None else None,
            host=self.host_memory(node),
        )
        return NodeSummary(figures, self._phase(node, gpu_node))

    def _phase(self, node: str, gpu_node: GPUNode | None) -> NodePhase:
        """Running once the node is ready and its devices are published."""
        machine = self.nodes.get(Key("", node))
        if machine is None or (gpu_node is not None and gpu_node.metadata.deleting):
            return NodePhase.DESTROYING
        running = any(gpu.status.phase is GpuPhase.RUNNING for gpu in self.gpus.by_index(_NODE, node))
        return NodePhase.RUNNING if machine.ready and running else NodePhase.PENDING

    def _on_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is not None and new is not None and _same_hold(old, new):
            return
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._released(old)
        if new is None:
            return
        share = share_of(new)
        if share is None:
            self._released(new)
        else:
            self._touch(self._book.set_share(share), share.namespace)

    def _released(self, pod: Pod) -> None:
        self._touch(self._book.drop_share(pod.metadata.uid), pod.metadata.namespace)

    def _touch(self, devices: frozenset[str], namespace: str) -> None:
        if not devices:
            return
        nodes = set()
        for name in devices:
            _tell(self._device_handlers, name)
            gpu = self.gpus.get(Key("", name))
            if gpu is not None:
                nodes.add(node_of(gpu))
        for node in nodes:
            self._forget(node)
        _tell(self._namespace_handlers, namespace)

    def _on_gpu(self, change: Change[GPU]) -> None:
        name = change.key.name
        charges = self._book.device(name).charges
        namespaces = {share.namespace for share, _ in charges.values()}
        if change.new is None:
            self._book.remove_device(name)
        else:
            compute, vram = capacity_of(change.new.status.capacity)
            if not self._book.set_device(name, Amount(compute, vram)):
                namespaces = set()
        for namespace in namespaces:
            _tell(self._namespace_handlers, namespace)
        _tell(self._device_handlers, name)
        if change.old is not None and change.new is not None and _same_device(change.old, change.new):
            return
        for node in {node_of(gpu) for gpu in (change.old, change.new) if gpu is not None}:
            self._forget(node)

    def _on_node(self, change: Change[Node]) -> None:
        old, new = change.old, change.new
        if old is None or new is None or old.ready != new.ready or old.status.capacity != new.status.capacity:
            self._forget(change.key.name)

    def _on_pool(self, change: Change[GPUPool]) -> None:
        """Other ratios mean other virtual capacities on all nodes of the pool."""
        before = change.old.spec.capacity_config if change.old is not None else None
        after = change.new.spec.capacity_config if change.new is not None else None
        if before != after:
            for gpu_node in self.nodes_in(change.key.name):
                self._forget(gpu_node.metadata.name)

    def _forget(self, node: str) -> None:
        self._summaries.pop(node, None)
        _tell(self._node_handlers, node)


def _same_hold(old: Pod, new: Pod) -> bool:
    """Whether two versions of a pod hold the same for certain: the usual case, found without parsing."""
    return (
        old.metadata.uid == new.metadata.uid
        and old.spec.node_name == new.spec.node_name
        and old.finished == new.finished
        and old.metadata.annotations == new.metadata.annotations
        and old.metadata.labels == new.metadata.labels
    )


def _same_device(old: GPU, new: GPU) -> bool:
    """Whether a node's sums cannot tell two versions of a device apart: our own roll-ups come back as changes."""
    before, after = old.status, new.status
    return (
        before.phase is after.phase
        and before.capacity == after.capacity
        and before.used_by == after.used_by
        and before.node_selector == after.node_selector
        and old.metadata.labels == new.metadata.labels
        and old.metadata.annotations == new.metadata.annotations
    )


def _tell(handlers: list[Touched], name: str) -> None:
    for handler in handlers:
        handler(name)


def _bytes(text: str | float) -> int:
    return to_bytes(str(text), Rounding.DOWN) if text else 0
