"""The GPU object of a device: what the agent writes, and whether it is written already. Pure.

The agent owns a device's place, capacity and health; what is available is the operator's from the second write on.
The phase says how the device is, not how its node is: whether a node takes work, its Node and GPUNode say.
"""

import msgspec

from tensorfusion.hypervisor.vendors.base import Device
from tensorfusion.model import keys
from tensorfusion.model.common import IsolationPolicy, UsedBy
from tensorfusion.model.gpu import GPU, GpuPhase, GPUStatus, NvLink, NvLinkPeer, Topology, TopologyPeer
from tensorfusion.model.gpu_node import GPUNode
from tensorfusion.model.gpu_topology import Tier
from tensorfusion.model.meta import OwnerReference, Raw
from tensorfusion.model.request import Isolation
from tensorfusion.model.resources import GPU_NODES, GPUS
from tensorfusion.units import MI, format_bytes, format_gflops

_encode = msgspec.json.Encoder(order="deterministic").encode

_MEGABYTE = 1_000_000

MANAGED = "managed"
"""The message of a device that is as it should be."""


def new_object(device: Device, gpu_node: GPUNode) -> Raw:
    """The GPU object to create; its status is written apart."""
    return {
        "apiVersion": GPUS.api_version,
        "kind": GPUS.kind,
        "metadata": {
            "name": device.object_name,
            "labels": _labels(gpu_node),
            "annotations": {keys.VIRTUALIZATION_CAPABILITIES: capabilities(device)},
            "ownerReferences": [_owner(gpu_node)],
        },
    }


def metadata_patch(current: GPU, device: Device, gpu_node: GPUNode) -> Raw | None:
    """What differs in the metadata of a device that is present: pool, owner, abilities, native pod, missing mark."""
    metadata = current.metadata
    patch: Raw = {}
    wanted = _labels(gpu_node)
    if any(metadata.labels.get(key) != value for key, value in wanted.items()):
        patch["labels"] = wanted
    if metadata.owner_references != (_reference(gpu_node),):
        patch["ownerReferences"] = [_owner(gpu_node)]
    annotations: dict[str, str | None] = {}
    if keys.GPU_MISSING_SINCE in metadata.annotations:
        annotations[keys.GPU_MISSING_SINCE] = None
    able = capabilities(device)
    if metadata.annotations.get(keys.VIRTUALIZATION_CAPABILITIES) != able:
        annotations[keys.VIRTUALIZATION_CAPABILITIES] = able
    if metadata.annotations.get(keys.NATIVE_POD, "") != device.native_pod:
        annotations[keys.NATIVE_POD] = device.native_pod or None
    if annotations:
        patch["annotations"] = annotations
    return {"metadata": patch} if patch else None


def status_patch(
    current: GPUStatus | None, device: Device, *, isolation: Isolation, policy: IsolationPolicy
) -> Raw | None:
    """What differs in the status; None when it says everything already. A new object starts with all of it free."""
    wanted = _status(device, isolation, policy)
    if current is None or current.capacity is None:
        return {"status": wanted | {"available": wanted["capacity"]}}
    part = _part(current)
    if part == wanted:
        return None
    return {"status": dict.fromkeys(part.keys() - wanted.keys()) | wanted}


def same_part(old: GPU, new: GPU) -> bool:
    """Whether a change left the agent's part as it was, or is the agent's own first write of it."""
    if old.status.capacity is None and new.status.capacity is not None:
        return True
    before, after = old.metadata, new.metadata
    return (
        _part(old.status) == _part(new.status)
        and (before.labels, before.annotations, before.owner_references)
        == (after.labels, after.annotations, after.owner_references)
        and before.deleting == after.deleting
    )


def missing_patch() -> Raw:
    """The status of a device that does not answer while pods hold shares of it."""
    return {"status": {"phase": GpuPhase.UNKNOWN.value, "message": "the device does not answer and is in use"}}


def _labels(gpu_node: GPUNode) -> dict[str, str]:
    pool = gpu_node.metadata.labels.get(keys.MANAGED_BY, "")
    return {keys.MANAGED_BY: gpu_node.metadata.name, keys.GPU_POOL: pool}


def _reference(gpu_node: GPUNode) -> OwnerReference:
    return OwnerReference(
        api_version=GPU_NODES.api_version,
        kind=GPU_NODES.kind,
        name=gpu_node.metadata.name,
        uid=gpu_node.metadata.uid,
        controller=True,
    )


def _owner(gpu_node: GPUNode) -> Raw:
    owner = _reference(gpu_node)
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": owner.controller,
    }


def capabilities(device: Device) -> str:
    """What the device can do, for whoever places pods; the annotation's value."""
    modes = device.modes
    return _encode(
        {
            "SupportsPartitioning": Isolation.PARTITIONED in modes,
            "SupportsSoftIsolation": Isolation.SOFT in modes,
            "SupportsHardIsolation": Isolation.HARD in modes,
            "MaxPartitions": device.max_partitions,
        }
    ).decode()


def _status(device: Device, isolation: Isolation, policy: IsolationPolicy) -> Raw:
    return {
        "phase": (GpuPhase.UNKNOWN if device.fault else GpuPhase.RUNNING).value,
        "vendor": device.vendor,
        "gpuModel": device.model,
        "uuid": device.uuid,
        "capacity": {"tflops": format_gflops(device.compute), "vram": format_bytes(device.vram // MI * MI)},
        "index": device.index,
        "numaNode": device.numa,
        "nodeSelector": {keys.HOSTNAME_LABEL: device.node},
        "usedBy": (UsedBy.NVIDIA_DEVICE_PLUGIN if device.native_pod else UsedBy.TENSOR_FUSION).value,
        "isolationMode": isolation.value,
        "isolationPolicy": policy.value,
        "message": device.fault or MANAGED,
        **_links(device),
    }


def _links(device: Device) -> Raw:
    """Where the device is linked to others directly; a switch counts as direct."""
    links = device.links
    if not links:
        return {}
    near = tuple(
        TopologyPeer(link.peer, int(Tier.INTERCONNECT), "NVLink", link.megabytes * _MEGABYTE) for link in links
    )
    peers = tuple(NvLinkPeer(link.peer, link.count, link.version, link.megabytes) for link in links)
    shared = len({link.count for link in links}) == 1  # by switches, or to one device only: the same links to each
    reported = NvLink(
        peer_count=len(links),
        total_link_count=links[0].count if shared else sum(link.count for link in links),
        total_bandwidth_mbps=links[0].megabytes if shared else sum(link.megabytes for link in links),
        peers=peers,
    )
    return _reported(Topology(near), reported)


def _reported(topology: Topology | None, links: NvLink | None) -> Raw:
    """Both in the form in which they are written; what is not there is left out."""
    parts = {"topology": topology, "nvLink": links}
    return {name: msgspec.to_builtins(part) for name, part in parts.items() if part is not None}


def _part(current: GPUStatus) -> Raw:
    """The agent's part of a status, in the form in which it is written."""
    capacity = current.capacity
    return {
        "phase": current.phase.value,
        "vendor": current.vendor,
        "gpuModel": current.gpu_model,
        "uuid": current.uuid,
        "capacity": {"tflops": str(capacity.tflops), "vram": str(capacity.vram)} if capacity else None,
        "index": current.index,
        "numaNode": current.numa_node,
        "nodeSelector": current.node_selector,
        "usedBy": current.used_by,
        "isolationMode": current.isolation_mode.value,
        "isolationPolicy": current.isolation_policy.value if current.isolation_policy else None,
        "message": current.message,
        **_reported(current.topology, current.nv_link),
    }
