"""Keep a GPU's status equal to the shares on it: what is available, and which workloads run there.

Everything else in the object is the node agent's. What a share takes is decided in ``policy.usage``.

Source: GPU status fields available and runningApps of tensor-fusion.ai/v1.
"""

import msgspec

from tensorfusion.model import resources as r
from tensorfusion.model.common import IsolationPolicy, PodOnDevice
from tensorfusion.model.gpu import AllocatedPartition, GPUStatus, RunningApp
from tensorfusion.model.meta import Key
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.request import Isolation
from tensorfusion.operator.fleet import Fleet
from tensorfusion.operator.rollup import RollUp
from tensorfusion.policy.capacity import Amount
from tensorfusion.policy.usage import Charge, DeviceUsage, Share
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.units import format_bytes, format_gflops


def resource_of(amount: Amount) -> ComputeResource:
    """An amount on the wire."""
    return ComputeResource(tflops=format_gflops(amount.compute), vram=format_bytes(amount.vram))


def pod_on_device(share: Share, charge: Charge) -> PodOnDevice:
    """One pod in the list of a device."""
    return PodOnDevice(
        name=share.name,
        namespace=share.namespace,
        uid=share.uid,
        requests=resource_of(charge.requests),
        limits=resource_of(charge.limits),
        qos=share.request.qos,
    )


def pods_on_device(usage: DeviceUsage) -> tuple[PodOnDevice, ...]:
    """All pods of a device, in a fixed order."""
    held = sorted(usage.charges.values(), key=lambda entry: (entry[0].namespace, entry[0].name))
    return tuple(pod_on_device(share, charge) for share, charge in held)


def summarize(gpu: str, found: GPUStatus, usage: DeviceUsage) -> GPUStatus:
    """The status a device with these shares should have. Pure."""
    apps: dict[tuple[str, str], list[PodOnDevice]] = {}
    held = sorted(usage.charges.values(), key=lambda entry: (entry[0].namespace, entry[0].workload, entry[0].name))
    for share, charge in held:
        apps.setdefault((share.namespace, share.workload), []).append(pod_on_device(share, charge))
    active, conflict = _active_mode(found, usage)
    return msgspec.structs.replace(
        found,
        active_isolation_mode=active,
        dynamic_isolation_conflict=conflict,
        allocated_partitions=_partitions(gpu, usage),
        available=resource_of(usage.available),
        running_apps=tuple(
            RunningApp(name=workload, namespace=namespace, count=len(pods), pods=tuple(pods))
            for (namespace, workload), pods in apps.items()
        ),
    )


def _partitions(gpu: str, usage: DeviceUsage) -> dict[str, AllocatedPartition]:
    """The hardware partitions of a device, by uid of their pods."""
    found = {}
    for uid, (share, _) in sorted(usage.charges.items()):
        partition = share.partition(gpu)
        if partition is not None:
            found[uid] = AllocatedPartition(
                template_id=partition.form,
                pod_uid=uid,
                pod_name=share.name,
                namespace=share.namespace,
                allocated_at=share.since,
                allocated_slot_start=partition.start if partition.start >= 0 else None,
                allocated_slot_end=partition.start + partition.length if partition.start >= 0 else None,
                isolation_group_id=partition.group if partition.group >= 0 else None,
            )
    return found


def _active_mode(found: GPUStatus, usage: DeviceUsage) -> tuple[Isolation | None, bool]:
    """The mode in force on a Dynamic device, and whether pods hold it in several: then it takes no new work."""
    if found.isolation_policy is not IsolationPolicy.DYNAMIC:
        return None, False
    modes = {share.request.isolation for share, _ in usage.charges.values()}
    return (modes.pop(), False) if len(modes) == 1 else (None, bool(modes))


class GpuReconciler:
    """Level-based: reads the fleet, decides in ``summarize``, submits only a difference."""

    def __init__(self, fleet: Fleet, rollup: RollUp) -> None:
        self._fleet = fleet
        self._rollup = rollup

    async def reconcile(self, key: Key) -> Result:
        await self._rollup.room()
        gpu = self._fleet.gpus.get(key)
        if gpu is None or gpu.metadata.deleting or gpu.status.capacity is None:
            return DONE  # gone, or its agent has yet to say what it is
        return self._rollup.submit(
            r.GPUS, key, old=gpu.status, new=summarize(key.name, gpu.status, self._fleet.usage(key.name))
        )
