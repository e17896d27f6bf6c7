"""What nodes and pools hold: virtual capacity from oversubscription, and sums that roll up exactly.

Everything is an integer (GFLOPS, bytes), so a sum of nodes equals the pool whatever the order. Placement charges
requests; limits may exceed the device, and only statistics and autoscaling bound them by the virtual capacity.

Source: TensorFusion's oversubscription and status contract. Ours: limits count once per device of a pod.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from tensorfusion.model.gpu_pool import Oversubscription


@dataclass(frozen=True, slots=True)
class Amount:
    """Compute in GFLOPS and memory in bytes."""

    compute: int = 0
    vram: int = 0


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What VRAM can be expanded onto, in bytes."""

    ram: int = 0
    disk: int = 0


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """One device as its node's sum sees it. ``missing`` devices count in nothing; unmanaged ones are only counted."""

    capacity: Amount
    available: Amount
    limits: Amount
    managed: bool = True
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over devices: those of a node, or of all nodes of a pool. Virtual available may be negative."""

    total_compute: int = 0
    total_vram: int = 0
    available_compute: int = 0
    available_vram: int = 0
    virtual_compute: int = 0
    virtual_vram: int = 0
    virtual_available_compute: int = 0
    virtual_available_vram: int = 0
    gpus: int = 0
    managed_gpus: int = 0
    pods: int = 0


_FIELDS = tuple(field.name for field in fields(Figures))


def virtual_capacity(total: Amount, ratios: Oversubscription | None, host: HostMemory) -> Amount:
    """What limits may add up to on a node; the physical capacity where the pool is not oversubscribed."""
    if ratios is None:
        return total
    return Amount(
        total.compute * ratios.tflops_oversell_ratio // 100,
        total.vram
        + host.disk * ratios.vram_expand_to_host_disk // 100
        + host.ram * ratios.vram_expand_to_host_mem // 100,
    )


def node_figures(
    devices: Sequence[DeviceFigures], *, pods: int, ratios: Oversubscription | None, host: HostMemory
) -> Figures:
    """The sums of one node; ``pods`` is the number of distinct pods with shares on it."""
    present = [device for device in devices if not device.missing]
    total = _sum(device.capacity for device in present)
    available = _sum(device.available for device in present)
    limits = _sum(device.limits for device in present)
    virtual = virtual_capacity(total, ratios, host)
    return Figures(
        total_compute=total.compute,
        total_vram=total.vram,
        available_compute=available.compute,
        available_vram=available.vram,
        virtual_compute=virtual.compute,
        virtual_vram=virtual.vram,
        virtual_available_compute=virtual.compute - limits.compute,
        virtual_available_vram=virtual.vram - limits.vram,
        gpus=len(present),
        managed_gpus=sum(device.managed for device in present),
        pods=pods,
    )


def add(nodes: Iterable[Figures]) -> Figures:
    """The sums of a pool from those of its nodes."""
    sums = [0] * len(_FIELDS)
    for node in nodes:
        for position, name in enumerate(_FIELDS):
            sums[position] += getattr(node, name)
    return Figures(*sums)


def _sum(amounts: Iterable[Amount]) -> Amount:
    compute = vram = 0
    for amount in amounts:
        compute += amount.compute
        vram += amount.vram
    return Amount(compute, vram)
