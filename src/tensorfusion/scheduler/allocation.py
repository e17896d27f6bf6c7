"""Who holds what, for people and scripts: the body of ``/api/allocation``.

Apart from the service because it only words what the state holds. A large fleet is worded in parts, giving way to the
loop in between: each entry is true when it is written, the whole is as of a short span of time.

Source: TensorFusion operator API, AllocationInfo.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.wire import to_wire
from tensorfusion.policy.cohort_status import sums_of
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.holds import Allocation, Device
from tensorfusion.units import format_bytes, format_gflops, format_milli

_PART = 200
T = TypeVar("T")


async def allocation(service: SchedulerService) -> Raw:
    """Devices with what is free of them, the workers of each node, each pod's share, and who holds what of cohorts."""
    devices = {device.name: device for device in service.state.devices()}
    store: Raw = {}
    for gpus in _parts(list(service.gpus.all())):
        store.update({f"/{gpu.metadata.name}": gpu_object(gpu, devices.get(gpu.metadata.name)) for gpu in gpus})
        await asyncio.sleep(0)
    workers: dict[str, dict[str, bool]] = {}
    requests: Raw = {}
    by_device: dict[str, list[Raw]] = {}
    # a nominated pod holds nothing yet: it waits for others to leave
    live = [held for held in service.state.allocations.values() if not held.nominated]
    for part in _parts(live):
        for held in part:
            facts, request = held.pod, held.pod.request
            if request is None:
                continue
            if held.shares:  # a partition counts at its template's size
                request = held.shares[0]
            workers.setdefault(held.placement.node, {})[f"{facts.namespace}/{facts.name}"] = True
            requests[facts.uid] = _request(held, request, service.pods.get(Key(facts.namespace, facts.name)))
            # the shares of one pod differ where its partitions do
            for name, share in zip(held.placement.devices, held.shares, strict=False):
                by_device.setdefault(name, []).append(_worker(facts, share))
        await asyncio.sleep(0)
    found = {"gpuStore": store, "nodeWorkerStore": workers, "allocation": requests, "gpuToWorkerMap": by_device}
    cohorts = service.state.quotas.cohorts.every()
    if cohorts:  # ours
        found["cohorts"] = {node.name: to_wire(sums_of(node)) for node in cohorts}
    return found


def _worker(facts: PodFacts, share: GpuRequest) -> Raw:
    """One pod on one device."""
    return {
        "request": _amounts(share.compute, share.percent, share.vram),
        "limit": _amounts(share.compute_limit, share.percent_limit, share.vram_limit),
        "podName": facts.name,
        "podUID": facts.uid,
        "namespace": facts.namespace,
    }


def gpu_object(gpu: GPU, device: Device | None) -> Raw:
    """The GPU object with what is free of it by our own books, which are ahead of the object's status."""
    found = {"apiVersion": "tensor-fusion.ai/v1", "kind": "GPU", "metadata": to_wire(gpu.metadata)}
    status = to_wire(gpu.status)
    if device is not None:
        status["available"] = _amounts(max(device.compute_free, 0), 0, max(device.vram_free, 0))
    return {**found, "status": status}


def _request(held: Allocation, request: GpuRequest, pod: Pod | None) -> Raw:
    """An AllocRequest of the source; ``pod`` is what is known under the name now, perhaps another one."""
    facts, partitions = held.pod, held.placement.partitions
    known = pod is not None and pod.metadata.uid == facts.uid
    meta = msgspec.to_builtins(pod.metadata) if pod is not None and known else {}
    workload = meta.get("labels", {}).get(keys.WORKLOAD, facts.name)
    nodes = facts.affinity.node_affinity if facts.affinity is not None else None
    return {
        "PoolName": request.pool,
        "WorkloadNameNamespace": {"name": workload, "namespace": facts.namespace},
        "Request": _amounts(request.compute, request.percent, request.vram),
        "Limit": _amounts(request.compute_limit, request.percent_limit, request.vram_limit),
        "GPUIndices": list(request.indices),
        "Count": request.count,
        "GPUModel": request.model,
        "GPUVendor": request.vendor,
        "NodeAffinity": None if nodes is None else msgspec.to_builtins(nodes),
        "GPUNames": list(held.placement.devices),
        "PodMeta": {"name": facts.name, "namespace": facts.namespace, "uid": facts.uid, **meta},
        "QoS": str(request.qos),
        "Isolation": str(request.isolation),
        "PartitionTemplateID": partitions[0].form if partitions else request.partition,
    }


def _amounts(compute: int, percent: int, vram: int) -> Raw:
    """A ``Resource`` of the wire: compute in TFLOPS, or in percent where that is how it was asked for."""
    amounts: Raw = {"vram": format_bytes(vram)}
    if percent and not compute:
        amounts["compute"] = format_milli(percent)
    else:
        amounts["tflops"] = format_gflops(compute)
    return amounts


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _PART] for start in range(0, len(items), _PART))
