"""How full a device is, as a whole score of 0..100, and what a placement mode makes of it.

Exact integer arithmetic: two replicas, or the same replica tomorrow, must give the same score to the last bit.
Higher wins everywhere.

Source: TensorFusion's placement strategies: round(vram% x weight + tflops% x weight), halves up, clamped.
"""

from dataclasses import dataclass
from math import gcd

from tensorfusion.model.common import PlacementMode
from tensorfusion.scheduling.facts import PoolFacts


@dataclass(frozen=True, slots=True)
class Policy:
    """A pool's placement, ready to compute with. Weights are thousandths."""

    mode: PlacementMode
    vram_weight: int
    compute_weight: int
    node_by_use: bool
    """Nodes: the fuller the better; otherwise the emptier."""
    device_by_use: bool
    """The same for the devices of the chosen node."""


def policy_of(pool: PoolFacts) -> Policy:
    """The pool's policy; an unknown mode is the default one."""
    mode = PlacementMode.NODE_COMPACT_GPU_LOW_LOAD
    if pool.mode in PlacementMode.__members__.values():
        mode = PlacementMode(pool.mode)
    return Policy(
        mode=mode,
        vram_weight=round(pool.vram_weight * 1000),
        compute_weight=round(pool.tflops_weight * 1000),
        node_by_use=mode is not PlacementMode.LOW_LOAD_FIRST,
        device_by_use=mode in (PlacementMode.COMPACT_FIRST, PlacementMode.FRAGMENTATION_AWARE),
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """One size of device under one policy: what a held GFLOPS and byte weigh, over a common denominator."""

    compute: int
    vram: int
    by_compute: int
    by_vram: int
    full: int
    """What the whole capacity weighs."""
    half: int


def scale_of(policy: Policy, *, compute: int, vram: int) -> Scale:
    """The scale of devices with this capacity; a dimension without capacity counts as 0."""
    by_compute, by_vram = 100 * policy.compute_weight * (vram or 1), 100 * policy.vram_weight * (compute or 1)
    whole = 1000 * (compute or 1) * (vram or 1)
    common = gcd(2 * by_compute, 2 * by_vram, whole)  # small numbers: this is computed for every pod
    by_compute, by_vram = 2 * by_compute // common, 2 * by_vram // common
    full = by_compute * compute + by_vram * vram
    return Scale(compute, vram, by_compute, by_vram, full=full, half=whole // common)


def scores(policy: Policy, scale: Scale, *, compute_held: int, vram_held: int) -> tuple[int, int]:
    """What a device adds to its node's score, and its own score when devices of the node are chosen.

    Each is the weighted share of the capacity that is used (or free), rounded, 0..100.
    """
    if compute_held > scale.compute:
        compute_held = scale.compute
    if vram_held > scale.vram:
        vram_held = scale.vram
    held, half = scale.by_compute * compute_held + scale.by_vram * vram_held, scale.half
    node_by_use, device_by_use = policy.node_by_use, policy.device_by_use
    used = free = 0
    if node_by_use or device_by_use:
        used = (held + half) // (2 * half)
    if not (node_by_use and device_by_use):
        free = (scale.full - held + half) // (2 * half)
    if used > 100 or free > 100 or used < 0 or free < 0:  # weights need not add up to one
        used, free = max(0, min(100, used)), max(0, min(100, free))
    return used if node_by_use else free, used if device_by_use else free
