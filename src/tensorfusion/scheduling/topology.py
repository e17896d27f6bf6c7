"""How near the devices of every node are to each other for one kind of pod, and what that counts for.

One rule for everybody who asks: decisions (by class, corrected row by row), the search for victims, the simulation.
Several devices are taken on the node where they are nearest to each other: a tier counts ``TIER_POINTS``, more than the
whole span of a placement mode's score, so the mode ranks nodes of the same tier; weights of a pod's preferred terms add
up beside that and may outweigh it. A single device is taken where the fewest others are near it.

Rejected: adding planScore (25 a tier) to the mode's score. For the sake of a little packing it lets a fuller node beat
an interconnect that is ten times as fast.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tensorfusion.model import keys
from tensorfusion.model.gpu_topology import Tier, TopologyRule, TopologySource, tier_named
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.codes import FITS, Bools, Codes, Ints, Rows
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.wiring import Plan, Wired

TIER_POINTS: Final = 101
TIER_KEY: Final = TIER_POINTS * PREFERENCE
UNKNOWN_PLAN: Final = Plan(int(Tier.UNKNOWN), 0, ())
"""Of devices that report nothing: any of them are as good as any others."""
_MASK_BITS: Final = 31
"""Slots up to which a mask and the number of a wiring make one integer."""
_MASK: Final = (1 << _MASK_BITS) - 1


def asks_distances(pool: PoolColumns, request: GpuRequest, rule: TopologyRule) -> bool:
    """Whether a decision looks at distances at all: for several devices, where any are known or must be."""
    return request.count > 1 and rule.enabled and (pool.located > 0 or rule.hard)


def mask_of(codes: Sequence[int]) -> int:
    """A bit for each slot that fits."""
    mask = 0
    for slot, code in enumerate(codes):
        if code == FITS:
            mask |= 1 << slot
    return mask


def tiers_of(pool: PoolColumns, request: GpuRequest, rule: TopologyRule, devices: Codes, at: Rows | None) -> Ints:
    """Of these rows or all, whose ``devices`` have these codes, the tier of the best plan; 0 where too few fit."""
    fits: Bools = devices == FITS
    wirings = pool.wiring if at is None else pool.wiring.take(at)
    if len(fits) > _MASK_BITS:
        rows = zip(wirings.tolist(), map(mask_of, devices.T.tolist()), strict=True)
        return np.array([_tier(pool, number, mask, request, rule) for number, mask in rows], np.int64)
    kinds = wirings << _MASK_BITS
    for place, bits in enumerate(np.packbits(fits, axis=0, bitorder="little")):
        kinds |= bits.astype(np.int64) << 8 * place
    different = np.unique(kinds)
    found = [_tier(pool, kind >> _MASK_BITS, kind & _MASK, request, rule) for kind in different.tolist()]
    tiers: Ints = np.array(found, np.int64)[np.searchsorted(different, kinds)]
    return tiers


def _tier(pool: PoolColumns, number: int, mask: int, request: GpuRequest, rule: TopologyRule) -> int:
    """The tier of one wiring, by its number (-1: nothing is reported), and of the slots that fit."""
    if not mask:
        return int(Tier.INTERCONNECT)
    if number < 0:
        return int(Tier.UNKNOWN)
    return pool.wirings.by_number[number].tier(mask, request.count, rule.source)


def near_enough(pod: PodFacts, wired: Wired | None, slots: Sequence[int]) -> bool:
    """Whether a hard rule lets the pod have some of these slots of one node, which are enough of them."""
    request, rule = pod.request, pod.topology_rule
    if request is None or request.count < 2 or not (rule.hard and rule.enabled):
        return True
    tier = int(Tier.UNKNOWN) if wired is None else wired.tier(sum(1 << s for s in slots), request.count, rule.source)
    return rule.allows(tier)


def least_damage(wired: Wired, slots: Sequence[int], mask: int, source: TopologySource) -> int:
    """The first of the slots with the fewest others of the mask near it; one that reports nothing before all others."""
    return min(slots, key=lambda slot: wired.near(mask, slot, source))


def advice(rule: TopologyRule, count: int, best: int) -> str:
    """What to change where a hard rule leaves no node, and the best one comes to this tier."""
    wait = "wait for others that are nearer to each other"
    if best == Tier.UNKNOWN:
        wait = "the devices that fit report neither their NUMA node nor links to each other"
    ways = f"ask for fewer devices, or set {keys.REQUIRE_GPU_TOPOLOGY} to false"
    if not rule.reject_unknown or best < Tier.UNKNOWN:
        ways = f"raise {keys.GPU_TOPOLOGY_MAX_TIER} to {best}, {ways}"
    allowed = "unknown distances are rejected" if best <= rule.max_tier else f"allowed is {tier_named(rule.max_tier)}"
    return (
        f"GPU topology: the nearest {count} devices of one node come to {tier_named(best)}, {allowed}: {wait}; {ways}"
    )
