"""How full a device is, as a whole score of 0..100, and what a placement mode makes of it.

Exact integer arithmetic: two replicas, or the same replica tomorrow, must give the same score to the last bit.
Higher wins everywhere.

Source: TensorFusion's placement strategies: round(vram% x weight + tflops% x weight), halves up, clamped.
"""

from dataclasses import dataclass

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
        device_by_use=mode is PlacementMode.COMPACT_FIRST,
    )


def scores(policy: Policy, *, compute: int, vram: int, compute_held: int, vram_held: int) -> tuple[int, int]:
    """What a device adds to its node's score, and its own score when devices of the node are chosen.

    Each is the weighted share of the capacity that is used (or free), rounded, 0..100; a dimension without capacity
    counts as 0.
    """
    compute_held, vram_held = min(compute_held, compute), min(vram_held, vram)
    by_compute, by_vram = 100 * policy.compute_weight * (vram or 1), 100 * policy.vram_weight * (compute or 1)
    whole = 1000 * (compute or 1) * (vram or 1)
    used = free = 0
    if policy.node_by_use or policy.device_by_use:
        used = _rounded(by_compute * compute_held + by_vram * vram_held, whole)
    if not (policy.node_by_use and policy.device_by_use):
        free = _rounded(by_compute * (compute - compute_held) + by_vram * (vram - vram_held), whole)
    return used if policy.node_by_use else free, used if policy.device_by_use else free


def _rounded(part: int, whole: int) -> int:
    score = (2 * part + whole) // (2 * whole)
    return score if 0 <= score <= 100 else 100 if score > 0 else 0
