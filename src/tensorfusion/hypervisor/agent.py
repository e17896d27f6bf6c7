"""The node agent: publishes the devices of its nodes as GPU objects and guards them.

One agent may serve many nodes (the embedded cluster's does). A device is published once its node has a GPUNode. One
that vanishes is forgotten when idle; while pods hold shares of it, it stays, marked as missing, and takes no new work.
The heartbeat is one Lease an agent, not a device, so that an idle fleet costs next to nothing.

Source: GPU of tensor-fusion.ai/v1; life of a device as in the public description of the hypervisor's discovery.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from tensorfusion.clock import Clock, micro_timestamp, timestamp
from tensorfusion.errors import AlreadyExists, ApiError, InvalidRequest, NotFound
from tensorfusion.hypervisor import gpu_objects
from tensorfusion.hypervisor.books import DeviceBooks
from tensorfusion.hypervisor.native import NativeDevices
from tensorfusion.hypervisor.vendors.base import Device, DeviceRefused, Vendor
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.annotations import gpu_ids
from tensorfusion.model.common import IsolationPolicy
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.gpu import GPU, GpuPhase
from tensorfusion.model.gpu_node import GPUNode
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.partitions import partitions_of
from tensorfusion.model.request import Isolation
from tensorfusion.model.resources import GPU_NODES, GPU_POOLS, GPUS, LEASES, NODES, PODS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventType, ObjectReference, reference_to
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

_HEARTBEAT = 10.0
_HEARTBEAT_LASTS = 40
_BY_NODE = "agent-node"
_WORKERS = 32
_STALE_CACHE = 0.2

log = get_logger(__name__)


class Recorder(Protocol):
    """The part of the event recorder used here."""

    def record(self, reference: ObjectReference, *, type_: EventType, reason: str, message: str) -> None: ...


class _Ignored(msgspec.Struct, frozen=True):
    """An answer nobody reads."""


@dataclass(frozen=True, slots=True)
class _Mode:
    """How the devices of a node keep shares apart."""

    isolation: Isolation
    policy: IsolationPolicy


class NodeAgent:
    """Serves the nodes of one vendor. ``install`` registers it; ``admit_share`` is the gate for pods that arrive."""

    def __init__(
        self,
        client: Api,
        vendor: Vendor,
        *,
        nodes: Iterable[str],
        identity: str,
        clock: Clock,
        recorder: Recorder | None = None,
        policy: IsolationPolicy = IsolationPolicy.STATIC,
        plugin: NativeDevices | None = None,
    ) -> None:
        self._client = client
        self._vendor = vendor
        self._nodes = frozenset(nodes)
        self._identity = identity
        self._clock = clock
        self._recorder = recorder
        self._policy = policy
        self._books = DeviceBooks()
        self._plugin = plugin
        self._partition_uuids: dict[str, str] = {}
        """What was cut for each pod, as the annotation says it, by uid."""
        self._kept: dict[str, Pod] = {}
        """Pods that keep their old limits because a device cannot hold the new ones, by uid."""

    def install(self, manager: Manager) -> None:
        """Register with a manager: the controller of nodes, the heartbeat, and the release of ended pods.

        Call it before whatever starts pods: what already runs must be in the books first.
        """
        self._gpus = manager.informer(GPUS, GPU)
        self._gpus.add_index(_BY_NODE, lambda gpu: (gpu.metadata.labels.get(keys.MANAGED_BY, ""),))
        self._gpu_nodes = manager.informer(GPU_NODES, GPUNode)
        self._pools = manager.informer(GPU_POOLS, GPUPool)
        self._machines = manager.informer(NODES, Node)
        self._pods = manager.informer(PODS, Pod)
        controller = Controller("node-agent", self, workers=_WORKERS, clock=self._clock)
        self._queue = controller.queue
        manager.add_controller(controller)
        if self._plugin is not None:
            manager.add_task("native-devices", self._recover_native)
        manager.add_task("agent-heartbeat", self._beat)
        self._gpu_nodes.subscribe(self._on_gpu_node)
        self._pools.subscribe(self._on_pool)
        self._machines.subscribe(self._on_machine)
        self._gpus.subscribe(self._on_gpu)
        self._pods.subscribe_batch(self._on_pods)
        self._vendor.on_change(self._enqueue)
        self._vendor.install(manager)

    def serve(self, nodes: Iterable[str]) -> None:
        """Serve these nodes too. A node that was served stays so: what runs there has to be released."""
        self._nodes |= frozenset(nodes)

    def admit_share(self, pod: Pod) -> str | None:
        """None when the pod's devices hold its shares (they are then taken); else one line that says why not."""
        node = pod.spec.node_name
        if self._plugin is not None and self._plugin.wanted(pod):
            refusal = self._plugin.assign(pod, self._present(node), shared=self._books.holders)
            if refusal is None:
                self._enqueue(node)
            return refusal
        gpu_node = self._gpu_nodes.cache.get(Key("", node))
        dynamic = gpu_node is not None and self._mode(gpu_node).policy is IsolationPolicy.DYNAMIC
        present = self._present(node)
        refusal = self._books.charge(pod, present, one_mode=dynamic)
        return refusal if refusal is not None else self._cut(pod, present)

    def notes(self, pod: Pod) -> Mapping[str, str]:
        """Annotations that say what the pod's devices gave it; empty for most pods."""
        found = self._partition_uuids.get(pod.metadata.uid)
        return {keys.PARTITION_UUIDS: found} if found else {}

    def _cut(self, pod: Pod, present: Mapping[str, Device]) -> str | None:
        """Cut the partitions of a pod whose shares are taken; on a refusal everything is given back."""
        uid, annotations = pod.metadata.uid, pod.metadata.annotations
        names = gpu_ids(annotations)
        cut = []
        try:
            for name, partition in zip(names, partitions_of(annotations, names), strict=False):
                cut.append(f"{self._vendor.create_partition(present[name], partition, pod_uid=uid)}:{name}")
        except DeviceRefused as error:
            self._vendor.destroy_partitions(uid)
            self._books.release(uid)
            return str(error)
        if cut:
            self._partition_uuids[uid] = ",".join(cut)
        return None

    async def _recover_native(self) -> None:
        """What the device plugin had handed out before this process started, as the GPU objects tell."""
        for pod in self._pods.cache.all():
            if pod.spec.node_name in self._nodes and pod.status.phase == "Running" and not pod.finished:
                self._recover_plugin(pod)

    def _recover_plugin(self, pod: Pod) -> None:
        if self._plugin is None or not self._plugin.wanted(pod) or self._plugin.holds(pod.metadata.uid):
            return
        uid = pod.metadata.uid
        told = [
            gpu.metadata.name for gpu in self._gpus.cache.all() if gpu.metadata.annotations.get(keys.NATIVE_POD) == uid
        ]
        refusal = self._plugin.recover(pod, told, self._present(pod.spec.node_name), shared=self._books.holders)
        if refusal is not None:
            log.warning("a running pod of the device plugin has too few devices", pod=pod.key, reason=refusal)
        self._enqueue(pod.spec.node_name)

    async def reconcile(self, key: Key) -> Result:
        """Make the GPU objects of one node say what its devices are."""
        gpu_node = self._gpu_nodes.cache.get(key)
        if gpu_node is None or gpu_node.metadata.deleting:
            return DONE  # its GPU objects go with it, by their owner reference
        published = {gpu.metadata.name: gpu for gpu in self._gpus.cache.by_index(_BY_NODE, key.name)}
        present = self._managed(gpu_node)
        mode = self._mode(gpu_node)
        behind = False
        for name, device in present.items():
            current = published.get(name)
            if current is not None:
                await self._update(current, device, gpu_node=gpu_node, mode=mode)
            elif not await self._create(device, gpu_node=gpu_node, mode=mode):
                behind = True
        for name, gpu in published.items():
            if name not in present:
                await self._withdraw(gpu)
        return Result(requeue_after=_STALE_CACHE) if behind else DONE

    async def _create(self, device: Device, *, gpu_node: GPUNode, mode: _Mode) -> bool:
        """Publish a device that the cache does not have; False when the server has it and the cache is behind."""
        try:
            await self._client.create(GPUS, gpu_objects.new_object(device, gpu_node), type_=_Ignored)
        except AlreadyExists:
            return False
        await self._patch_status(
            device.object_name, gpu_objects.status_patch(None, device, isolation=mode.isolation, policy=mode.policy)
        )
        return True

    async def _update(self, current: GPU, device: Device, *, gpu_node: GPUNode, mode: _Mode) -> None:
        if current.metadata.deleting:
            return
        name = device.object_name
        metadata = gpu_objects.metadata_patch(current, device, gpu_node)
        if metadata is not None:
            await self._client.patch(GPUS, name, metadata, type_=_Ignored)
        status = gpu_objects.status_patch(current.status, device, isolation=mode.isolation, policy=mode.policy)
        if status is not None:
            await self._patch_status(name, status)
            if current.status.capacity is not None:
                log.info("device changed", gpu=name, node=device.node, message=device.fault or gpu_objects.MANAGED)

    async def _withdraw(self, gpu: GPU) -> None:
        """A device that no longer answers: forget it when idle, keep it as missing while pods hold shares of it."""
        name = gpu.metadata.name
        if gpu.metadata.deleting:
            return
        if not self._books.holders(name):
            with suppress(NotFound):
                await self._client.delete(GPUS, name, uid=gpu.metadata.uid)
            log.info("device is gone", gpu=name)
            return
        if keys.GPU_MISSING_SINCE not in gpu.metadata.annotations:
            since = {keys.GPU_MISSING_SINCE: timestamp(self._clock.now())}
            await self._client.patch(GPUS, name, {"metadata": {"annotations": since}}, type_=_Ignored)
        if gpu.status.phase is not GpuPhase.UNKNOWN:
            await self._patch_status(name, gpu_objects.missing_patch())
            log.info("device is missing", gpu=name)

    async def _patch_status(self, name: str, patch: Raw | None) -> None:
        if patch is not None:
            await self._client.patch(GPUS, name, patch, subresource="status", type_=_Ignored)

    def _present(self, node: str) -> dict[str, Device]:
        devices = self._vendor.devices(node)
        if self._plugin is None:
            return {device.object_name: device for device in devices}
        return {device.object_name: self._plugin.marked(device) for device in devices}

    def _managed(self, gpu_node: GPUNode) -> dict[str, Device]:
        """The devices to publish: all that answer, or those that the GPUNode names and those still in use."""
        present = self._present(gpu_node.metadata.name)
        wanted = gpu_node.spec.gpu_card_indices
        if not wanted:
            return present
        return {name: device for name, device in present.items() if device.index in wanted or self._books.holders(name)}

    def _mode(self, gpu_node: GPUNode) -> _Mode:
        """How the node's devices keep shares apart: as its pool says, or, under the Dynamic policy, as they are used.

        A pool that says anything but soft means it: those nodes stay as they are, whatever the policy.
        """
        pool = self._pools.cache.get(Key("", gpu_node.metadata.labels.get(keys.MANAGED_BY, "")))
        isolation = Isolation.SOFT
        if pool is not None:
            machine = self._machines.cache.get(gpu_node.key)
            isolation = pool.spec.node_manager_config.isolation_of(machine.metadata.labels if machine else {})
        return _Mode(isolation, self._policy if isolation is Isolation.SOFT else IsolationPolicy.STATIC)

    def _enqueue(self, node: str) -> None:
        if node in self._nodes:
            self._queue.add(Key("", node))

    def _on_gpu_node(self, change: Change[GPUNode]) -> None:
        """Status roll-ups are many and none of the agent's business."""
        old, new = change.old, change.new
        if new is None:
            return
        if old is None or (old.spec, old.metadata.uid, old.metadata.labels) != (
            new.spec,
            new.metadata.uid,
            new.metadata.labels,
        ):
            self._enqueue(change.key.name)

    def _on_pool(self, change: Change[GPUPool]) -> None:
        old, new = change.old, change.new
        if old is not None and new is not None and old.spec.node_manager_config == new.spec.node_manager_config:
            return
        for gpu_node in self._gpu_nodes.cache.all():
            if gpu_node.metadata.labels.get(keys.MANAGED_BY) == change.key.name:
                self._enqueue(gpu_node.metadata.name)

    def _on_machine(self, change: Change[Node]) -> None:
        """A pool's rules give a node its isolation mode by the node's labels."""
        old, new = change.old, change.new
        if old is not None and new is not None and old.metadata.labels != new.metadata.labels:
            self._enqueue(change.key.name)

    def _on_gpu(self, change: Change[GPU]) -> None:
        """Whoever changes the agent's part of a GPU object, or deletes it: the agent puts it right."""
        old, new = change.old, change.new
        if old is None or (new is not None and gpu_objects.same_part(old, new)):
            return
        self._enqueue(old.metadata.labels.get(keys.MANAGED_BY, ""))

    def _on_pods(self, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            pod = change.new or change.old
            if pod is None or pod.spec.node_name not in self._nodes:
                continue
            if change.kind is ChangeKind.DELETED or pod.finished:
                self._release(pod)
            elif pod.status.phase == "Running" and not self._books.holds(pod.metadata.uid):
                self._recover(pod)
            elif change.old is not None and _other_amounts(change.old, pod):
                self._change(pod)

    def _recover(self, pod: Pod) -> None:
        """A pod that runs already: what it holds is taken as it is, and its partitions are there."""
        present = self._present(pod.spec.node_name)
        self._books.recover(pod, present)
        if keys.PARTITIONS in pod.metadata.annotations:
            answering = {name: device for name, device in present.items() if not device.fault}
            with suppress(KeyError, InvalidRequest):  # of a device that does not answer nothing can be cut
                if (refusal := self._cut(pod, answering)) is not None:
                    log.warning("partition is lost", pod=pod.key, reason=refusal)
                    self._books.recover(pod, present)

    def _change(self, pod: Pod) -> None:
        """The scheduler gave a running pod other amounts: they are in force from now on, if the devices hold them."""
        if not self._books.holds(pod.metadata.uid):
            return
        refusal = self._books.change(pod, self._present(pod.spec.node_name))
        if refusal is None:
            self._kept.pop(pod.metadata.uid, None)
            log.info("limits changed", pod=pod.key, node=pod.spec.node_name)
            return
        self._kept[pod.metadata.uid] = pod
        log.warning("limits kept", pod=pod.key, reason=refusal)
        if self._recorder is not None:
            reference = reference_to(PODS, pod)
            message = f"the limits stay as they were: {refusal}"
            self._recorder.record(reference, type_=EventType.WARNING, reason="LimitsKept", message=message)

    def _release(self, pod: Pod) -> None:
        if self._plugin is not None and self._plugin.release(pod.metadata.uid):
            self._enqueue(pod.spec.node_name)
        self._kept.pop(pod.metadata.uid, None)
        if self._partition_uuids.pop(pod.metadata.uid, None) is not None:
            self._vendor.destroy_partitions(pod.metadata.uid)
        for name in self._books.release(pod.metadata.uid):
            gpu = self._gpus.cache.get(Key("", name))
            if gpu is not None and keys.GPU_MISSING_SINCE in gpu.metadata.annotations:
                self._enqueue(pod.spec.node_name)
        for kept in list(self._kept.values()):
            self._change(kept)

    async def _beat(self) -> None:
        """Renew this agent's Lease: one small write, whatever the number of devices."""
        failing = False
        while True:
            try:
                await self._renew()
                failing = False
            except ApiError as error:
                if not failing:
                    log.warning("heartbeat failed", agent=self._identity, error=error)
                failing = True
            await self._clock.sleep(_HEARTBEAT)

    async def _renew(self) -> None:
        name, now = f"tensor-fusion-agent-{self._identity}", micro_timestamp(self._clock.now())
        spec: Raw = {"holderIdentity": self._identity, "leaseDurationSeconds": _HEARTBEAT_LASTS, "renewTime": now}
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, namespace=keys.SYSTEM_NAMESPACE, type_=_Ignored)
        except NotFound:
            lease = {"metadata": {"name": name}, "spec": {**spec, "acquireTime": now}}
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, **lease}
            await self._client.create(LEASES, body, namespace=keys.SYSTEM_NAMESPACE, type_=_Ignored)


def _other_amounts(old: Pod, new: Pod) -> bool:
    """Whether a pod is to have other amounts than before."""
    before, after = old.metadata.annotations, new.metadata.annotations
    return before != after and any(before.get(key) != after.get(key) for key in keys.RESIZABLE_KEYS)
