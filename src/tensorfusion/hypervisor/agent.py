"""The node agent: publishes the devices of its nodes as GPU objects and guards them.

One agent may serve many nodes (the embedded cluster's does). It writes a device's capacity, health and place; what is
available is the operator's to write, after the first time. Heartbeat is one Lease per agent, not per device, so that an
idle fleet costs next to nothing.

Source: GPU of tensor-fusion.ai/v1; life of a device as in the public description of the hypervisor's discovery.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from tensorfusion.clock import Clock, micro_timestamp, timestamp
from tensorfusion.errors import AlreadyExists, ConfigError, NotFound
from tensorfusion.hypervisor.books import DeviceBooks
from tensorfusion.hypervisor.vendors.base import Device, Vendor
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.gpu import GPU, GpuPhase
from tensorfusion.model.gpu_node import GPUNode
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import GPU_NODES, GPUS, LEASES, NODES, PODS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.units import MI, format_bytes, format_gflops

LOST_DEVICES = f"simulated.{keys.DOMAIN}/lost-devices"
"""Annotation on a Node: comma list of device indices that a simulated vendor no longer finds."""

_HEARTBEAT = 10.0
_NODE_INDEX = "node"
_WORKERS = 32

log = get_logger(__name__)


class NodeAgent:
    """Serves the nodes of one vendor. ``install`` registers it; ``admit_share`` is the gate for pods that arrive."""

    def __init__(self, client: Api, vendor: Vendor, *, nodes: Iterable[str], identity: str, clock: Clock) -> None:
        self._client = client
        self._vendor = vendor
        self._nodes = frozenset(nodes)
        self._identity = identity
        self._clock = clock
        self._books = DeviceBooks()

    def install(self, manager: Manager) -> None:
        """Register with a manager: the controller of nodes, the heartbeat, and the release of ended pods."""
        self._gpus = manager.informer(GPUS, GPU)
        self._gpus.add_index(_NODE_INDEX, lambda gpu: (gpu.metadata.labels.get(keys.MANAGED_BY, ""),))
        self._gpu_nodes = manager.informer(GPU_NODES, GPUNode)
        self._machines = manager.informer(NODES, Node)
        self._pods = manager.informer(PODS, Pod)
        controller = Controller("node-agent", self, workers=_WORKERS, clock=self._clock)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("agent-heartbeat", self._beat)
        self._gpu_nodes.subscribe(lambda change: self._enqueue(change.key.name))
        self._gpus.subscribe(self._on_gpu)
        self._machines.subscribe(self._on_machine)
        self._pods.subscribe(self._on_pod)
        self._vendor.on_change(self._enqueue)

    def admit_share(self, pod: Pod) -> str | None:
        """None when the pod's devices hold its shares (they are then taken); else one line that says why not."""
        return self._books.charge(pod, self._present(pod.spec.node_name))

    async def reconcile(self, key: Key) -> Result:
        """Make the GPU objects of one node say what its devices are."""
        gpu_node = self._gpu_nodes.cache.get(Key("", key.name))
        if gpu_node is None or gpu_node.metadata.deleting:
            return DONE
        published = {gpu.metadata.name: gpu for gpu in self._gpus.cache.by_index(_NODE_INDEX, key.name)}
        present = self._present(key.name)
        for name, device in present.items():
            await self._publish(device, gpu_node, published.get(name))
        for name, gpu in published.items():
            if name not in present:
                await self._withdraw(gpu)
        return DONE

    async def _publish(self, device: Device, gpu_node: GPUNode, current: GPU | None) -> None:
        if current is None:
            with suppress(AlreadyExists):  # by us a moment ago, or before a restart: its status follows below
                await self._client.create(GPUS, _gpu_object(device, gpu_node))
        elif keys.GPU_MISSING_SINCE in current.metadata.annotations:
            back = {"metadata": {"annotations": {keys.GPU_MISSING_SINCE: None}}}
            await self._client.patch(GPUS, device.object_name, back)
            log.info("device is back", gpu=device.object_name, node=device.node)
        status = _status(device)
        if current is None or current.status.capacity is None:
            status["available"] = status["capacity"]
        elif _says(current, device):
            return
        await self._client.patch(GPUS, device.object_name, {"status": status}, subresource="status")

    async def _withdraw(self, gpu: GPU) -> None:
        """A device that no longer answers: forget it when idle, keep it as missing while pods hold shares of it."""
        name = gpu.metadata.name
        if not self._books.holders(name):
            with suppress(NotFound):
                await self._client.delete(GPUS, name, uid=gpu.metadata.uid)
            log.info("device is gone", gpu=name)
            return
        if keys.GPU_MISSING_SINCE not in gpu.metadata.annotations:
            since = {keys.GPU_MISSING_SINCE: timestamp(self._clock.now())}
            await self._client.patch(GPUS, name, {"metadata": {"annotations": since}})
        if gpu.status.phase is not GpuPhase.UNKNOWN:
            status = {"phase": GpuPhase.UNKNOWN.value, "message": "the device does not answer and is in use"}
            await self._client.patch(GPUS, name, {"status": status}, subresource="status")
            log.info("device is missing", gpu=name)

    def _present(self, node: str) -> dict[str, Device]:
        return {device.object_name: device for device in self._vendor.devices(node)}

    def _enqueue(self, node: str) -> None:
        if node in self._nodes:
            self._queue.add(Key("", node))

    def _on_gpu(self, change: Change[GPU]) -> None:
        if change.kind is not ChangeKind.ADDED:
            gpu = change.new or change.old
            if gpu is not None:
                self._enqueue(gpu.metadata.labels.get(keys.MANAGED_BY, ""))

    def _on_machine(self, change: Change[Node]) -> None:
        """The Node's annotation says which simulated devices are lost."""
        lose = getattr(self._vendor, "lose", None)
        if change.new is None or lose is None or change.key.name not in self._nodes:
            return
        text = change.new.metadata.annotations.get(LOST_DEVICES, "")
        try:
            lose(change.key.name, [int(part) for part in text.split(",") if part.strip()])
        except (ValueError, ConfigError) as error:
            log.warning("annotation is not a list of device indices", node=change.key.name, found=text, error=error)

    def _on_pod(self, change: Change[Pod]) -> None:
        pod = change.new or change.old
        if pod is None or pod.spec.node_name not in self._nodes:
            return
        if change.kind is ChangeKind.DELETED or pod.finished:
            for name in self._books.release(pod.metadata.uid):
                gpu = self._gpus.cache.get(Key("", name))
                if gpu is not None and gpu.status.phase is GpuPhase.UNKNOWN:
                    self._enqueue(pod.spec.node_name)
        elif pod.status.phase == "Running":
            self._books.recover(pod, self._present(pod.spec.node_name))

    async def _beat(self) -> None:
        """Renew this agent's Lease: one small write, whatever the number of devices."""
        name = f"tensor-fusion-agent-{self._identity}"
        while True:
            now = micro_timestamp(self._clock.now())
            spec: Raw = {"holderIdentity": self._identity, "leaseDurationSeconds": 40, "renewTime": now}
            try:
                await self._client.patch(LEASES, name, {"spec": spec}, namespace=keys.SYSTEM_NAMESPACE)
            except NotFound:
                lease = {"metadata": {"name": name}, "spec": {**spec, "acquireTime": now}}
                body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, **lease}
                await self._client.create(LEASES, body, namespace=keys.SYSTEM_NAMESPACE)
            await self._clock.sleep(_HEARTBEAT)


def _gpu_object(device: Device, gpu_node: GPUNode) -> Raw:
    pool = gpu_node.metadata.labels.get(keys.MANAGED_BY, "")
    return {
        "apiVersion": GPUS.api_version,
        "kind": GPUS.kind,
        "metadata": {
            "name": device.object_name,
            "labels": {keys.MANAGED_BY: device.node, keys.GPU_POOL: pool},
            "ownerReferences": [
                {
                    "apiVersion": GPU_NODES.api_version,
                    "kind": GPU_NODES.kind,
                    "name": gpu_node.metadata.name,
                    "uid": gpu_node.metadata.uid,
                    "controller": True,
                }
            ],
        },
    }


def _capacity(device: Device) -> dict[str, str]:
    return {"tflops": format_gflops(device.compute), "vram": format_bytes(device.vram // MI * MI)}


def _status(device: Device) -> dict[str, Any]:  # Any: JSON
    return {
        "phase": GpuPhase.RUNNING.value,
        "vendor": device.vendor,
        "gpuModel": device.model,
        "uuid": device.uuid,
        "capacity": _capacity(device),
        "index": device.index,
        "numaNode": device.numa,
        "nodeSelector": {keys.HOSTNAME_LABEL: device.node},
        "usedBy": "tensor-fusion",
        "isolationMode": "soft",
        "message": "managed",
    }


def _says(current: GPU, device: Device) -> bool:
    """Whether the object already says what the device is, as far as the agent owns it."""
    status = current.status
    capacity = status.capacity
    return (
        status.phase is GpuPhase.RUNNING
        and capacity is not None
        and {"tflops": str(capacity.tflops), "vram": str(capacity.vram)} == _capacity(device)
        and (status.vendor, status.gpu_model, status.uuid) == (device.vendor, device.model, device.uuid)
        and (status.index, status.numa_node, status.message) == (device.index, device.numa, "managed")
        and status.node_selector == {keys.HOSTNAME_LABEL: device.node}
    )
